// What is shown of all that was given: notes, of each item a card or a line, and what can be done with it.

import { card } from "./card.js";
import { byId, element, fill, icon, save } from "./dom.js";
import { MOST_FILES } from "./files.js";
import { pathOf } from "./folders.js";
import { printStatement, saveStatement } from "./statement.js";
import { table } from "./table.js";
import { trustForm } from "./trust_view.js";
import { many } from "./words.js";

const MOST_EXPLAINED = 3; // of so many files all is told, of more a line each
const ON_DISK =
  "The page was opened from disk: in some browsers other pages opened from disk can change which ledgers it trusts.";

/** The part of the page below the files that were given. */
export class Results {
  /**
   * `page` is {version, isOnDisk}. `user` is told what the user does: `add(files)` more, `chooseProof(document, proof)`,
   * and `judgeAnew(said)` where something counts differently.
   */
  constructor(store, mirrors, page, user) {
    [this.store, this.mirrors, this.page, this.user] = [store, mirrors, page, user];
    this.table = { filter: "all", search: "", open: new Set() };
    this.items = [];
    this.isRunning = false;
    this.focused = null; // the id of the heading that has the focus back once its card is there again
  }

  /** All files are removed: nothing is open, filtered or focused any more. */
  clear() {
    this.focused = null;
    this.table.open.clear();
    [this.table.filter, this.table.search] = ["all", ""];
  }

  /** Whether files are being verified: nothing that is shown from then on can be saved, as it may count no more. */
  busy(isBusy) {
    this.isRunning = isBusy;
    byId("results").setAttribute("aria-busy", String(isBusy));
  }

  /** Show what `found` knows by now of each of the items, and what became of the other files. */
  show(files, items, others, found) {
    this.items = items;
    const results = items.map(found).filter((one) => one);
    const pending = items.filter((item) => !found(item));
    const ledgers = new Set(results.map(({ verdict }) => verdict.claims?.ledger_id));
    const warnings = new Set(results.map((one) => one.warning).filter((text) => text));
    const told = [...notesOn(files, items, others), ...warnings];
    const shownNotes = [
      ...this.mirrors.told(ledgers),
      ...told.map((text) => element("p", { class: "note warning" }, icon("warning"), element("span", {}, text))),
    ];
    byId("results").hidden = items.length === 0 && shownNotes.length === 0;
    byId("clear").disabled = files.length === 0 && shownNotes.length === 0;
    document.body.classList.toggle("has-files", files.length > 0);
    fill(byId("waiting"), ...shownNotes);
    this.#keepFocus();
    const isMany = items.length > MOST_EXPLAINED;
    const waiting = isMany
      ? [pendingNote(many(pending.length, "file"))].slice(0, pending.length)
      : pending.map((item) => pendingNote((item.document ?? item.proof).name));
    const cardOf = (one) => this.#cardOf(one);
    fill(
      byId("found"),
      ...waiting,
      ...(isMany && results.length ? [table(results, this.table, cardOf)] : results.map(cardOf)),
    );
    this.#restoreFocus();
  }

