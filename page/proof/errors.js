/** Refusals by the numbered rules of docs/protocol.md and docs/proofs.md, with the words of `ledger/errors.py`. */

import { grouped, toHex } from "./bytes.js";

const MOST_TOLD_CHARACTERS = 120;

/** Title of each rule that a verifier cites, as in docs/protocol.md. */
export const RULE_TITLES = {
  E1: "encoded size within its bound",
  E2: "encoded form as declared",
  E3: "canonical encoding",
  E4: "known version",
  K1: "public key is a valid Ed25519 key",
  G1: "genesis members distinct, in order, with valid keys",
  G2: "genesis tokens positive and bounded",
  G3: "stake liable for two epochs at least",
  G4: "founding organisations hold all stake",
  G5: "continuation signed by members of the old ledger",
  C1: "certificate signed by its issuer",
  C3: "payload is the one the certificate covers",
  D2: "name is unique, and of known characters",
  D3: "key admits itself to its organisation",
  V1: "vote signed by its member",
  V2: "votes of more than 2/3 of the epoch's stake",
  V3: "evidence shows two votes or headers that conflict",
  B3: "block signed by its forger",
  B10: "block belongs to this ledger",
  P1: "proof file and policy as C2SP has them",
  P2: "own part of the proof as declared",
  P3: "ledger is one that the verifier trusts",
  P4: "members are followed without a gap",
  P5: "header is final",
  P6: "checkpoint is the header's",
  P7: "checkpoint countersigned by members",
  P8: "certificate is in the log",
  P9: "block time is that of the certificate's block",
  P10: "document is the one certified",
  P11: "issuer is the one asked for",
  P12: "certificate is valid",
  P13: "status is fresh enough",
  P15: "ML-DSA signatures are by registered keys",
  T1: "trie proof leads to the root",
  T2: "audit path has the form of its place in the tree",
};

/** Input refused by a rule: `rule` is its number, `reason` says what was wrong. */
export class Refused extends Error {
  /** @param {string} rule @param {string} reason */
  constructor(rule, reason) {
    super(`[${rule}] ${RULE_TITLES[rule]}: ${reason}`);
    this.rule = rule;
    this.reason = reason;
  }
}

/** A check failed. `verdict` is what is proven, if it is only not what the verifier asks for. */
export class NotProven extends Refused {
  /** @param {string} rule @param {string} what @param {unknown} expected @param {unknown} found */
  constructor(rule, what, expected = null, found = null) {
    const isTold = expected !== null || found !== null;
    super(rule, isTold ? `${what}: ${toldInShort(expected)} expected, ${toldInShort(found)} found` : what);
    this.expected = expected;
    this.found = found;
    this.verdict = null;
  }
}

/** Two histories of one ledger, each proven: its members signed both, or their keys were stolen. */
export class Conflict extends NotProven {}

/** Throw `NotProven` unless both are the same: bytes, numbers or texts. */
export function expectSame(rule, what, expected, found) {
  if (valueInWords(expected) !== valueInWords(found)) throw new NotProven(rule, what, expected, found);
}

/** What is refused inside is not proven, by this check. */
export function inStep(rule, what, check) {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof Refused) || error instanceof NotProven) throw error;
    throw new NotProven(rule, `${what}: ${error.reason}`);
  }
}

/** A compared value as text: bytes in hexadecimal digits. @returns {string} */
export function valueInWords(value) {
  return value instanceof Uint8Array ? toHex(value) : value === null ? "None" : String(value);
}

/** For a person, not longer than a line: it may come from elsewhere. */
function toldInShort(value) {
  const characters = [...valueInWords(value)];
  if (characters.length <= MOST_TOLD_CHARACTERS) return characters.join("");
  return `${characters.slice(0, MOST_TOLD_CHARACTERS).join("")}… (${grouped(characters.length)} characters)`;
}
