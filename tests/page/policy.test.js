/** A policy that was read once counts as its bytes do. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePolicy } from "../../page/proof/tlog.js";
import { CASES, judgeCase, readVector } from "./given.js";

const withPolicy = CASES.filter(({ demand, exit }) => demand.policy !== null && exit !== 6);

test("there are cases with a policy, which hold and which do not", () => {
  assert.deepEqual(new Set(withPolicy.map(({ rule }) => rule === null)), new Set([true, false]));
});

for (const listed of withPolicy) {
  test(listed.name, () => {
    const policy = parsePolicy(readVector(`proofs/${listed.demand.policy}`));
    assert.deepEqual(judgeCase(listed, {}, { policy }).verdict, judgeCase(listed).verdict);
  });
}
