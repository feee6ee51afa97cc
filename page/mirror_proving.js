/**
 * Makes proofs from a mirror that was dropped onto the page, byte for byte as a node and `client/mirror_proving.py` do;
 * docs/proofs.md tells how. Nothing of a mirror is believed: `judge` verifies the proof like every other. The checkpoint
 * is proven before that, of the ledger of the proof at hand: nobody else says how large the log is that is searched.
 */

import { HEADERS, IDS, LOG_ENTRIES, MAX_HEADER_BYTES, Mirror, MirrorProblem, TiledTree, unsound } from "./mirror.js";
import { compareBytes, grouped, joinBytes, sameBytes, toHex, utf8 } from "./proof/bytes.js";
import { MAX_EXTRA_BYTES } from "./proof/bundle.js";
import { certificateId } from "./proof/certificate.js";
import { NotProven, Refused } from "./proof/errors.js";
import { genesisVoters, ledgerIdOf, originOf } from "./proof/genesis.js";
import { sha256Of } from "./proof/hash.js";
import { provenHeadInSteps } from "./proof/head.js";
import { leafHash, rootFromPath } from "./proof/merkle.js";
import { bytesOf, decodeAs, encodeValue, integerOf, listOf, structOf, tupleOf } from "./proof/msgpack.js";
import { COSIGNATURE_TYPE, NoteKey } from "./proof/note.js";
import { CERTIFICATE, DIGEST, FINAL_VOTES, GENESIS, HAND_OVER, HEADER, INDEX } from "./proof/structs.js";
import { KEY_ENTRY, LOG_ROOTS, MEMBER_ROOTS } from "./proof/structs.js";
import { MAX_KEY_ENTRY_BYTES } from "./proof/validity.js";
import { inSteps } from "./steps.js";
import { Trie } from "./trie.js";

const MIRROR_VERSION = 1;
const PROOF_VERSION = 1;
const MAX_STATE_BYTES = 64 * 1024 * 1024;
const MAX_CERTIFICATE_BYTES = 2_048;
const ID_START_BYTES = 8;
/** So many certificates are looked at whose ids begin alike: of an honest log there are none. */
const MOST_ALIKE = 64;
/** So many are searched at the most, of 768 KiB each: those of 33 million certificates. */
const MOST_ID_FILES = 512;
const ENCODED_NULL = encodeValue(null);

const ENTRIES_OF_TRIE = listOf(tupleOf(DIGEST, bytesOf(0, Infinity)), 0, Infinity);
const MIRRORED_HEADER = structOf([
  ["header", HEADER],
  ["logSize", INDEX],
  ["membersHash", DIGEST],
]);
const MIRRORED_STATE = structOf([
  ["version", integerOf(1, 255)],
  ["genesis", GENESIS],
  ["header", HEADER],
  ["votes", FINAL_VOTES],
  ["following", listOf(HEADER, 0, 64)],
  ["handOver", HAND_OVER],
  ["log", LOG_ROOTS],
  ["ofMembers", MEMBER_ROOTS],
  ["directory", ENTRIES_OF_TRIE],
  ["status", ENTRIES_OF_TRIE],
]);

/** Makes newer proofs from one mirror, all at the checkpoint that it has when the first is asked for. */
export class MirrorProver {
  /**
   * @param {(path: string, mostBytes: number) => Promise<Uint8Array | null>} read a file of the mirror, by its path,
   *   not longer than that; `null`: none is there. Throws `MirrorProblem`
   */
  constructor(read) {
    this.mirror = new Mirror(read);
    this.signed = null;
    this.head = null;
  }

  /** The checkpoint, as the mirror tells it: {origin, size, root}. Throws `MirrorProblem`. */
  async checkpoint() {
    this.signed ??= this.mirror.checkpoint();
    return (await told(() => this.signed)).checkpoint;
  }

