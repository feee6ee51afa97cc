/** SHA-2 by the vendored noble library, synchronous. */

import { sha256, sha512 } from "../vendor/noble-hashes/sha2.js";
import { joinBytes, toHex } from "./bytes.js";

/** SHA-256, 32 bytes. @param {...Uint8Array} parts hashed one after the other @returns {Uint8Array} */
export function sha256Of(...parts) {
  return sha256(parts.length === 1 ? parts[0] : joinBytes(...parts));
}

/** SHA-512, 64 bytes. @param {...Uint8Array} parts hashed one after the other @returns {Uint8Array} */
export function sha512Of(...parts) {
  return sha512(joinBytes(...parts));
}

/** Hashes a document in pieces, so that a large one is never in memory as a whole. */
export class DocumentHasher {
  constructor() {
    this.sizeBytes = 0;
    this.hasher = sha256.create();
  }

  /** The next piece. @param {Uint8Array} piece */
  update(piece) {
    this.hasher.update(piece);
    this.sizeBytes += piece.length;
  }

  /** What `judge` takes as a document; nothing can follow. @returns {{size_bytes: number, sha256: string}} */
  finish() {
    return { size_bytes: this.sizeBytes, sha256: toHex(this.hasher.digest()) };
  }
}
