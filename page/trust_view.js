// The trusted ledgers, as they are shown and changed: trusting one, its name, export and import, and evidence.

import { byId, element, fill, icon, save } from "./dom.js";
import { TrustError, decoded, readExport, readId } from "./trust.js";
import { isProven, recall } from "./verifier.js";
import { count, many, utc } from "./words.js";

const MAX_FILE_BYTES = 8 * 1024 * 1024;
const NOT_KEPT =
  "This browser keeps nothing for this page (private window, or storage is blocked): what you trust counts until the page is closed. Export it to have it again.";

const ON_DISK =
  "This page was opened from disk: a ledger kept from before counts once you confirm its id, each time the page is opened.";
const WHY_CONFIRMED =
  "In some browsers every other page that is opened from disk can change which ledgers are kept here. So compare the id with the one from its members; what was verified of it before counts once its kept proof is verified anew. A page from a node of yours, at /verify, has a storage of its own.";

let forms = 0;
const copied = new Set();

/** Remember what was copied out of what files and mirrors say of themselves: as an id to be trusted it is refused. */
export function watchClaims() {
  document.addEventListener("copy", () => {
    const selection = getSelection();
    if (selection.rangeCount === 0) return;
    const results = byId("results");
    if (!selection.getRangeAt(0).intersectsNode(results)) return; // it begins in them, ends in them, or goes over them
    const told = results.textContent;
    for (const [id] of String(selection).matchAll(/[0-9a-f]{64}/g)) if (told.includes(id)) copied.add(id);
  });
}

/**
 * A form in which a ledger's id is entered, never taken from a file. `claimed`: the id that a file claims, with which the
 * entered one is compared; `null`: any may be entered. `onTrusted` is told the new entry.
 */
export function trustForm(store, claimed, onTrusted) {
  const own = `trust-${(forms += 1)}`;
  const id = element("textarea", {
    id: `${own}-id`,
    rows: 2,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
    class: "hex",
    required: true,
    "aria-describedby": `${own}-id-hint ${own}-error`,
    placeholder: "64 hexadecimal digits",
  });
  const from = element("input", {
    id: `${own}-from`,
    type: "text",
    maxlength: 200,
    required: true,
    "aria-describedby": `${own}-from-hint ${own}-error`,
  });
  const name = element("input", {
    id: `${own}-name`,
    type: "text",
    maxlength: 40,
    spellcheck: "false",
    autocapitalize: "off",
    "aria-describedby": `${own}-error`,
  });
  const error = element("p", { id: `${own}-error`, class: "error", role: "alert" });
  const submit = (event) => {
    event.preventDefault();
    fill(error);
    try {
      onTrusted(entered(store, claimed, id.value, from.value.trim(), name.value.trim()));
    } catch (problem) {
      if (!(problem instanceof TrustError)) throw problem;
      fill(error, problem.message);
      id.focus();
    }
  };
  return element(
    "form",
    { class: "trust-form", novalidate: true, submit },
    element("label", { for: id.id }, "Ledger id"),
    id,
    element(
      "p",
      { class: "hint", id: `${own}-id-hint` },
      "Paste or type all 64 digits, from one of its members: their web site, a letter, a call. Never from the file itself: whoever forged the file wrote it there.",
    ),
    element("label", { for: from.id }, "Where do you have it from?"),
    from,
    element("p", { class: "hint", id: `${own}-from-hint` }, "For yourself, later. Kept beside it."),
    element("label", { for: name.id }, "Your own name for it (may be empty)"),
    name,
    error,
    element("p", { class: "row" }, element("button", { type: "submit", class: "button primary" }, "Trust this ledger")),
  );
}

function entered(store, claimed, idText, from, name) {
  const ledgerId = readId(idText);
  if (copied.has(ledgerId)) {
    throw new TrustError(
      "This id was copied from what was given here: a file or a mirror says it of itself, which shows nothing. Get it from one of the ledger's members, on another way.",
    );
  }
  if (claimed !== null && ledgerId !== claimed) {
    throw new TrustError(
      "The file is of another ledger than the one whose id you entered: it would not verify. Do not trust the file's instead. To trust what you entered for other files, enter it under Trusted ledgers.",
    );
  }
  if (!from) throw new TrustError("Say where you have the id from.");
  return store.add(ledgerId, name, from, Date.now());
}

function noteOnDisk() {
  const why = element("details", {}, element("summary", {}, "Why?"), element("p", {}, WHY_CONFIRMED));
  return element("div", { class: "note" }, icon("warning"), element("div", {}, element("p", {}, ON_DISK), why));
}

