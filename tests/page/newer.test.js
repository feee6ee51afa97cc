/** What a mirror's proof has to be to count in the place of the one at hand, whoever makes it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING_ASKED } from "../../page/asked.js";
import { TrustStore } from "../../page/trust.js";
import { verdictBy } from "../../page/verifier.js";
import { CASES, LISTED, readVector } from "./given.js";

const named = (name) => CASES.find((one) => one.name === name);

/** A storage that has room for the ledger, and for no header: so what was verified before tells nothing. */
function fullStorage() {
  let kept = null;
  const setItem = (key, text) => {
    if (kept !== null) throw new DOMException("full", "QuotaExceededError");
    kept = text;
  };
  return { getItem: () => kept, setItem };
}

/** The verdict on a case's proof, where a mirror makes that of another one of it. */
async function renewed(name, newer) {
  const [at, made] = [named(name), named(newer)].map((one) => readVector(`proofs/${one.proof}`));
  const store = new TrustStore(fullStorage());
  store.add(named(name).demand.ledger, "corpus", "a test", 0);
  const mirror = { name: "copy", prover: { renew: async () => ({ proof: made, members: null, payload: null }) } };
  const file = { name, document: null, proof: at, members: null, payload: null, isStamped: true };
  return verdictBy(file, { nowMs: LISTED.now_ms, ...NOTHING_ASKED }, store, mirror);
}

test("one of a later block counts", async () => {
  const { verdict, newer } = await renewed("early-valid", "replaced-valid");
  assert.deepEqual([verdict.failure, verdict.online, newer === null], [null, "the mirror copy", false]);
  assert.equal(verdict.time_stamp, null, "the token is of the proof at hand");
});

test("one of an earlier block does not, whatever its cosigners' clocks say", async () => {
  const { verdict, newer, warning } = await renewed("replaced-valid", "early-valid");
  assert.equal(Number(verdict.proven.status_ms), 1000 * named("early-valid").said.status_s);
  assert.deepEqual([verdict.failure, verdict.online, newer], [null, null, null]);
  assert.equal(verdict.time_stamp.state, "not_verifiable");
  assert.match(warning, /is older than the one at hand, which counts/);
});

test("one of another certificate does not, and the file is not fresh", async () => {
  assert.equal(named("own-block-valid").demand.ledger, named("several-valid").demand.ledger);
  const { verdict, newer } = await renewed("own-block-valid", "several-valid");
  assert.deepEqual([verdict.failure.rule, newer], ["P13", null]);
  assert.match(verdict.failure.reason, /of another certificate/);
});
