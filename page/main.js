// The page: what was given, what is asked and trusted, and what is shown of it.

import { NOTHING_ASKED } from "./asked.js";
import { byId, fill } from "./dom.js";
import { MOST_FILES, bytesOf, described, giveTogether, paired, unreadable } from "./files.js";
import { chosenFolder, droppedIn, pathOf } from "./folders.js";
import { Mirrors } from "./mirrors.js";
import { carriedIn, changedPdf } from "./pdf.js";
import { toHex } from "./proof/bytes.js";
import { sha256Of } from "./proof/hash.js";
import { watchQuestion } from "./question.js";
import { Results } from "./results.js";
import { pause } from "./steps.js";
import { TrustError, TrustStore, usableStorage } from "./trust.js";
import { TrustPanel, watchClaims } from "./trust_view.js";
import { verdictBy } from "./verifier.js";
import { many, outcomeOf } from "./words.js";

const version = document.querySelector('meta[name="tallystick-page"]').content;
const isOnDisk = location.protocol === "file:";
const store = new TrustStore(usableStorage(), isOnDisk);

let files = [];
const chosen = new Map(); // by document, the proof that the user chose
const byHash = new Map(); // by document, a proof that names its hash
const facts = new Map(); // by document, its size and SHA-256, or null if it cannot be read
const carried = new Map(); // by PDF, the proof that it carries; the facts are of the PDF as it was, then
const mirrors = new Mirrors((name) => judgeAnew(`The mirror ${name} is not used any more.`));
const results = new Results(store, mirrors, { version, isOnDisk }, { add, chooseProof, judgeAnew });
let judged = new Map(); // by the files of an item, what was found
let asked = NOTHING_ASKED;
let run = 0;
const numbers = new Map();

// ---- what is given ----------------------------------------------------------------------------------------------

/** Take in files that were given together. All are read, also those that look like others that were given before. */
function add(list) {
  const added = [...list];
  giveTogether(added);
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

function clear() {
  run += 1;
  files = [];
  chosen.clear();
  byHash.clear();
  facts.clear();
  carried.clear();
  mirrors.clear();
  judged.clear();
  results.clear();
  progress(null);
  results.busy(false);
  showAll();
  announce("All files are removed.");
  byId("choose").focus();
}

// ---- verifying --------------------------------------------------------------------------------------------------

/** Verify what is not verified yet; a later call ends an earlier one. */
async function verifyAll() {
  const own = (run += 1);
  byId("clear").disabled = false;
  results.busy(true);
  showAll();
  try {
    await readDocuments(own);
    for (const step of [judgeItems, pairByHash, judgeItems, mergeSame, judgeItems]) if (own === run) await step(own);
  } catch (error) {
    if (own === run) failed(error);
    return;
  }
  if (own !== run) return;
  progress(null);
  results.busy(false);
  const items = showAll();
  const verified = items.filter((item) => found(item).verdict.failure === null).length;
  announce(
    items.length === 1
      ? saidOf(found(items[0]).verdict)
      : `${many(items.length, "file")}: ${verified} verified, ${items.length - verified} not.`,
  );
}

/** A fault of this page, or of others: what was being verified is not shown, so that nobody relies on it. */
function failed(error) {
  progress(null);
  results.busy(false);
  showAll();
  if (error instanceof TrustError) {
    announce(error.message);
    return;
  }
  announce("The page failed while it verified; what is not shown is not verified. Use: tallystick verify");
  console.error(error);
}

function saidOf(verdict) {
  const outcome = outcomeOf(verdict);
  return `${verdict.name}: ${outcome[0].toLowerCase()}${outcome.slice(1)}.`;
}

function together() {
  return paired(files, { chosen, byHash, carried });
}

async function readDocuments(own) {
  const unread = together()
    .items.map((item) => item.document)
    .filter((one) => one && !facts.has(one));
  const all = unread.reduce((sum, one) => sum + one.size, 0);
  let done = 0;
  for (const document of unread) {
    try {
      const readMs = Date.now();
      const inside = await carriedIn(document);
      const part = inside === null ? document : document.slice(0, inside.prefixBytes);
      const fact = await described(part, (bytes) => {
        if (own !== run) throw new Stopped();
        progress((done += bytes) / Math.max(all, 1), `Reading ${document.name}`);
      });
      if (inside !== null) carried.set(document, inside);
      facts.set(document, { ...fact, readMs });
    } catch (error) {
      if (error instanceof Stopped) return;
      facts.set(document, null);
    }
  }
}

class Stopped extends Error {}

async function judgeItems(own) {
  const items = together().items.filter((item) => !judged.has(keyOf(item)));
  for (const [place, item] of items.entries()) {
    await pause();
    if (own !== run) return;
    progress(place / items.length, `Verifying ${place + 1} of ${items.length}`);
    const start = performance.now();
    const result = await judgeOne(item);
    if (own !== run) return; // another trust, or another question may count by now
    judged.set(keyOf(item), result);
    performance.measure("verify", { start }); // what `python -m benchmarks page` reads
  }
}

async function judgeOne(item) {
  const { document, inside } = item;
  const nowMs = Date.now();
  const name = (document ?? item.proof).name;
  const key = keyOf(item);
  const fact = document ? facts.get(document) : null; // before anything is waited for: all may be removed meanwhile
  const result = {
    item,
    key,
    number: numberOf(document ?? item.proof),
    nowMs,
    readMs: fact?.readMs ?? null,
    content: key,
  };
  const told = (verdict, more = {}) => ({ ...result, verdict, warning: "", newer: null, proofSha256: null, ...more });
  if (document && fact === null) return told(unreadable(document));
  if (inside !== null && inside.changed !== null) return told(await changedPdf(name, fact, inside));
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
    content: contentOf(item, fact, bytes),
    proofSha256: proof ? toHex(sha256Of(proof)) : null,
  });
}

