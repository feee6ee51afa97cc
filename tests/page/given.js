/** What the suites share: files of the corpus, and a case as `judge` takes it. */

import { readFileSync } from "node:fs";
import { fromHex, toHex } from "../../page/proof/bytes.js";
import { judge } from "../../page/proof/judge.js";
import { decodeAs, encodeValue } from "../../page/proof/msgpack.js";
import { ANCHOR } from "../../page/proof/structs.js";

const VECTORS = new URL("../vectors/", import.meta.url);

/** A file below tests/vectors. */
export function readVector(name) {
  return new Uint8Array(readFileSync(new URL(name, VECTORS)));
}

/** A JSON file below tests/vectors. */
export function readVectorJson(name) {
  return JSON.parse(readFileSync(new URL(name, VECTORS), "utf8"));
}

/** What the Python test hands over. */
export function readGiven() {
  return JSON.parse(readFileSync(process.env.TALLYSTICK_GIVEN, "utf8"));
}

export const LISTED = readVectorJson("proofs/verdicts.json");

/** All cases but those for a verifier that knows ML-DSA-44: the page's does not. */
export const CASES = LISTED.cases.filter(({ demand }) => !demand.verifies_ml_dsa);

/** An anchor of the corpus as `judge` takes it. */
function anchorFromHex(text) {
  const anchor = decodeAs(ANCHOR, 1024 * 1024, "anchor", fromHex(text));
  return {
    ledger_id: toHex(anchor.ledgerId),
    epoch: anchor.epoch,
    voters: anchor.voters.map(([key, stake]) => [toHex(key), stake]),
    index: anchor.index,
    block_hash: toHex(anchor.blockHash),
    timestamp_ms: anchor.timestampMs,
  };
}

/** An anchor that `judge` gives to keep, as the corpus has it. */
export function anchorToHex({ ledger_id, epoch, voters, index, block_hash, timestamp_ms }) {
  const keyed = voters.map(([key, stake]) => [fromHex(key), stake]);
  return toHex(encodeValue([fromHex(ledger_id), epoch, keyed, index, fromHex(block_hash), timestamp_ms]));
}

function corpusFile(name) {
  return name === null ? null : readVector(`proofs/${name}`);
}

/** Judge a case of the corpus, with some files or questions changed. */
export function judgeCase(listed, changedFile = {}, changedQuestion = {}) {
  const { demand } = listed;
  const file = {
    name: demand.document ?? listed.proof,
    document: corpusFile(demand.document),
    proof: corpusFile(listed.proof),
    members: corpusFile(listed.members),
    payload: corpusFile(listed.payload),
    proofName: listed.proof,
  };
  const question = {
    nowMs: LISTED.now_ms,
    ledgerId: demand.ledger,
    anchors: demand.anchors.map(anchorFromHex),
    policy: corpusFile(demand.policy),
    issuer: demand.issuer,
    atMs: demand.at_ms,
    freshMs: demand.fresh_ms,
    trustedBy: demand.ledger ? "named" : "policy",
    localName: null,
  };
  return judge({ ...file, ...changedFile }, { ...question, ...changedQuestion });
}

/** A view in plain JSON; numbers that are not exact in it as text. */
export function plain(view) {
  return JSON.parse(JSON.stringify(view, (_, value) => (typeof value === "bigint" ? String(value) : value)));
}
