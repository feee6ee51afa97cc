// The files that were given, put together by name: FILE, FILE.tlog-proof, and beside it FILE.members, FILE.payload.

import { DocumentHasher } from "./proof/hash.js";

export const PROOF = ".tlog-proof";
const MEMBERS = ".members";
const PAYLOAD = ".payload";
const MAX_PROOF_BYTES = 256 * 1024;
const MAX_BESIDE_BYTES = 8 * 1024 * 1024;
const PIECE_BYTES = 4 * 1024 * 1024;

/**
 * What is to be verified of the files given, in any order; of two with one name the later counts for a proof, and each is
 * a document. `chosen` is the user's own choice of a proof for a document. Files that belong beside a proof that is not
 * there wait.
 */
export function paired(files, chosen = new Map()) {
  const named = new Map(files.map((file) => [file.name, file]));
  const isBeside = (file) => [MEMBERS, PAYLOAD].some((end) => file.name.endsWith(end)) && !named.has(file.name + PROOF);
  const documents = files.filter((file) => !file.name.endsWith(PROOF) && !isBeside(file));
  const items = documents.map((document) =>
    itemOf(document, chosen.get(document) ?? named.get(document.name + PROOF), named),
  );
  const used = new Set(items.flatMap(({ proof, members, payload }) => [proof, members, payload]));
  const alone = [...named.values()].filter((file) => file.name.endsWith(PROOF) && !used.has(file));
  items.push(...alone.map((proof) => itemOf(null, proof, named)));
  const taken = new Set(items.flatMap(({ members, payload }) => [members, payload]));
  return { items, waiting: files.filter((file) => isBeside(file) && !taken.has(file)) };
}

function itemOf(document, proof, named) {
  const base = proof?.name.slice(0, -PROOF.length);
  const beside = (end) => (proof ? (named.get(base + end) ?? null) : null);
  return { document, proof: proof ?? null, members: beside(MEMBERS), payload: beside(PAYLOAD) };
}

/** The bytes of a proof's files, each at most one byte longer than may be: that is refused as too long. */
export async function bytesOf({ proof, members, payload }) {
  const read = async (file, most) => (file ? new Uint8Array(await file.slice(0, most + 1).arrayBuffer()) : null);
  return {
    proof: await read(proof, MAX_PROOF_BYTES),
    members: await read(members, MAX_BESIDE_BYTES),
    payload: await read(payload, MAX_BESIDE_BYTES),
  };
}

/** Size and SHA-256 of a document of any size, piece by piece; `onRead` is told how many bytes each piece has. */
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
