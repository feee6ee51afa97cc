/**
 * Ed25519 by the acceptance rule K2 (docs/protocol.md, ADR 0017): canonical A in the prime-order subgroup, canonical R,
 * S below the group's order, and the cofactored equation 8SB = 8R + 8kA. Arithmetic is the vendored noble library's;
 * WebCrypto is never asked, as what it accepts differs from browser to browser.
 */

import { Point } from "../vendor/noble-ed25519/index.js";
import { toHex } from "./bytes.js";
import { Refused } from "./errors.js";
import { sha512Of } from "./hash.js";

const GROUP_ORDER = Point.CURVE().n;
const KEY_WINDOW_POINTS = 16;
const BASE_WINDOW_POINTS = 256;
const HIGHEST_WINDOW = 252;
/** Of so many keys it is remembered whether they are valid (K1), with multiples of them. */
const REMEMBERED_KEYS = 2_048;

/** By the key A in hexadecimal digits: the multiples of -A from 0 to 15; `null`: it is no valid key. */
const keyTables = new Map();
let baseTable = null;

/**
 * Whether the signature is accepted (K2).
 * @param {Uint8Array} message @param {Uint8Array} signature @param {Uint8Array} publicKey
 */
export function isSigned(message, signature, publicKey) {
  if (signature.length !== 64) return false;
  const scalar = littleEndian(signature.subarray(32));
  if (scalar >= GROUP_ORDER) return false;
  const commitment = decodedPoint(signature.subarray(0, 32));
  const table = commitment && keyTable(publicKey);
  if (!commitment || !table) return false;
  const challenge = littleEndian(sha512Of(signature.subarray(0, 32), publicKey, message)) % GROUP_ORDER;
  return sumOfMultiples(challenge, table, scalar).subtract(commitment).clearCofactor().is0();
}

/** Throw `Refused` (K1) for bytes that are no point of Ed25519's main subgroup. @param {Uint8Array} publicKey */
export function checkPublicKey(publicKey) {
  if (!keyTable(publicKey)) throw new Refused("K1", `${toHex(publicKey)} is no point of the main subgroup`);
}

function keyTable(publicKey) {
  const name = toHex(publicKey);
  let table = keyTables.get(name);
  if (table === undefined) {
    table = newKeyTable(publicKey);
    if (keyTables.size >= REMEMBERED_KEYS) keyTables.clear();
    keyTables.set(name, table);
  }
  return table;
}

function newKeyTable(publicKey) {
  const key = decodedPoint(publicKey);
  if (key === null || key.is0()) return null;
  const table = multiplesOf(key.negate(), KEY_WINDOW_POINTS);
  return sumOfMultiples(GROUP_ORDER, table, 0n).is0() ? table : null; // of order L: neither of small nor of mixed order
}

/** The point of 32 bytes in their canonical form; `null`: they are none. */
function decodedPoint(bytes) {
  try {
    return Point.fromBytes(bytes);
  } catch {
    return null;
  }
}

function multiplesOf(point, count) {
  const multiples = [Point.ZERO];
  while (multiples.length < count) multiples.push(multiples.at(-1).add(point));
  return multiples;
}

/**
 * A multiple of a table's point and one of the base point, added: 4 bits of the one and 8 of the other at a time, from
 * the highest on, with the same doublings (Straus). Nothing here is secret, so the time it takes may tell of it.
 */
function sumOfMultiples(ofKey, table, ofBase) {
  baseTable ??= multiplesOf(Point.BASE, BASE_WINDOW_POINTS);
  let sum = Point.ZERO;
  for (let shift = HIGHEST_WINDOW; shift >= 0; shift -= 4) {
    if (shift < HIGHEST_WINDOW) sum = sum.double().double().double().double();
    const keyWindow = Number((ofKey >> BigInt(shift)) & 15n);
    if (keyWindow !== 0) sum = sum.add(table[keyWindow]);
    const baseWindow = shift % 8 === 0 ? Number((ofBase >> BigInt(shift)) & 255n) : 0;
    if (baseWindow !== 0) sum = sum.add(baseTable[baseWindow]);
  }
  return sum;
}

function littleEndian(bytes) {
  return BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
}