  /**
   * A newer proof of what a proof is of. Throws `MirrorProblem`.
   * @param {any} before the proof at hand, as `readBundleInSteps` gives it, of a ledger that is trusted
   * @returns {Promise<{proof: Uint8Array, members: Uint8Array | null, payload: Uint8Array | null}>} as `judge` takes it
   */
  async renew(before) {
    const { origin } = await this.checkpoint();
    const { genesis } = before.extra;
    if (origin !== originOf(genesis)) {
      throw new MirrorProblem(`the mirror is of ${origin}, and the proof of ${originOf(genesis)}; take a mirror of that`);
    }
    this.head ??= headOf(this.mirror, await this.signed, genesis);
    return told(async () => proveAt(this.mirror, await this.head, before));
  }
}

/** What is refused of a mirror is told as a problem of it. */
async function told(make) {
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw unsound(error.reason);
  }
}

// ---- what all proofs at a checkpoint have in common -----------------------------------------------------------

/** First what is small, and whether members signed it: tries are built, and files searched, of nothing else. */
async function headOf(mirror, { note, checkpoint }, genesis) {
  const path = `tallystick/state/${checkpoint.size}`;
  const state = decodeAs(MIRRORED_STATE, MAX_STATE_BYTES, "mirrored state", await mirror.needed(path, MAX_STATE_BYTES));
  if (state.version !== MIRROR_VERSION) {
    throw new MirrorProblem(`the mirror is of version ${state.version}; take a newer page`);
  }
  const { header, log, ofMembers } = state;
  const mustLeadTo = (what, isSame) => {
    if (!isSame) throw unsound(`${path} does not lead to ${what}`);
  };
  // The genesis is legal: it is the very one of the proof at hand.
  mustLeadTo("the genesis of the proof at hand", sameBytes(state.genesis.encoded, genesis.encoded));
  mustLeadTo("the checkpoint", checkpoint.size === log.logSize && sameBytes(checkpoint.root, log.logRoot));
  mustLeadTo("the state root", sameBytes(header.stateRoot, sha256Of(log.encoded)));
  mustLeadTo("the hash of its member roots", sameBytes(log.membersHash, sha256Of(ofMembers.encoded)));
  await checkSigned(state, note);
  const directory = new Trie(state.directory);
  const status = new Trie(state.status);
  mustLeadTo("the root of the directory", sameBytes(ofMembers.directory, directory.root));
  mustLeadTo("the root of the status", sameBytes(ofMembers.status, status.root));
  return { ...state, note, checkpoint, directory, status, cosigners: cosignersOf(state, note, checkpoint, directory) };
}

/**
 * Throw `MirrorProblem` unless members, followed from the genesis, signed the checkpoint (P4 to P7). What the user knows
 * of them from before is asked when the proof is judged: what contradicts it is evidence, and is kept as such.
 */
async function checkSigned(state, note) {
  const demand = { ledgerId: ledgerIdOf(state.genesis), anchors: [], policy: null };
  try {
    await inSteps(provenHeadInSteps({ ...state, note }, demand));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw unsound(`its checkpoint is not proven: [${error.rule}] ${error.reason}`);
  }
}

/** Proofs of the keys that cosigned and that the genesis does not name. */
function cosignersOf({ genesis, handOver }, note, checkpoint, directory) {
  if (directory.top === null) return [];
  const named = new Set(genesis.founders.map((one) => toHex(one.key)));
  const hasCosigned = (key) => {
    const name = `${checkpoint.origin}/${toHex(key).slice(0, 16)}`;
    return note.signedBy(new NoteKey(name, COSIGNATURE_TYPE, key)).length > 0;
  };
  const keys = lastVoters(genesis, handOver).filter((key) => !named.has(toHex(key)) && hasCosigned(key));
  return keys.map((key) => directory.prove(key));
}

/** The keys of the voters to whom a hand-over leads, as it tells them. */
function lastVoters(genesis, handOver) {
  const first = genesisVoters(genesis).map(([key]) => key);
  const keys = [...first, ...handOver.keys];
  const told = [handOver.first, ...handOver.steps.flatMap((one) => [one.voters, one.nextVoters]), handOver.voters];
  const listed = told.findLast((one) => one !== null) ?? null;
  if (listed === null) return first;
  if (listed.some(([place]) => place >= keys.length)) {
    throw new NotProven("P4", `voters: a place beyond the ${keys.length} keys`);
  }
  return listed.map(([place]) => keys[place]);
}

