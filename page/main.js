// The page: what was given, what is asked and trusted, and what is shown of it.

import { NotUnderstood, readSpan, readTime } from "./asked.js";
import { card } from "./card.js";
import { byId, element, fill, icon, save } from "./dom.js";
import { bytesOf, described, paired, unreadable } from "./files.js";
import { chosenFolder, droppedIn, pathOf } from "./folders.js";
import { Mirrors } from "./mirrors.js";
import { carriedIn, changedPdf } from "./pdf.js";
import { toHex } from "./proof/bytes.js";
import { Refused } from "./proof/errors.js";
import { sha256Of } from "./proof/hash.js";
import { parsePolicy } from "./proof/tlog.js";
import { printStatement, saveStatement } from "./statement.js";
import { table } from "./table.js";
import { TrustStore, usableStorage } from "./trust.js";
import { TrustPanel, trustForm, watchClaims } from "./trust_view.js";
import { verdictBy, verdictOn } from "./verifier.js";
import { many } from "./words.js";

const MOST_EXPLAINED = 3; // of so many files all is told, of more a line each
const MOST_FILES = 2_000;
const MAX_POLICY_BYTES = 1024 * 1024;
const NOTHING_ASKED = { issuer: null, atMs: null, freshMs: null, policy: null };

const version = document.querySelector('meta[name="tallystick-page"]').content;
const store = new TrustStore(usableStorage());
const shown = { filter: "all", search: "", open: new Set() };

let files = [];
const chosen = new Map(); // by document, the proof that the user chose, or that names its hash
const facts = new Map(); // by document, its size and SHA-256, or null if it cannot be read
const carried = new Map(); // by PDF, the proof that it carries; the facts are of the PDF as it was, then
const mirrors = new Mirrors((name) => judgeAnew(`The mirror ${name} is not used any more.`));
let judged = new Map(); // by the files of an item, what was found
let asked = NOTHING_ASKED;
let nowMs = 0;
let run = 0;
const numbers = new Map();

// ---- what is given ----------------------------------------------------------------------------------------------

function add(list) {
  const added = [...list].filter((one) => !files.some((two) => isSame(one, two)));
  files = [...files, ...added].slice(0, MOST_FILES);
  if (files.length) verifyAll();
}

/** Take in folders: mirrors, or documents and proofs in any folder of theirs. */
async function addFolders(folders) {
  if (folders.length === 0) return;
  announce("Reading folders…");
  const added = [];
  let hasMirrors = false;
  for (const folder of folders) {
    try {
      if ((await folder.fileAt("checkpoint")) === null) added.push(...(await folder.files(MOST_FILES)));
      else hasMirrors = (await mirrors.add(folder)) || hasMirrors;
    } catch {
      mirrors.unread(folder);
    }
  }
  add(added);
  if (hasMirrors) judgeAnew("A mirror is used.");
  else if (files.length === 0) showNothing();
}

function showNothing() {
  showAll();
  announce("Nothing was found that can be verified.");
}

/** The folder that was chosen as a mirror. */
async function useMirror(list) {
  const isUsed = await mirrors.add(chosenFolder(list));
  judgeAnew(isUsed ? "A mirror is used." : "It is not used as a mirror.");
}

function isSame(one, two) {
  return pathOf(one) === pathOf(two) && one.size === two.size && one.lastModified === two.lastModified;
}

function clear() {
  run += 1;
  files = [];
  chosen.clear();
  facts.clear();
  carried.clear();
  mirrors.clear();
  judged.clear();
  shown.open.clear();
  [shown.filter, shown.search] = ["all", ""];
  showAll();
  progress(null);
  busy(false);
  announce("All files are removed.");
  byId("choose").focus();
}

// ---- verifying --------------------------------------------------------------------------------------------------

