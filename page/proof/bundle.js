/** A proof with all that belongs to it: read, not verified; `ledger/bundle.py`. */

import { parseCheckpoint } from "./checkpoint.js";
import { Refused } from "./errors.js";
import { checkGenesisInSteps } from "./genesis.js";
import { decodeAs } from "./msgpack.js";
import { HAND_OVER, PAYLOAD, PROOF_EXTRA } from "./structs.js";
import { MAX_PROOF_BYTES, parseProof } from "./tlog.js";

const EXTRA_VERSION = 1;
export const MAX_EXTRA_BYTES = 48_000;
const MAX_MEMBERS_BYTES = 8 * 1024 * 1024;
const MAX_PAYLOAD_BYTES = 64 * 1024 + 2048;

/**
 * Read a proof, and the files beside it that hold what did not fit, in steps. Throws `Refused` (P1, P2).
 * @param {Uint8Array} proof @param {Uint8Array | null} members @param {Uint8Array | null} payload
 */
export function* readBundleInSteps(proof, members, payload) {
  const parsed = parseProof(clipped(proof, MAX_PROOF_BYTES));
  const checkpoint = parseCheckpoint(parsed.checkpoint.text);
  if (parsed.extra === null) {
    throw new Refused("P2", "the proof has no line extra: other tools can verify it, by a policy");
  }
  let read;
  try {
    read = yield* readOwnPart(parsed.extra, members, payload);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new Refused("P2", error.message);
  }
  const { version } = read.extra;
  if (version !== EXTRA_VERSION) {
    throw new Refused("P2", `extra of version ${version}, ${EXTRA_VERSION} is known; use a later tallystick`);
  }
  if (read.handOver === null) {
    throw new Refused("P2", "the hand-over of members stands in a file beside the proof, which is missing: .members");
  }
  return { proof: parsed, checkpoint, ...read };
}

/** The line extra of a proof alone, of which nothing is checked but its form. Throws `Refused` (E1 to E4). */
export function decodeExtra(data) {
  return decodeAs(PROOF_EXTRA, MAX_EXTRA_BYTES, "extra", data);
}

function* readOwnPart(data, members, payload) {
  const extra = decodeExtra(data);
  yield* checkGenesisInSteps(extra.genesis);
  const handOver = extra.handOver ?? beside(HAND_OVER, MAX_MEMBERS_BYTES, "hand-over of members", members);
  const own = extra.certificate.payloadHash === null ? null : payload; // another file of that name is not its own
  return { extra, handOver, payload: extra.payload ?? beside(PAYLOAD, MAX_PAYLOAD_BYTES, "payload", own) };
}

function beside(type, mostBytes, name, data) {
  return data !== null && data.length > 0 ? decodeAs(type, mostBytes, name, clipped(data, mostBytes)) : null;
}

/** Not more than a byte beyond what may be: as `verify` reads it from a file, and refuses it in the same words. */
function clipped(data, mostBytes) {
  return data.subarray(0, mostBytes + 1);
}
