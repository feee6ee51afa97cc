// The files that were given, put together by name: a document, FILE.tlog-proof, and beside it FILE.members, FILE.payload,
// FILE.tsr.

import { pathOf } from "./folders.js";
import { DocumentHasher } from "./proof/hash.js";

export const PROOF = ".tlog-proof";
const MEMBERS = ".members";
const PAYLOAD = ".payload";
const TIME_STAMP = ".tsr";
const CONFLICT = ".tlog-conflict";
const MAX_PROOF_BYTES = 256 * 1024;
const MAX_BESIDE_BYTES = 8 * 1024 * 1024;
const PIECE_BYTES = 4 * 1024 * 1024;
export const MOST_FILES = 2_000;

const groups = new WeakMap(); // by file, what it was given with

/** These files were given together: they belong together before any others of the same names. */
export function giveTogether(files) {
  const group = {};
  for (const file of files) groups.set(file, group);
}

/**
 * What is to be verified of the files given, in any order: each document is an item of its own, whatever it is called.
 * Its proof is the user's own choice (`chosen`), else the one of its name among what it was given with, else one that
 * names its hash (`byHash`), else the last of its name: `isSettled` says that it is one of the first two. What PDF files
 * carry (`carried`) comes before a proof beside them, which is `ignored` then. Proofs that belong to no document are
 * items, too. Files that belong beside a proof that is not there wait; `conflicts` are for another program.
 */
export function paired(files, { chosen = new Map(), byHash = new Map(), carried = new Map() } = {}) {
  const named = namedFiles(files);
  const isOfKind = (file, ends) => ends.some((end) => file.name.endsWith(end)) && !named.has(pathOf(file) + PROOF);
  const isBeside = (file) => isOfKind(file, [MEMBERS, PAYLOAD, TIME_STAMP]);
  const conflicts = files.filter((file) => isOfKind(file, [CONFLICT]));
  const documents = files.filter((file) => !file.name.endsWith(PROOF) && !isBeside(file) && !conflicts.includes(file));
  const ignored = [];
  const items = documents.map((document) => {
    const own = givenWith(document, pathOf(document) + PROOF, named);
    const settled = chosen.get(document) ?? (own.length === 1 ? own[0] : null);
    const proof = settled ?? byHash.get(document) ?? lastBeside(document, pathOf(document) + PROOF, named);
    const inside = carried.get(document) ?? null;
    if (inside === null || (inside.proof === null && proof)) {
      return itemOf(document, proof, named, { isSettled: settled !== null });
    }
    if (proof) ignored.push(proof);
    return itemOf(document, null, named, { inside, isSettled: true });
  });
  const used = new Set([...ignored, ...items.flatMap(({ proof, members, payload }) => [proof, members, payload])]);
  const alone = files.filter((file) => file.name.endsWith(PROOF) && !used.has(file));
  items.push(...alone.map((proof) => itemOf(null, proof, named, { isSettled: true })));
  const taken = new Set(items.flatMap(({ members, payload, timeStamp }) => [members, payload, timeStamp]));
  return { items, ignored, conflicts, waiting: files.filter((file) => isBeside(file) && !taken.has(file)) };
}

/** Files by path, those of one path in the order in which they were given. */
function namedFiles(files) {
  const named = new Map();
  for (const file of files) {
    if (!named.has(pathOf(file))) named.set(pathOf(file), []);
    named.get(pathOf(file)).push(file);
  }
  return named;
}

function givenWith(file, path, named) {
  return (named.get(path) ?? []).filter((one) => groups.get(one) === groups.get(file));
}

/** The last file of a path that was given with this one, or the last of that path. */
function lastBeside(file, path, named) {
  return givenWith(file, path, named).at(-1) ?? named.get(path)?.at(-1) ?? null;
}

function itemOf(document, proof, named, { inside = null, isSettled }) {
  const base = proof && pathOf(proof).slice(0, -PROOF.length);
  const beside = (end) => (proof ? lastBeside(proof, base + end, named) : null);
  return {
    document,
    proof,
    members: beside(MEMBERS),
    payload: beside(PAYLOAD),
    timeStamp: beside(TIME_STAMP),
    inside,
    isSettled,
  };
}

/** The bytes of a proof's files, each at most one byte longer than may be: that is refused as too long. */
export async function bytesOf({ inside, proof, members, payload }) {
  if (inside !== null) return { proof: inside.proof, members: inside.members, payload: inside.payload };
  const read = async (file, most) => (file ? new Uint8Array(await file.slice(0, most + 1).arrayBuffer()) : null);
  return {
    proof: await read(proof, MAX_PROOF_BYTES),
    members: await read(members, MAX_BESIDE_BYTES),
    payload: await read(payload, MAX_BESIDE_BYTES),
  };
}

/** Size and SHA-256 of a file of any size, or of a part of one, by pieces; `onRead` is told how many bytes each has. */
export async function described(file, onRead) {
  const hasher = new DocumentHasher();
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    const piece = new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer());
    hasher.update(piece);
    onRead(piece.length);
  }
  return hasher.finish();
}

/** Of a file that cannot be read, as of any other: what stands in the way. */
export function unreadable(file) {
  return {
    name: file.name,
    path: null,
    sha256: null,
    size_bytes: null,
    proof: null,
    exit_code: 2,
    result: "unreadable",
    is_attached: false,
    time_stamp: null,
    online: null,
    claims: null,
    proven: null,
    failure: {
      rule: null,
      step: "reading the file",
      reason: `${file.name} cannot be read: it is a folder, or was changed or removed meanwhile`,
      expected: null,
      found: null,
      advice: "choose a file that can be read; of a folder, the files in it",
    },
  };
}