/** Verify what is not verified yet; a later call ends an earlier one. */
async function verifyAll() {
  const own = (run += 1);
  nowMs = Date.now();
  byId("clear").disabled = false;
  busy(true);
  await readDocuments(own);
  for (const step of [judgeItems, pairByHash, judgeItems]) if (own === run) await step(own);
  if (own !== run) return;
  progress(null);
  const items = showAll();
  busy(false);
  const verified = items.filter((item) => found(item)?.verdict.failure === null).length;
  const [first] = items;
  announce(
    items.length === 1
      ? `${found(first).verdict.name}: ${verified ? "verified" : found(first).verdict.is_attached ? "not verified as a whole" : "not verified"}.`
      : `${many(items.length, "file")}: ${verified} verified, ${items.length - verified} not.`,
  );
}

async function readDocuments(own) {
  const unread = paired(files, chosen)
    .items.map((item) => item.document)
    .filter((one) => one && !facts.has(one));
  const all = unread.reduce((sum, one) => sum + one.size, 0);
  let done = 0;
  for (const document of unread) {
    try {
      const inside = await carriedIn(document);
      const part = inside === null ? document : document.slice(0, inside.prefixBytes);
      const fact = await described(part, (bytes) => {
        if (own !== run) throw new Stopped();
        progress((done += bytes) / Math.max(all, 1), `Reading ${document.name}`);
      });
      if (inside !== null) carried.set(document, inside);
      facts.set(document, fact);
    } catch (error) {
      if (error instanceof Stopped) return;
      facts.set(document, null);
    }
  }
}

class Stopped extends Error {}

async function judgeItems(own) {
  const items = paired(files, chosen, carried).items.filter((item) => !judged.has(keyOf(item)));
  for (const [place, item] of items.entries()) {
    if (own !== run) return;
    if (items.length > 8 && place % 4 === 0) {
      progress(place / items.length, `Verifying ${place + 1} of ${items.length}`);
      await new Promise((resume) => setTimeout(resume));
    }
    const start = performance.now();
    judged.set(keyOf(item), await judgeOne(item));
    performance.measure("verify", { start }); // what `python -m benchmarks page` reads
  }
}

async function judgeOne(item) {
  const { document, inside } = item;
  const name = (document ?? item.proof).name;
  const key = keyOf(item);
  const told = (verdict, more = {}) => ({
    item,
    key,
    number: numberOf(key),
    verdict,
    warning: "",
    newer: null,
    proofSha256: null,
    ...more,
  });
  const fact = document ? facts.get(document) : null; // before anything is waited for: all may be removed meanwhile
  if (document && fact === null) return told(unreadable(document));
  if (inside !== null && inside.changed !== null) return told(changedPdf(name, fact, inside));
  let bytes;
  try {
    bytes = await bytesOf(item);
  } catch {
    return told(unreadable(item.proof));
  }
  const file = {
    name,
    document: fact,
    ...bytes,
    proofName: item.proof?.name,
    isAttached: inside !== null,
    isStamped: item.timeStamp !== null,
  };
  const { verdict, proof, ...more } = await verdictBy(file, { nowMs, ...asked }, store, mirrors.of(bytes.proof));
  const path = pathOf(document ?? item.proof);
  return told(path === name ? verdict : { ...verdict, path }, {
    ...more,
    proofSha256: proof ? toHex(sha256Of(proof)) : null,
  });
}

/** A proof alone that says the hash of a document without proof belongs to it, whatever both are called. */
async function pairByHash() {
  const { items } = paired(files, chosen, carried);
  const alone = items.filter((item) => item.document === null);
  for (const { document, proof, inside } of items) {
    const fact = proof === null && inside === null ? facts.get(document) : null;
    if (!fact) continue;
    const match = alone.find((item) => found(item)?.verdict.claims?.document?.sha256 === fact.sha256);
    if (match) chosen.set(document, match.proof);
  }
}

function found(item) {
  return judged.get(keyOf(item));
}