  /** Whoever was in a card is at its heading when it is there anew. */
  #keepFocus() {
    const within = byId("found").contains(document.activeElement) ? document.activeElement.closest(".card") : null;
    if (within) this.focused = within.getAttribute("aria-labelledby");
  }

  #restoreFocus() {
    const heading = this.focused === null ? null : byId(this.focused);
    if (heading === null) return;
    heading.focus();
    this.focused = null;
  }

  #cardOf(one) {
    const { verdict, item, newer, nowMs } = one;
    const { version, isOnDisk } = this.page;
    const name = (item.document ?? item.proof).name.replace(/\.tlog-proof$/, "");
    const button = (text, click) =>
      element("button", { type: "button", class: "button", disabled: this.isRunning, click }, text);
    const more = [];
    const kept = verdict.claims && this.store.get(verdict.claims.ledger_id);
    if (verdict.result === "not_trusted" && kept) more.push(confirmFirst(kept));
    if (verdict.result === "not_trusted" && verdict.claims !== null && !kept) more.push(this.#trustHere(verdict));
    if (item.document && item.proof === null && item.inside === null) more.push(this.#chooseProof(one));
    const buttons = [
      item.inside !== null && item.inside.changed === null
        ? button("Save the certified PDF", () => this.#saveCertified(item))
        : null,
      newer !== null ? button("Save the newer proof", () => saveProof(name, newer)) : null,
      button("Print statement", () => printStatement(one, version, isOnDisk ? ON_DISK : "")),
      button("Save as JSON", () => saveStatement(one, version)),
    ];
    return card(
      verdict,
      nowMs,
      more.filter((part) => part),
      buttons,
      `file-${one.number}`,
    );
  }

  /** Save the PDF as it was before its proof was attached, and verify what was saved, with that proof beside it. */
  #saveCertified({ document, inside }) {
    const name = `${document.name.replace(/\.pdf$/i, "")}.certified.pdf`;
    const part = document.slice(0, inside.prefixBytes);
    const made = (ending, content) =>
      content === null ? [] : [new File([content], name + ending, { lastModified: document.lastModified })];
    save(name, part, "application/pdf");
    this.user.add([
      ...made("", part),
      ...made(".tlog-proof", inside.proof),
      ...made(".members", inside.members),
      ...made(".payload", inside.payload),
    ]);
  }

  #trustHere(verdict) {
    const trusted = (entry) => this.user.judgeAnew(`${entry.name} is trusted.`);
    const form = trustForm(this.store, verdict.claims.ledger_id, trusted);
    return element(
      "details",
      { class: "trust-here" },
      element("summary", {}, "I have the ledger’s id from one of its members"),
      form,
    );
  }

  #chooseProof({ item, number }) {
    const alone = this.items.filter((one) => one.document === null).map((one) => one.proof);
    if (!alone.length) return null;
    const select = element(
      "select",
      { id: `proof-of-${number}` },
      ...alone.map((file, place) => element("option", { value: place }, file.name)),
    );
    const click = () => this.user.chooseProof(item.document, alone[Number(select.value)]);
    return element(
      "p",
      { class: "row" },
      element("label", { for: select.id }, "Its proof is"),
      select,
      element("button", { type: "button", class: "button small", click }, "Use"),
    );
  }
}

/** What is said of files that are no items, or that could be mistaken for others. */
function notesOn(files, items, { waiting, ignored, conflicts }) {
  const paths = items.filter((item) => item.document !== null).map((item) => pathOf(item.document));
  const twice = [...new Set(paths.filter((path, place) => paths.indexOf(path) !== place))];
  return [
    ...twice.map(
      (path) => `More than one file called ${path} was given, with different content: each is judged for itself.`,
    ),
    ...conflicts.map(
      (file) =>
        `${file.name} holds two checkpoints of one log that are said to conflict, as tallystick audit keeps them. This page does not judge it; use: tallystick verify ${file.name}`,
    ),
    ...waiting.map(
      (file) =>
        `${file.name} belongs beside a proof that is not here: add ${file.name.replace(/\.(members|payload|tsr)$/, "")}.tlog-proof.`,
    ),
    ...ignored.map(
      (file) => `${file.name} is not looked at: ${file.name.replace(/\.tlog-proof$/, "")} carries its proof.`,
    ),
    ...(files.length === MOST_FILES
      ? [`${MOST_FILES} files are the most there can be; the others were left out.`]
      : []),
  ];
}

/** In the place of a card that does not count any more, or not yet. */
function pendingNote(what) {
  return element(
    "p",
    { class: "note", "data-pending": true },
    icon("file"),
    element("span", {}, `${what}: being verified…`),
  );
}

function saveProof(name, files) {
  for (const [kind, ending] of [
    ["proof", ".tlog-proof"],
    ["members", ".members"],
    ["payload", ".payload"],
  ]) {
    if (files[kind] !== null) save(name + ending, files[kind], "application/octet-stream");
  }
}

/** A ledger kept from before, in a storage that other pages may have written to. */
function confirmFirst({ ledgerId, name }) {
  const click = () => document.querySelector(`[data-confirm="${ledgerId}"]`)?.focus();
  const text = `You trust ${name} from before: it counts here once you confirm its id under Trusted ledgers.`;
  const button = element("button", { type: "button", class: "button small", click }, "Go there");
  return element(
    "div",
    { class: "note" },
    icon("warning"),
    element("div", {}, element("p", {}, text), element("p", { class: "row" }, button)),
  );
}
