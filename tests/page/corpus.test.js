/** The corpus of proofs: verdict, step, words and all that is said, as Python has them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { claimedLedger, isAnchor } from "../../page/proof/judge.js";
import { LISTED, anchorToHex, judgeCase, plain, readGiven, readVector } from "./given.js";

const views = readGiven();

for (const listed of LISTED.cases) {
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
