/** The corpus of proofs: verdict, step, words and all that is said, as Python has them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { claimedLedger, isAnchor } from "../../page/proof/judge.js";
import { CASES, LISTED, anchorToHex, judgeCase, plain, readGiven, readVector } from "./given.js";

const views = readGiven();

for (const listed of CASES) {
  test(listed.name, () => {
    const { verdict, anchor, conflict } = judgeCase(listed);
    assert.equal(verdict.exit_code, listed.exit);
    assert.deepEqual(verdict.failure, listed.failure);
    if (listed.exit === 6) {
      assert.equal(verdict.result, "unusable_policy");
      return;
    }
    assert.deepEqual(plain(verdict), views[listed.name]);
    assert.equal(conflict, verdict.failure?.advice.startsWith("members of this ledger signed two histories") ?? false);
    if (listed.said !== null) checkSaid(listed, verdict.proven, anchor);
  });
}

function checkSaid(listed, proven, anchor) {
  const { said, demand } = listed;
  assert.equal(proven.ledger_id, said.ledger);
  assert.equal(proven.certificate, said.certificate);
  assert.equal(proven.log_index, said.log_index);
  assert.equal(proven.issuer.organisation, said.organisation);
  assert.equal(Number(proven.final_ms), 1000 * said.final_s + 999);
  assert.equal(Number(proven.status_ms), 1000 * said.status_s);
  assert.deepEqual(proven.cosigners.map((one) => one.organisation), said.cosigners);
  assert.equal(proven.is_older, said.older);
  assert.deepEqual(proven.ml_dsa, { members: [], stake: 0, unchecked: said.ml_dsa?.unchecked ?? [] });
  if (demand.ledger === null || said.older) {
    assert.equal(anchor, null);
  } else {
    assert.ok(isAnchor(JSON.parse(JSON.stringify(anchor))));
    assert.equal(anchorToHex(anchor), said.anchor);
  }
}

test("what a proof claims of its ledger is told without trust", () => {
  const listed = LISTED.cases.find((one) => one.name === "base-valid");
  const claimed = claimedLedger(readVector(`proofs/${listed.proof}`));
  assert.equal(claimed.ledgerId, listed.said.ledger);
  assert.equal(claimed.certificate, listed.said.certificate);
  assert.equal(claimedLedger(readVector("proofs/document.txt")), null);
});

test("a document that is hashed in pieces, or by others, is judged as its bytes are", () => {
  const listed = LISTED.cases.find((one) => one.name === "base-valid");
  const { verdict } = judgeCase(listed, { document: LISTED.document });
  assert.deepEqual(verdict, judgeCase(listed).verdict);
});

test("a document without a proof, and a proof that is empty, are told as verify tells them", () => {
  const listed = LISTED.cases.find((one) => one.name === "base-valid");
  const { failure, result, proof } = judgeCase(listed, { proof: null }).verdict;
  const reason = "there is no document.txt.tlog-proof beside it; name its proof with --proof";
  assert.deepEqual([failure.rule, failure.reason, result, proof], ["P1", reason, "no_proof", null]);
  assert.equal(judgeCase(listed, { proof: new Uint8Array(0) }).verdict.failure.rule, "P1");
});

test("a file beside a proof whose certificate covers no payload is not its own", () => {
  const listed = LISTED.cases.find((one) => one.name === "own-block-valid");
  const { verdict } = judgeCase(listed, { payload: Uint8Array.of(0x90) });
  assert.equal(verdict.failure, null);
  assert.deepEqual(verdict, judgeCase(listed).verdict);
});

test("what is no anchor is not taken for one", () => {
  const listed = LISTED.cases.find((one) => one.name === "base-valid");
  const { anchor } = judgeCase(listed);
  assert.ok(isAnchor(anchor));
  const [[key, stake]] = anchor.voters;
  const wrong = { ledger_id: "00", epoch: -1, index: 2 ** 53, timestamp_ms: "1", block_hash: null };
  const changed = Object.entries(wrong).map(([name, value]) => ({ ...anchor, [name]: value }));
  const voters = [[[key, 0]], [[key.toUpperCase(), stake]], [[key]], [key], null, Array(4_097).fill([key, stake])];
  for (const one of [null, 7, "anchor", {}, [], ...changed, ...voters.map((of) => ({ ...anchor, voters: of }))]) {
    assert.equal(isAnchor(one), false, JSON.stringify(one)?.slice(0, 200));
  }
  assert.throws(() => judgeCase(listed, {}, { anchors: [{ ...anchor, ledger_id: "00".repeat(32) }] }), TypeError);
});

test("issuers are asked for as verify takes them: the beginning of a key, and nothing shorter", () => {
  const listed = LISTED.cases.find((one) => one.name === "base-valid");
  const key = listed.said.issuer;
  for (const [issuer, rule] of [[key.slice(0, 16), null], [key.slice(0, 15), "P11"], [key.toUpperCase(), null]]) {
    assert.equal(judgeCase(listed, {}, { issuer }).verdict.failure?.rule ?? null, rule, issuer);
  }
});
