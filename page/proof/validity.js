/** Who held a key, and whether a statement was valid; `ledger/{directory,status,validity}.py`. */

import { plainNumber, toHex, uint64At, utf8 } from "./bytes.js";
import { domainBytes } from "./certificate.js";
import { Refused } from "./errors.js";
import { sha256Of } from "./hash.js";
import { provenValue } from "./merkle.js";
import { decodeAs, encodeValue } from "./msgpack.js";
import { KEY_ENTRY, ML_DSA_ENTRY, ORGANISATION } from "./structs.js";

export const MAX_KEY_ENTRY_BYTES = 1024;
const MAX_ORGANISATION_BYTES = 2048;
const MAX_ML_DSA_ENTRY_BYTES = 2048;
const STATUS_ENTRY_BYTES = 58;
const SUPERSEDED = 1;
const VOID = 3;
const EFFECT_STATES = { 1: "superseded", 2: "revoked", 3: "void" };
const REASON_NAMES = ["unspecified", "mistake", "fraud", "withdrawn", "key_compromised", "organisation_ended"];
const ML_DSA_PLACE = "tallystick.pq.v1\x00";
const NO_LEDGER = new Uint8Array(0);

/** The key's entry in the directory with this root; `null`: there is none. Throws `Refused` (T1; E1 to E3). */
export function provenKey(proof, key, root) {
  const found = provenValue(proof, key, root);
  return found === null ? null : decodeAs(KEY_ENTRY, MAX_KEY_ENTRY_BYTES, "key entry", found);
}

/** The organisation in the directory with this root. Throws `Refused` (T1; E1 to E3). */
export function provenOrganisation(proof, organisationId, root) {
  const place = sha256Of(domainBytes("organisation", NO_LEDGER, encodeValue(organisationId)));
  const found = provenValue(proof, place, root);
  if (found === null) {
    throw new Refused("T1", `it shows that the directory has no organisation ${organisationId}`);
  }
  return decodeAs(ORGANISATION, MAX_ORGANISATION_BYTES, "organisation", found);
}

/**
 * What proofs show of voters in the directory with this root, by their keys in hexadecimal digits: `holders`, ids of
 * organisations, and `mlDsa`, ML-DSA-44 keys. Throws `Refused` (T1; E1 to E3).
 * @param {any[]} proofs @param {Uint8Array[]} voters
 */
export function provenVoters(proofs, voters, root) {
  const places = new Map(voters.map((key) => [toHex(sha256Of(utf8(ML_DSA_PLACE), key)), toHex(key)]));
  const [holders, mlDsa] = [new Map(), new Map()];
  for (const one of proofs) {
    const place = one.leafKey ?? new Uint8Array(0);
    const voter = places.get(toHex(place));
    if (voter === undefined) {
      const entry = provenKey(one, place, root);
      if (entry !== null) holders.set(toHex(place), entry.organisation);
    } else {
      const found = provenValue(one, place, root);
      const entry = found && decodeAs(ML_DSA_ENTRY, MAX_ML_DSA_ENTRY_BYTES, "ML-DSA key entry", found);
      if (entry !== null && entry.key !== null) mlDsa.set(voter, entry.key);
    }
  }
  return { holders, mlDsa };
}

/** The entry of a statement under the status root; `null`: it has none. Throws `Refused` (T1, E2). */
export function provenStatus(proof, id, root) {
  const packed = provenValue(proof, id, root);
  if (packed === null) return null;
  if (packed.length !== STATUS_ENTRY_BYTES || !(packed[0] in EFFECT_STATES) || packed[1] >= REASON_NAMES.length) {
    throw new Refused("E2", "no entry of a status");
  }
  return {
    effect: packed[0],
    reason: packed[1],
    logIndex: plainNumber(uint64At(packed, 2)),
    timestampMs: plainNumber(uint64At(packed, 10)),
    acting: packed.subarray(18, 50),
    supersededMs: plainNumber(uint64At(packed, 50)),
  };
}

/**
 * What a statement is at a time, by all that is known now: {state, sinceMs, entry, key, keySince}.
 * @param {{logIndex: number, timestampMs: number}} stated its place in the log, and the time of its block
 * @param {any} keyEntry that of the issuer's key, or `null` @param {any} entry that of its status, or `null`
 */
export function validityAt(stated, keyEntry, entry, atMs) {
  const [key, keySince] = keyState(stated, keyEntry);
  const of = (state, sinceMs, by) => ({ state, sinceMs, entry: by, key, keySince });
  const last = entry !== null && (entry.effect === VOID || entry.timestampMs <= atMs) ? entry : null;
  if (atMs < stated.timestampMs) return of("not_yet", null, null);
  if (key === "compromised_before" && last?.effect !== VOID) return of("void", stated.timestampMs, null);
  if (last === null && entry !== null && entry.supersededMs && entry.supersededMs <= atMs) {
    return of("superseded", entry.supersededMs, null);
  }
  if (last === null || last.effect === VOID) return of(last === null ? "valid" : "void", stated.timestampMs, last);
  return of(EFFECT_STATES[last.effect], last.timestampMs, last);
}

/** Why it is revoked or void, in a word; `null`: it is neither. */
export function reasonOf(validity) {
  const { entry, state } = validity;
  if (entry !== null && entry.effect !== SUPERSEDED) return REASON_NAMES[entry.reason];
  return entry === null && state === "void" ? "key_compromised" : null;
}

function keyState(stated, entry) {
  if (entry === null || stated.logIndex < entry.since) return [null, null];
  if (entry.compromisedSince !== null) {
    const isBefore = entry.compromisedSince <= stated.logIndex;
    return [isBefore ? "compromised_before" : "compromised_after", entry.compromisedSince];
  }
  if (entry.until !== null && entry.until <= stated.logIndex) return ["ended_before", entry.until];
  if (entry.untilMs !== null && entry.untilMs <= stated.timestampMs) return ["ended_before", null];
  return [entry.until === null ? "in_force" : "ended_after", entry.until];
}
