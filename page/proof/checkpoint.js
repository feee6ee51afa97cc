/** Checkpoints of a log and their signatures (c2sp.org/tlog-checkpoint, tlog-cosignature); `ledger/checkpoint.py`. */

import { fromHex, toHex, uint64At } from "./bytes.js";
import { isSigned } from "./ed25519.js";
import { Refused } from "./errors.js";
import { MAX_EXACT } from "./msgpack.js";
import { COSIGNATURE_TYPE, LOG_TYPE, ML_DSA_TYPE, NoteKey, cosignedBytes, decodeDigest } from "./note.js";

const DECIMAL = /^(?:0|[1-9][0-9]{0,15})$/;
const TIME_BYTES = 8;
const SIGNATURE_BYTES = new Map([[COSIGNATURE_TYPE, 64], [ML_DSA_TYPE, 2_420]]);
const MAX_TIME_S = 2n ** 63n - 1n;

/** The checkpoint in a note's text; lines that extend it are let pass. Throws `Refused` (P1). @param {string} text */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length < 4 || lines.at(-1) !== "" || lines.slice(0, -1).includes("")) {
    throw new Refused("P1", "a checkpoint has three lines at least, none of them empty: origin, size, root");
  }
  const size = parseNumber(lines[1], "the checkpoint's size");
  return { origin: lines[0], size, root: decodeDigest(lines[2], "the checkpoint's root") };
}

/** A decimal number without sign or leading zeros, up to 2^53 - 1. Throws `Refused` (P1). @returns {number} */
export function parseNumber(text, what) {
  if (!DECIMAL.test(text) || Number(text) > MAX_EXACT) {
    throw new Refused("P1", `${what} is no decimal number without leading zeros, up to ${MAX_EXACT}`);
  }
  return Number(text);
}

/**
 * When this key signed the checkpoint, as it says (s; a log: 0). Throws `Refused` (P1, P7) where it did not. Signatures
 * by ML-DSA-44 are not verified here, and only have to be formed well.
 */
export function signedAt(key, note) {
  return note.signedBy(key).map((data) => {
    const [timeS, signature] = key.type === LOG_TYPE ? [0n, data] : splitCosignature(data, key.type);
    if (key.type === ML_DSA_TYPE) return timeS;
    const signed = key.type === LOG_TYPE ? note.textBytes : cosignedBytes(timeS, note);
    if (!isSigned(signed, signature, key.publicKey)) {
      throw new Refused("P7", `a signature in the name of ${key.name} is not by its key`);
    }
    return timeS;
  });
}

function splitCosignature(data, type) {
  const expected = TIME_BYTES + SIGNATURE_BYTES.get(type);
  if (data.length !== expected) {
    throw new Refused("P1", `a cosignature of ${data.length} bytes, ${expected} expected`);
  }
  const timeS = uint64At(data, 0);
  if (timeS > MAX_TIME_S) throw new Refused("P1", `a cosignature of the time ${timeS}, ${MAX_TIME_S} allowed`);
  return [timeS, data.subarray(TIME_BYTES)];
}

/**
 * Of these keys, in their order, those that cosigned the note, and when: [[key, s as a bigint] …]. Throws `Refused`
 * (P7; P1) where a signature in the name of one of them is bad, or none of them signed as the log.
 */
export function checkCosigned(note, origin, members) {
  const found = [];
  let hasLog = false;
  for (const key of members) {
    if (signedAt(new NoteKey(origin, LOG_TYPE, key), note).length > 0) hasLog = true;
    const times = signedAt(new NoteKey(cosignerName(origin, key), COSIGNATURE_TYPE, key), note);
    if (times.length > 0) found.push([key, times.reduce((latest, one) => (one > latest ? one : latest))]);
  }
  if (!hasLog) throw new Refused("P7", "no member signed the checkpoint as the log");
  return found;
}

/**
 * Which of these members have lines of their ML-DSA-44 keys under the note: none of them is verified here. Throws
 * `Refused` (P1) where one is not formed well.
 * @param {Map<string, Uint8Array>} keys by member, whose keys are in hexadecimal digits @returns {Uint8Array[]}
 */
export function uncheckedMlDsa(note, origin, keys) {
  const members = [...keys].map(([member, key]) => [fromHex(member), key]);
  const keyOf = ([member, key]) => new NoteKey(cosignerName(origin, member), ML_DSA_TYPE, key);
  return members.filter((one) => signedAt(keyOf(one), note).length > 0).map(([member]) => member);
}

function cosignerName(origin, member) {
  return `${origin}/${toHex(member).slice(0, 16)}`;
}

/**
 * By when a checkpoint was final, as holders of more than 1/3 of the stake say, and since when it is known to have
 * been the newest, as holders of more than 2/3 say (s). @param {{timeS: bigint, stake: bigint}[]} cosigned with more
 * than 2/3 of the total stake together @param {bigint} total
 */
export function timesTold(cosigned, total) {
  const ordered = [...cosigned].sort((one, other) => (one.timeS < other.timeS ? -1 : one.timeS > other.timeS ? 1 : 0));
  const heldBy = (all, share) => {
    let held = 0n;
    return all.find(({ stake }) => (held += stake) * 3n > share * total)?.timeS ?? 0n;
  };
  return { finalS: heldBy(ordered, 1n), statusS: heldBy([...ordered].reverse(), 2n) };
}