/** The panel. `onChange` is called when other ledgers count than before. */
export class TrustPanel {
  constructor(store, onChange) {
    this.store = store;
    this.onChange = onChange;
    byId("export").addEventListener("click", () => save("tallystick-trusted-ledgers.json", store.exported(Date.now())));
    byId("import").addEventListener("change", (event) => this.#preview(event.target));
    if (store.isShared) fill(byId("disk-note"), noteOnDisk());
    this.#freshForm();
  }

  /** Show all that is trusted now. */
  show() {
    const { store } = this;
    const notes = [
      store.storage === null ? NOT_KEPT : "",
      store.damaged
        ? "Some of what was kept cannot be read, and counts for nothing: trust the ledger anew, by an id from its members."
        : "",
    ];
    fill(
      byId("storage-note"),
      ...notes
        .filter((text) => text)
        .map((text) => element("p", { class: "note warning" }, icon("warning"), element("span", {}, text))),
    );
    const entries = store.list();
    fill(
      byId("ledgers"),
      ...(entries.length ? entries.map((one) => this.#entry(one)) : [element("li", { class: "none" }, "None yet.")]),
    );
    byId("export").disabled = entries.length === 0;
    const evidence = store.conflicts.map((one) => this.#conflict(one));
    fill(
      byId("conflicts"),
      ...(evidence.length ? [element("h3", {}, "Other histories that were seen"), ...evidence] : []),
    );
  }

  #freshForm() {
    fill(
      byId("trust-form"),
      trustForm(this.store, null, (entry) => {
        this.#freshForm();
        byId("trust-details").open = false;
        byId("trust-details").querySelector("summary").focus();
        this.onChange(`${entry.name} is trusted.`);
      }),
    );
  }

  #entry(one) {
    const newest = this.store.known(one).anchors.at(-1);
    const conflicts = this.store.conflicts.filter((two) => two.ledgerId === one.ledgerId).length;
    const buttons = element("p", { class: "row" });
    const rename = element(
      "button",
      { type: "button", class: "button small", click: () => this.#rename(one, buttons) },
      "Rename",
      element("span", { class: "hidden" }, ` ${one.name}`),
    );
    const remove = element(
      "button",
      { type: "button", class: "button small", click: () => this.#remove(one, buttons) },
      "Remove",
      element("span", { class: "hidden" }, ` ${one.name}`),
    );
    const isConfirmed = this.store.isConfirmed(one);
    const confirm = element(
      "button",
      { type: "button", class: "button small primary", "data-confirm": one.ledgerId, click: () => this.#confirm(one) },
      "It is this id: confirm",
      element("span", { class: "hidden" }, ` ${one.name}`),
    );
    buttons.append(...(isConfirmed ? [] : [confirm]), rename, remove);
    return element(
      "li",
      { "data-ledger": one.ledgerId },
      element("h3", {}, one.name),
      one.title !== null && one.title !== one.name ? element("p", {}, `calls itself ${one.title}`) : null,
      element("p", {}, element("code", {}, one.ledgerId)),
      element("p", { class: "hint" }, `Added on ${utc(one.addedMs).slice(0, 10)}, from: ${one.addedFrom}`),
      isConfirmed
        ? element(
            "p",
            { class: "hint" },
            newest ? `Newest verified block: ${count(newest.index)}` : "No proof of it was verified yet",
          )
        : element(
            "p",
            { class: "note warning" },
            icon("warning"),
            element("span", {}, "Kept from before: it does not count until you confirm its id."),
          ),
      conflicts
        ? element(
            "p",
            { class: "note bad" },
            icon("warning"),
            element("span", {}, "Another history of it was seen; see below."),
          )
        : null,
      buttons,
    );
  }

  async #confirm(one) {
    this.store.confirm(one);
    byId("trust-title").focus();
    this.onChange(`${one.name} is confirmed.`);
    await recall(one.ledgerId, Date.now(), this.store);
    this.show();
  }

  #rename(one, place) {
    const error = element("span", { class: "error", role: "alert", id: `rename-error-${one.ledgerId}` });
    const input = element("input", {
      type: "text",
      value: one.name,
      maxlength: 40,
      "aria-label": `New name of ${one.name}`,
      "aria-describedby": error.id,
      spellcheck: "false",
    });
    const submit = (event) => {
      event.preventDefault();
      this.#attempt(
        error,
        () => this.store.rename(one.ledgerId, input.value.trim()),
        `${one.name} is called ${input.value.trim()} now.`,
      );
    };
    fill(
      place,
      element(
        "form",
        { class: "row", submit, novalidate: true },
        input,
        element("button", { type: "submit", class: "button small primary" }, "Keep the name"),
        element("button", { type: "button", class: "button small", click: () => this.show() }, "Cancel"),
        error,
      ),
    );
    input.select();
  }

  #remove(one, place) {
    const yes = element(
      "button",
      {
        type: "button",
        class: "button small primary",
        click: () =>
          this.#attempt(place, () => this.store.remove(one.ledgerId), `${one.name} is not trusted any more.`),
      },
      "Remove",
    );
    fill(
      place,
      element("span", {}, `Trust ${one.name} no more? What was verified of it is forgotten.`),
      yes,
      element("button", { type: "button", class: "button small", click: () => this.show() }, "Keep it"),
    );
    yes.focus();
  }

  #attempt(place, change, said) {
    try {
      change();
    } catch (problem) {
      if (!(problem instanceof TrustError)) throw problem;
      fill(place, problem.message);
      return;
    }
    byId("trust-title").focus();
    this.onChange(said);
  }

