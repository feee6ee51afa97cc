/** Signed notes (c2sp.org/signed-note v1.0.0), and the keys' text form, as `ledger/note.py` has them. */

import { fromBase64, grouped, joinBytes, sameBytes, toHex, utf8 } from "./bytes.js";
import { checkPublicKey } from "./ed25519.js";
import { Refused } from "./errors.js";
import { sha256Of } from "./hash.js";
import { ML_DSA_KEY_BYTES } from "./structs.js";

/** Ed25519 over the text. */
export const LOG_TYPE = 0x01;
/** Ed25519 over time and text (c2sp.org/tlog-cosignature). */
export const COSIGNATURE_TYPE = 0x04;
/** ML-DSA-44 over name, time, origin, size and root (likewise): it is not verified here. */
export const ML_DSA_TYPE = 0x06;

export const MAX_NOTE_BYTES = 128 * 1024;
const MAX_NOTE_SIGNATURES = 100;
const KEY_ID_BYTES = 4;
const SIGNATURE_LINE = /^— ([^ +]+) ([A-Za-z0-9+/]+={0,2})$/u;
const REFUSED_CHARACTER = /[\x00-\x09\x0b-\x1f]/;
/** Spaces as Python's `\s` has them, plus signs, controls. */
const NO_KEY_NAME = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000+\x00-\x1f\ud800-\udfff]/u;

/** A key that signs notes under a name. */
export class NoteKey {
  /** @param {string} name @param {number} type @param {Uint8Array} publicKey */
  constructor(name, type, publicKey) {
    this.name = name;
    this.type = type;
    this.publicKey = publicKey;
    const hashed = sha256Of(utf8(name), Uint8Array.of(10, type), publicKey);
    this.id = hashed.subarray(0, KEY_ID_BYTES);
  }
}

/** A note: `text` ends with a newline; `signatures` are [{name, keyId, signature}], none verified. */
export class Note {
  constructor(text, signatures) {
    this.text = text;
    this.textBytes = utf8(text);
    this.signatures = signatures;
  }

  /** What stands under the note in the name of this key, not verified. @param {NoteKey} key @returns {Uint8Array[]} */
  signedBy(key) {
    const own = this.signatures.filter((one) => one.name === key.name && sameBytes(one.keyId, key.id));
    return own.map((one) => one.signature);
  }
}

/**
 * Throw `Refused` (P1) unless this is a signed note: text, empty line, one signature at least.
 * @param {string} encoded @returns {Note}
 */
export function parseNote(encoded) {
  const found = REFUSED_CHARACTER.exec(encoded);
  if (found) {
    const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    throw new Refused("P1", `the note has the character U+${code}`);
  }
  const size = utf8(encoded).length;
  if (size > MAX_NOTE_BYTES) throw new Refused("P1", `a note of ${size} bytes, ${MAX_NOTE_BYTES} allowed`);
  const gap = encoded.lastIndexOf("\n\n");
  const under = encoded.slice(gap + 2);
  if (gap < 0 || !under.endsWith("\n")) {
    throw new Refused("P1", "the note does not end with an empty line and signatures, each with a newline");
  }
  const lines = under.slice(0, -1).split("\n");
  if (lines.length > MAX_NOTE_SIGNATURES) {
    throw new Refused("P1", `a note with ${lines.length} signatures, ${MAX_NOTE_SIGNATURES} allowed`);
  }
  return new Note(`${encoded.slice(0, gap)}\n`, lines.map((line, at) => parseSignatureLine(at + 1, line)));
}

function parseSignatureLine(number, line) {
  const found = SIGNATURE_LINE.exec(line);
  if (!found || NO_KEY_NAME.test(found[1])) {
    throw new Refused("P1", `signature ${number} of the note is not written as: — name base64`);
  }
  const data = decodeBase64(found[2], `signature ${number} of the note`);
  if (data.length <= KEY_ID_BYTES) throw new Refused("P1", `signature ${number} of the note is too short`);
  return { name: found[1], keyId: data.subarray(0, KEY_ID_BYTES), signature: data.subarray(KEY_ID_BYTES) };
}

/**
 * A key from its text form. Throws `Refused` (P1; K1 where it is no key of Ed25519 and should be).
 * @param {string | null} name `null`: it is no UTF-8 @param {string} rest what follows the name and a plus sign
 */
export function parseKey(name, rest) {
  const gap = rest.indexOf("+");
  const keyId = gap < 0 ? rest : rest.slice(0, gap);
  const data = decodeBase64(gap < 0 ? "" : rest.slice(gap + 1), "the key");
  const isNamed = name !== null && name !== "" && !NO_KEY_NAME.test(name);
  const key = data.length >= 2 && isNamed ? new NoteKey(name, data[0], data.subarray(1)) : null;
  if (key === null || toHex(key.id) !== keyId) {
    const form = "a key is written as name+8 hexadecimal digits of its id+base64, and its id follows";
    throw new Refused("P1", form);
  }
  if (key.type === LOG_TYPE || key.type === COSIGNATURE_TYPE) checkPublicKey(key.publicKey);
  if (key.type === ML_DSA_TYPE && key.publicKey.length !== ML_DSA_KEY_BYTES) {
    const [expected, found] = [ML_DSA_KEY_BYTES, key.publicKey.length].map(grouped);
    throw new Refused("P1", `a key of ML-DSA-44 has ${expected} bytes, not ${found}`);
  }
  return key;
}

/** The bytes of Base64 in its one canonical form. Throws `Refused` (P1). @param {string} text @param {string} what */
export function decodeBase64(text, what) {
  const data = fromBase64(text);
  if (data === null) throw new Refused("P1", `${what} is not written in canonical Base64`);
  return data;
}

/** 32 bytes in Base64. Throws `Refused` (P1). @param {string} text @param {string} what */
export function decodeDigest(text, what) {
  const data = decodeBase64(text, what);
  if (data.length !== 32) throw new Refused("P1", `${what} has ${data.length} bytes, 32 expected`);
  return data;
}

/** The message under a cosignature: of the note's text at this time. @param {bigint} timeS @param {Note} note */
export function cosignedBytes(timeS, note) {
  return joinBytes(utf8(`cosignature/v1\ntime ${timeS}\n`), note.textBytes);
}