// ---- one proof ------------------------------------------------------------------------------------------------

async function proveAt(mirror, head, before) {
  const { extra } = before;
  const { size, root } = head.checkpoint;
  const log = new TiledTree(mirror, "tile", size);
  const wanted = certificateId(extra.certificate);
  const index = await indexOf(mirror, size, wanted, before.proof.logIndex);
  const certificate = await certificateAt(mirror, index, size);
  const path = await log.path(index, size);
  checkPath(leafHash(certificate.encoded), index, size, path, root);
  const entrance = await entranceOf(mirror, head, log, index);
  const payload = before.payload?.encoded ?? null;
  const { payloadHash } = certificate;
  const isCovered = payload !== null && payloadHash !== null && sameBytes(sha256Of(payload), payloadHash);
  return putTogether(head, { certificate, payload: isCovered ? payload : null, index, path, entrance });
}

function checkPath(leaf, index, size, path, root) {
  if (!sameBytes(rootFromPath(leaf, index, size, path), root)) {
    throw unsound(`item ${index} of ${size} does not lead to the root of the checkpoint`);
  }
}

async function certificateAt(mirror, index, size) {
  const encoded = await mirror.item(LOG_ENTRIES, index, size);
  return decodeAs(CERTIFICATE, MAX_CERTIFICATE_BYTES, `certificate ${index}`, encoded);
}

/** Where the certificate stands: what the earlier proof says is looked at first, and not believed. */
async function indexOf(mirror, size, id, told) {
  const isThere = async (index) => sameBytes(certificateId(await certificateAt(mirror, index, size)), id);
  if (told < size && (await isThere(told))) return told;
  if (size > MOST_ID_FILES * IDS.span) {
    const tooMany = `the log has ${grouped(size)} certificates, too many to search where the earlier proof is not right`;
    throw new MirrorProblem(`${tooMany}; take a newer proof of it, or ask a node`);
  }
  let lookedAt = 0;
  for (let first = 0; first < size; first += IDS.span) {
    const rows = await mirror.part(IDS, first / IDS.span, Math.min(IDS.span, size - first));
    for (const place of placesIn(rows, id.subarray(0, ID_START_BYTES))) {
      const index = first + place;
      if (index >= size) continue;
      lookedAt += 1;
      if (lookedAt > MOST_ALIKE) throw unsound(`more than ${MOST_ALIKE} ids begin alike`);
      if (await isThere(index)) return index;
    }
  }
  const covers = `whose checkpoint covers ${size} certificates`;
  throw new MirrorProblem(`certificate ${toHex(id).slice(0, 16)}… is not in the mirror, ${covers}; take a newer one`);
}

/** The places that a file of ids, which ascend, tells of those that begin so. */
function placesIn(rows, start) {
  const compared = (row) => compareBytes(row.subarray(0, ID_START_BYTES), start);
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compared(rows[middle]) < 0) low = middle + 1;
    else high = middle;
  }
  const places = [];
  for (let at = low; at < rows.length && compared(rows[at]) === 0; at += 1) {
    const place = new DataView(rows[at].buffer, rows[at].byteOffset).getUint32(ID_START_BYTES);
    if (place >= rows.length) throw unsound(`a file of ids tells of place ${place}, and has ${rows.length}`);
    places.push(place);
  }
  return places;
}