  #conflict(one) {
    const button = (kept, what, name) =>
      kept &&
      element(
        "button",
        {
          type: "button",
          class: "button small",
          click: () => {
            const { proof, members } = decoded(kept);
            save(`${name}.tlog-proof`, proof, "application/octet-stream");
            if (members !== null) save(`${name}.members`, members, "application/octet-stream");
          },
        },
        what,
      );
    return element(
      "div",
      { class: "note bad conflict" },
      icon("warning"),
      element(
        "div",
        {},
        element("p", {}, element("strong", {}, one.name), `, seen on ${utc(one.seenMs)}: ${one.reason}`),
        element(
          "p",
          { class: "row" },
          button(one.before, "Save the proof verified before", "verified-before"),
          button(one.refused, "Save the refused proof", "refused"),
        ),
      ),
    );
  }

  async #preview(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      this.#offer(readExport(file.size > MAX_FILE_BYTES ? "" : await file.text()), file.name);
    } catch (problem) {
      const text = problem instanceof TrustError ? problem.message : `${file.name} cannot be read; choose it again.`;
      fill(byId("import-preview"), element("p", { class: "error", role: "alert" }, text));
    }
  }

  #offer(ledgers, fileName) {
    const fresh = ledgers.filter((one) => this.store.get(one.ledgerId) === null).length;
    const rows = ledgers.map((one) =>
      element(
        "li",
        {},
        element("strong", {}, one.name),
        this.store.get(one.ledgerId) ? " (trusted already)" : "",
        element("br"),
        element("code", {}, one.ledgerId),
        element("br"),
        element("span", { class: "hint" }, `from: ${one.addedFrom}`),
      ),
    );
    const yes = element(
      "button",
      { type: "button", class: "button primary", click: () => this.#take(ledgers, fileName) },
      fresh ? `Trust ${many(fresh, "ledger")}` : "Take over what was verified",
    );
    fill(
      byId("import-preview"),
      element(
        "div",
        { class: "note" },
        element(
          "div",
          {},
          element(
            "p",
            {},
            "Take over only what you exported yourself, or have from somebody on whose word you would trust a ledger: each id here starts to count.",
          ),
          element("ul", { class: "ledgers" }, ...rows),
          element(
            "p",
            { class: "row" },
            yes,
            element("button", { type: "button", class: "button", click: () => fill(byId("import-preview")) }, "Cancel"),
          ),
        ),
      ),
    );
    yes.focus();
  }

  /** Trust what was named; of what was verified of it only the proofs are taken, each verified anew. */
  async #take(ledgers, fileName) {
    let [added, proven] = [0, 0];
    const failed = [];
    for (const one of ledgers) {
      try {
        const isNew = this.store.get(one.ledgerId) === null;
        this.store.add(
          one.ledgerId,
          this.#freeName(one),
          `imported from ${fileName.slice(0, 80)}: ${one.addedFrom}`,
          Date.now(),
        );
        added += isNew ? 1 : 0;
        if (one.shownBy !== null && (await isProven(one, Date.now(), this.store))) proven += 1;
      } catch (problem) {
        if (!(problem instanceof TrustError)) throw problem;
        failed.push(`${one.name}: ${problem.message}`);
      }
    }
    const said = `${many(added, "ledger")} added; ${many(proven, "proof")} of ${ledgers.length} verified anew.`;
    fill(byId("import-preview"), element("p", { role: "status" }, [said, ...failed].join(" ")));
    this.onChange(said);
  }

  #freeName(one) {
    return this.store.list().some((two) => two.name === one.name && two.ledgerId !== one.ledgerId) ? "" : one.name;
  }
}
