// The page: what was given, what is asked and trusted, and what is shown of it.

import { NotUnderstood, readSpan, readTime } from "./asked.js";
import { card } from "./card.js";
import { byId, element, fill, icon } from "./dom.js";
import { bytesOf, described, paired, unreadable } from "./files.js";
import { toHex } from "./proof/bytes.js";
import { Refused } from "./proof/errors.js";
import { sha256Of } from "./proof/hash.js";
import { parsePolicy } from "./proof/tlog.js";
import { printStatement, saveStatement } from "./statement.js";
import { table } from "./table.js";
import { TrustStore, usableStorage } from "./trust.js";
import { TrustPanel, trustForm, watchClaims } from "./trust_view.js";
import { verdictOn } from "./verifier.js";
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

function isSame(one, two) {
  return one.name === two.name && one.size === two.size && one.lastModified === two.lastModified;
}

function clear() {
  run += 1;
  files = [];
  chosen.clear();
  facts.clear();
  judged.clear();
  shown.open.clear();
  [shown.filter, shown.search] = ["all", ""];
  show([], []);
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
  const { items, waiting } = paired(files, chosen);
  show(items.map(found), waiting);
  busy(false);
  const verified = items.filter((item) => found(item)?.verdict.failure === null).length;
  const [first] = items;
  announce(
    items.length === 1
      ? `${found(first).verdict.name}: ${verified ? "verified" : "not verified"}.`
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
      const fact = await described(document, (bytes) => {
        if (own !== run) throw new Stopped();
        progress((done += bytes) / Math.max(all, 1), `Reading ${document.name}`);
      });
      facts.set(document, fact);
    } catch (error) {
      if (error instanceof Stopped) return;
      facts.set(document, null);
    }
  }
}

class Stopped extends Error {}

async function judgeItems(own) {
  const items = paired(files, chosen).items.filter((item) => !judged.has(keyOf(item)));
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
  const { document } = item;
  const name = (document ?? item.proof).name;
  const key = keyOf(item);
  const fact = document ? facts.get(document) : null; // before anything is waited for: all may be removed meanwhile
  let bytes;
  try {
    bytes = await bytesOf(item);
  } catch {
    return { item, key, number: numberOf(key), verdict: unreadable(item.proof), warning: "", proofSha256: null };
  }
  if (document && fact === null)
    return { item, key, number: numberOf(key), verdict: unreadable(document), warning: "", proofSha256: null };
  const file = { name, document: fact, ...bytes, proofName: item.proof?.name };
  const { verdict, warning } = verdictOn(file, { nowMs, ...asked }, store);
  const proofSha256 = bytes.proof ? toHex(sha256Of(bytes.proof)) : null;
  return { item, key, number: numberOf(key), verdict, warning, proofSha256 };
}

/** A proof alone that says the hash of a document without proof belongs to it, whatever both are called. */
async function pairByHash() {
  const { items } = paired(files, chosen);
  const alone = items.filter((item) => item.document === null);
  for (const { document, proof } of items) {
    const fact = proof === null ? facts.get(document) : null;
    if (!fact) continue;
    const match = alone.find((item) => found(item)?.verdict.claims?.document?.sha256 === fact.sha256);
    if (match) chosen.set(document, match.proof);
  }
}

function found(item) {
  return judged.get(keyOf(item));
}

function keyOf(item) {
  return [item.document, item.proof, item.members, item.payload].map((file) => (file ? numberOf(file) : "-")).join(" ");
}

function numberOf(one) {
  if (!numbers.has(one)) numbers.set(one, numbers.size + 1);
  return numbers.get(one);
}

/** Something counts differently from now on: everything is judged anew. */
function judgeAnew(said) {
  judged = new Map();
  panel.show();
  if (files.length) verifyAll().then(() => announce(`${said} ${byId("status").textContent}`));
  else announce(said);
}

/** Whether the newest proof of an imported ledger holds under its id; what it shows is kept then. */
function judgeKept({ ledgerId, shownBy }) {
  const file = { name: "imported", document: null, ...shownBy, payload: null };
  const { verdict } = verdictOn(file, { nowMs: Date.now(), ...NOTHING_ASKED }, store);
  return verdict.proven?.ledger_id === ledgerId;
}

// ---- showing ----------------------------------------------------------------------------------------------------

function show(results, waiting) {
  byId("results").hidden = results.length === 0 && waiting.length === 0;
  byId("clear").disabled = files.length === 0;
  document.body.classList.toggle("has-files", files.length > 0);
  fill(
    byId("waiting"),
    ...[
      ...waiting.map(
        (file) =>
          `${file.name} belongs beside a proof that is not here: add ${file.name.replace(/\.(members|payload)$/, "")}.tlog-proof.`,
      ),
      ...(files.length === MOST_FILES
        ? [`${MOST_FILES} files are the most there can be; the others were left out.`]
        : []),
      ...new Set(results.map((one) => one.warning).filter((text) => text)),
    ].map((text) => element("p", { class: "note warning" }, icon("warning"), element("span", {}, text))),
  );
  const isMany = results.length > MOST_EXPLAINED;
  fill(byId("found"), ...(isMany ? [table(results, nowMs, shown, cardOf)] : results.map(cardOf)));
  panel.show();
}

function cardOf(one) {
  const { verdict, item } = one;
  const buttons = [
    element(
      "button",
      { type: "button", class: "button", click: () => printStatement(one, nowMs, version) },
      "Print statement",
    ),
    element(
      "button",
      { type: "button", class: "button", click: () => saveStatement(one, nowMs, version) },
      "Save as JSON",
    ),
  ];
  const more = [];
  if (verdict.result === "not_trusted" && verdict.claims !== null && store.get(verdict.claims.ledger_id) === null)
    more.push(trustHere(verdict));
  if (item.document && item.proof === null) more.push(chooseProof(item));
  return card(
    verdict,
    nowMs,
    more.filter((part) => part),
    buttons,
    `file-${one.number}`,
  );
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
  const alone = paired(files, chosen)
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
  add(event.dataTransfer.files);
});

byId("trust-title").tabIndex = -1;
fill(byId("version"), version);
watchClaims();
panel.show();