/** The first block after which the log is larger than the index, and the one before it; encoded. */
async function entranceOf(mirror, head, log, logIndex) {
  const tip = head.header.index;
  const headers = new TiledTree(mirror, "tallystick/tile", tip);
  const blockAt = async (index) => {
    const encoded = await mirror.item(HEADERS, index, tip);
    return decodeAs(MIRRORED_HEADER, MAX_HEADER_BYTES, `header ${index}`, encoded);
  };
  let [low, block] = [0, tip];
  while (low < block) {
    const middle = Math.floor((low + block) / 2);
    if ((await blockAt(middle)).logSize > logIndex) block = middle;
    else low = middle + 1;
  }
  if (block === 0) throw unsound("its block 0 has certificates");
  const opened = async (index) => {
    const { header, logSize, membersHash } = await blockAt(index);
    if (logSize > head.checkpoint.size) {
      throw unsound(`after block ${index} the log is larger than that of the checkpoint`);
    }
    const roots = encodeValue([logSize, await log.root(logSize), await headers.root(index), membersHash]);
    if (!sameBytes(sha256Of(roots), header.stateRoot)) {
      throw unsound(`what is derived of block ${index} does not lead to its state root`);
    }
    return [header.encoded, roots];
  };
  const parent = await opened(block - 1);
  if (block === tip) return arrayOf(ENCODED_NULL, ENCODED_NULL, encodeValue([]), ...parent);
  const [header, roots] = await opened(block);
  const path = await headers.path(block, tip);
  checkPath(leafHash(header), block, tip, path, head.log.headersRoot);
  return arrayOf(header, roots, encodeValue(path), ...parent);
}

/** The files of the proof: what does not fit into it stands beside it, the payload first. */
function putTogether(head, { certificate, payload, index, path, entrance }) {
  const [issuer, organisation] = issuerProofs(head.directory, certificate.issuer);
  const extraOf = (itsPayload, itsHandOver) =>
    arrayOf(
      encodeValue(PROOF_VERSION),
      head.genesis.encoded,
      certificate.encoded,
      itsPayload ?? ENCODED_NULL,
      head.header.encoded,
      head.votes.encoded,
      arrayOf(...head.following.map((one) => one.encoded)),
      itsHandOver ?? ENCODED_NULL,
      head.log.encoded,
      head.ofMembers.encoded,
      entrance,
      head.status.prove(certificateId(certificate)),
      issuer,
      organisation,
      arrayOf(...head.cosigners),
    );
  const handOver = head.handOver.encoded;
  let [extra, isInside, hasMembers] = [extraOf(payload, handOver), true, false];
  if (extra.length > MAX_EXTRA_BYTES && payload !== null) [extra, isInside] = [extraOf(null, handOver), false];
  if (extra.length > MAX_EXTRA_BYTES) [extra, hasMembers] = [extraOf(isInside ? payload : null, null), true];
  if (extra.length > MAX_EXTRA_BYTES) {
    throw new MirrorProblem(`a proof of this ledger takes ${extra.length} bytes, ${MAX_EXTRA_BYTES} are allowed`);
  }
  return {
    proof: utf8(proofText(extra, index, path, head.note)),
    members: hasMembers ? handOver : null,
    payload: isInside ? null : payload,
  };
}

/** What the directory says of the issuer's key, and of the organisation that has it. */
function issuerProofs(directory, key) {
  const found = directory.get(key);
  if (found === null) return [directory.prove(key), ENCODED_NULL];
  const { organisation } = decodeAs(KEY_ENTRY, MAX_KEY_ENTRY_BYTES, "key entry", found);
  const place = sha256Of(utf8("tallystick.organisation.v1\x00"), encodeValue(organisation));
  return [directory.prove(key), directory.prove(place)];
}

/** The text of a proof file (c2sp.org/tlog-proof). */
function proofText(extra, index, path, note) {
  const lines = ["c2sp.org/tlog-proof@v1", `extra ${base64Of(extra)}`, `index ${index}`, ...path.map(base64Of)];
  const signatures = note.signatures.map((one) => `— ${one.name} ${base64Of(joinBytes(one.keyId, one.signature))}\n`);
  return `${lines.join("\n")}\n\n${note.text}\n${signatures.join("")}`;
}

function base64Of(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(text);
}

/** An array of values that are encoded. @param {...Uint8Array} values */
function arrayOf(...values) {
  const size = values.length;
  const head = size < 16 ? Uint8Array.of(0x90 | size) : Uint8Array.of(0xdc, size >> 8, size & 255);
  return joinBytes(head, ...values);
}
