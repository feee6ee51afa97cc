/** Hashes of Merkle trees (RFC 6962), audit paths (RFC 9162) and proofs of tries (docs/protocol.md, section 2). */

import { compareBytes, sameBytes, toHex } from "./bytes.js";
import { Refused } from "./errors.js";
import { sha256Of } from "./hash.js";

const KEY_BITS = 256;
const LEAF = Uint8Array.of(0);
/** What an inner node's hash begins with. */
export const NODE = Uint8Array.of(1);

/** The root of nothing. */
export const EMPTY_ROOT = sha256Of(new Uint8Array(0));

/** Hash of one leaf. @param {...Uint8Array} data one after the other */
export function leafHash(...data) {
  return sha256Of(LEAF, ...data);
}

/**
 * The tree head to which an audit path leads from a leaf hash. Throws `Refused` (T2) unless the path has the form of
 * one of leaf `index` in a tree of `size` leaves. @param {Uint8Array} leaf @param {Uint8Array[]} path of 32 bytes each
 */
export function rootFromPath(leaf, index, size, path) {
  if (index >= size) throw new Refused("T2", `leaf ${index} of a tree of ${size}`);
  const place = BigInt(index);
  // The height at which the leaf's way up meets that of the last leaf: from there on, siblings stand on the left.
  const shared = bitLength(place ^ (BigInt(size) - 1n));
  const length = shared + bitCount(place >> BigInt(shared));
  if (path.length !== length) {
    throw new Refused("T2", `${path.length} hashes, ${length} expected for leaf ${index} of ${size}`);
  }
  return path.reduce((node, sibling, height) => {
    const isRight = height >= shared || (place >> BigInt(height)) % 2n === 1n;
    return isRight ? sha256Of(NODE, sibling, node) : sha256Of(NODE, node, sibling);
  }, leaf);
}

function bitLength(value) {
  return value === 0n ? 0 : value.toString(2).length;
}

function bitCount(value) {
  return value.toString(2).replaceAll("0", "").length;
}

/** The key's value in the trie with this root; `null`: it has no such key. Throws `Refused` (T1). */
export function provenValue(proof, key, root) {
  if (key.length !== 32) throw new Refused("T1", `a key of ${key.length} bytes, 32 expected`);
  const { leafKey, leafValue, path } = proof;
  if (!path.every(([bit], at) => at === 0 || path[at - 1][0] < bit)) {
    throw new Refused("T1", `the bit indexes of its path do not rise within 0 to ${KEY_BITS - 1}`);
  }
  if (leafKey === null || leafValue === null) {
    if (leafKey !== null || leafValue !== null || path.length > 0 || !sameBytes(root, EMPTY_ROOT)) {
      throw new Refused("T1", "without a leaf it proves the empty trie alone");
    }
    return null;
  }
  if (path.some(([bit]) => keyBit(leafKey, bit) !== keyBit(key, bit))) {
    throw new Refused("T1", "the search for the key does not end at its leaf");
  }
  const node = path.reduceRight((below, [bit, sibling]) => {
    const [left, right] = keyBit(key, bit) ? [sibling, below] : [below, sibling];
    return sha256Of(NODE, Uint8Array.of(bit), left, right);
  }, leafHash(leafKey, leafValue));
  if (!sameBytes(node, root)) {
    throw new Refused("T1", `it leads to ${toHex(node).slice(0, 16)}…, not to ${toHex(root).slice(0, 16)}…`);
  }
  return compareBytes(leafKey, key) === 0 ? leafValue : null;
}

/** Bit 0 is the most significant of byte 0. */
export function keyBit(key, index) {
  return (key[index >> 3] >> (7 - (index & 7))) & 1;
}
