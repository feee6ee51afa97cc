/** Builds the tries of a ledger, to prove what is in them: directory and status; `ledger/trie.py`. */

import { unsound } from "./mirror.js";
import { compareBytes, sameBytes } from "./proof/bytes.js";
import { sha256Of } from "./proof/hash.js";
import { EMPTY_ROOT, NODE, keyBit, leafHash } from "./proof/merkle.js";
import { encodeValue } from "./proof/msgpack.js";

/** A crit-bit trie of entries whose keys ascend. @param {[Uint8Array, Uint8Array][]} entries */
export class Trie {
  constructor(entries) {
    if (entries.some(([key], at) => at > 0 && compareBytes(entries[at - 1][0], key) >= 0)) {
      throw unsound("the entries of a trie do not ascend");
    }
    this.top = entries.length > 0 ? trieNode(entries, 0, entries.length) : null;
  }

  get root() {
    return this.top === null ? EMPTY_ROOT : this.top.hash;
  }

  /** The leaf at which the search for a key ends, and the sides that are not searched. */
  search(key) {
    const path = [];
    let node = this.top;
    while (node !== null && node.bit !== null) {
      const isRight = keyBit(key, node.bit);
      path.push([node.bit, isRight ? node.left.hash : node.right.hash]);
      node = isRight ? node.right : node.left;
    }
    return { leaf: node, path };
  }

  get(key) {
    const { leaf } = this.search(key);
    return leaf !== null && sameBytes(leaf.key, key) ? leaf.value : null;
  }

  /** The encoded proof of a key's value, or of its absence. */
  prove(key) {
    const { leaf, path } = this.search(key);
    return encodeValue([leaf?.key ?? null, leaf?.value ?? null, path]);
  }
}

/** Of a stretch of ascending entries: they agree up to the first bit in which the first and the last differ. */
function trieNode(entries, from, to) {
  const [key, value] = entries[from];
  if (to - from === 1) return { bit: null, key, value, hash: leafHash(key, value) };
  const bit = firstDifference(key, entries[to - 1][0]);
  let [low, high] = [from, to];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (keyBit(entries[middle][0], bit)) high = middle;
    else low = middle;
  }
  const [left, right] = [trieNode(entries, from, high), trieNode(entries, high, to)];
  return { bit, left, right, hash: sha256Of(NODE, Uint8Array.of(bit), left.hash, right.hash) };
}

function firstDifference(one, other) {
  const at = one.findIndex((byte, place) => byte !== other[place]);
  return 8 * at + Math.clz32(one[at] ^ other[at]) - 24;
}