function keyOf(item) {
  return [item.document, item.proof, item.members, item.payload, item.timeStamp, item.inside]
    .map((file) => (file ? numberOf(file) : "-"))
    .join(" ");
}

function numberOf(one) {
  if (!numbers.has(one)) numbers.set(one, numbers.size + 1);
  return numbers.get(one);
}

/** Something counts differently from now on: everything is judged anew. */
function judgeAnew(said) {
  judged = new Map();
  panel.show();
  if (files.length) {
    verifyAll().then(() => announce(`${said} ${byId("status").textContent}`));
  } else {
    showAll();
    announce(said);
  }
}

/** Whether the newest proof of an imported ledger holds under its id; what it shows is kept then. */
function judgeKept({ ledgerId, shownBy }) {
  const file = { name: "imported", document: null, ...shownBy, payload: null };
  const { verdict } = verdictOn(file, { nowMs: Date.now(), ...NOTHING_ASKED }, store);
  return verdict.proven?.ledger_id === ledgerId;
}

// ---- showing ----------------------------------------------------------------------------------------------------

/** Show what is known by now of all that was given; the items. */
function showAll() {
  const { items, ...others } = paired(files, chosen, carried);
  show(
    items.map(found).filter((one) => one),
    notesOn(others),
  );
  return items;
}