/** Names and bytes of an item, by their hashes: what it has in common with the same files, given again. */
function contentOf({ document, proof, timeStamp }, fact, bytes) {
  const hashes = [bytes.proof, bytes.members, bytes.payload].map((one) => one && toHex(sha256Of(one)));
  const paths = [document, proof, timeStamp].map((one) => one && pathOf(one));
  return JSON.stringify([paths, fact && [fact.size_bytes, fact.sha256], hashes]);
}

/** A proof that says the hash of a document belongs to it, unless one of its own name was given with it or was chosen. */
function pairByHash() {
  const { items } = together();
  const proofs = items.filter((item) => item.proof !== null);
  const named = new Map(proofs.map((item) => [found(item)?.verdict.claims?.document?.sha256, item.proof]));
  for (const { document, isSettled } of items) {
    const fact = isSettled ? null : facts.get(document);
    if (fact && named.has(fact.sha256)) byHash.set(document, named.get(fact.sha256));
  }
}

/** The user says which proof a document has. */
function chooseProof(document, proof) {
  chosen.set(document, proof);
  verifyAll();
}

/** The same files given again are one item, as they were read last: they have the same names and the same hashes. */
function mergeSame() {
  const { items } = together();
  const last = new Map(items.map((item) => [found(item).content, item]));
  const kept = new Set(last.values());
  const filesOf = ({ document, proof, members, payload, timeStamp }) => [document, proof, members, payload, timeStamp];
  const needed = new Set([...kept].flatMap(filesOf));
  const gone = new Set(items.filter((item) => !kept.has(item)).flatMap(filesOf));
  files = files.filter((file) => needed.has(file) || !gone.has(file));
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
  run += 1; // what is being judged counts no more
  panel.show();
  if (files.length) {
    verifyAll().then(() => announce(`${said} ${byId("status").textContent}`));
  } else {
    showAll();
    announce(said);
  }
}

// ---- showing ----------------------------------------------------------------------------------------------------

/** Show what is known by now of all that was given; the items. */
function showAll() {
  const { items, ...others } = together();
  results.show(files, items, others, found);
  panel.show();
  return items;
}

function announce(text) {
  fill(byId("status"), text);
}

function progress(share, text) {
  byId("progress").hidden = share === null;
  if (share === null) return;
  byId("progress").value = share;
  if (byId("status").textContent !== text) announce(text);
}

// ---- the page itself --------------------------------------------------------------------------------------------

const panel = new TrustPanel(store, judgeAnew);

byId("choose").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
byId("choose-mirror").addEventListener("change", (event) => {
  if (event.target.files.length) useMirror([...event.target.files]);
  event.target.value = "";
});
byId("clear").addEventListener("click", clear);
watchQuestion((entered, said) => {
  asked = entered;
  judgeAnew(said);
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