function notesOn({ waiting, ignored, conflicts }) {
  return [
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

function show(results, notes) {
  const ledgers = new Set(results.map(({ verdict }) => verdict.claims?.ledger_id));
  const told = [...notes, ...new Set(results.map((one) => one.warning).filter((text) => text))];
  const shownNotes = [
    ...mirrors.told(ledgers),
    ...told.map((text) => element("p", { class: "note warning" }, icon("warning"), element("span", {}, text))),
  ];
  byId("results").hidden = results.length === 0 && shownNotes.length === 0;
  byId("clear").disabled = files.length === 0 && shownNotes.length === 0;
  document.body.classList.toggle("has-files", files.length > 0);
  fill(byId("waiting"), ...shownNotes);
  const isMany = results.length > MOST_EXPLAINED;
  fill(byId("found"), ...(isMany ? [table(results, nowMs, shown, cardOf)] : results.map(cardOf)));
  panel.show();
}

function cardOf(one) {
  const { verdict, item, newer } = one;
  const name = (item.document ?? item.proof).name.replace(/\.tlog-proof$/, "");
  const button = (text, click) => element("button", { type: "button", class: "button", click }, text);
  const more = [];
  if (verdict.result === "not_trusted" && verdict.claims !== null && store.get(verdict.claims.ledger_id) === null)
    more.push(trustHere(verdict));
  if (item.document && item.proof === null && item.inside === null) more.push(chooseProof(item));
  const buttons = [
    item.inside !== null && item.inside.changed === null
      ? button("Save the certified PDF", () => saveCertified(item))
      : null,
    newer !== null ? button("Save the newer proof", () => saveProof(name, newer)) : null,
    button("Print statement", () => printStatement(one, nowMs, version)),
    button("Save as JSON", () => saveStatement(one, nowMs, version)),
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
function saveCertified({ document, inside }) {
  const name = `${document.name.replace(/\.pdf$/i, "")}.certified.pdf`;
  const part = document.slice(0, inside.prefixBytes);
  const made = (ending, content) =>
    content === null ? [] : [new File([content], name + ending, { lastModified: document.lastModified })];
  save(name, part, "application/pdf");
  add([
    ...made("", part),
    ...made(".tlog-proof", inside.proof),
    ...made(".members", inside.members),
    ...made(".payload", inside.payload),
  ]);
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

function trustHere(verdict) {
  const form = trustForm(store, verdict.claims.ledger_id, (entry) => judgeAnew(`${entry.name} is trusted.`));
  return element(
    "details",
    { class: "trust-here" },
    element("summary", {}, "I have the ledger’s id from one of its members"),
    form,
  );
}

function chooseProof(item) {
  const alone = paired(files, chosen, carried)
    .items.filter((one) => one.document === null)
    .map((one) => one.proof);
  if (!alone.length) return null;
  const select = element(
    "select",
    {
      id: `proof-of-${numberOf(item.document)}`,
      change: () => {
        chosen.set(item.document, alone[Number(select.value)]);
        verifyAll();
      },
    },
    element("option", { value: "" }, "choose one"),
    ...alone.map((file, place) => element("option", { value: place }, file.name)),
  );
  return element("p", { class: "row" }, element("label", { for: select.id }, "Its proof is"), select);
}

function announce(text) {
  fill(byId("status"), text);
}

function busy(isBusy) {
  byId("results").setAttribute("aria-busy", String(isBusy));
}

function progress(share, text) {
  byId("progress").hidden = share === null;
  if (share === null) return;
  byId("progress").value = share;
  if (byId("status").textContent !== text) announce(text);
}

// ---- what is asked ----------------------------------------------------------------------------------------------

async function ask(event) {
  event.preventDefault();
  const policy = byId("policy").files[0] ?? null;
  const read = { atMs: ["at", readTime], freshMs: ["fresh", readSpan] };
  const entered = { issuer: byId("issuer").value.trim() || null };
  let wrong = null;
  for (const [name, [id, reader]] of Object.entries(read)) {
    fill(byId(`${id}-error`));
    try {
      entered[name] = reader(byId(id).value);
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      fill(byId(`${id}-error`), error.message);
      wrong ??= byId(id);
    }
  }
  fill(byId("policy-error"));
  entered.policy = policy ? new Uint8Array(await policy.slice(0, MAX_POLICY_BYTES + 1).arrayBuffer()) : null;
  try {
    if (policy) parsePolicy(entered.policy);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    fill(byId("policy-error"), `${error.message}. Choose another file.`);
    wrong ??= byId("policy");
  }
  if (wrong) wrong.focus();
  else use(entered, policy);
}

function use(entered, policy) {
  asked = entered;
  const parts = [
    entered.issuer ? `issuer ${entered.issuer}` : "any issuer",
    entered.atMs !== null ? `valid at ${byId("at").value.trim()}` : "",
    entered.freshMs !== null ? `status at most ${byId("fresh").value.trim()} old` : "",
    policy ? `policy ${policy.name}` : "",
  ].filter((part) => part);
  const isAnything = parts.length === 1 && !entered.issuer;
  fill(byId("asked-summary"), isAnything ? "Any issuer, at any age of its status" : parts.join(", "));
  judgeAnew(isAnything ? "Nothing more is asked for." : `Asked for: ${parts.join(", ")}.`);
}

// ---- the page itself --------------------------------------------------------------------------------------------

const panel = new TrustPanel(store, judgeAnew, judgeKept);

byId("choose").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
byId("choose-mirror").addEventListener("change", (event) => {
  if (event.target.files.length) useMirror([...event.target.files]);
  event.target.value = "";
});
byId("clear").addEventListener("click", clear);
byId("asked").addEventListener("submit", ask);
byId("asked").addEventListener("reset", () => {
  for (const id of ["at-error", "fresh-error", "policy-error"]) fill(byId(id));
  use(NOTHING_ASKED, null);
});
addEventListener("storage", () => {
  if (store.reload()) judgeAnew("Another tab changed what is trusted.");
});

let within = 0;
const over = (step) => document.body.classList.toggle("is-over", (within = Math.max(0, within + step)) > 0);
addEventListener("dragenter", (event) => {
  event.preventDefault();
  over(1);
});
addEventListener("dragleave", () => over(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over(-within);
  const dropped = droppedIn(event.dataTransfer);
  if (dropped.files.length) add(dropped.files);
  addFolders(dropped.folders);
});

byId("trust-title").tabIndex = -1;
fill(byId("version"), version);
watchClaims();
panel.show();
