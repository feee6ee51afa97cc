/** Files that were changed at random: refused, or judged, as Python does, and never anything else thrown. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { LISTED, judgeCase, plain, readGiven } from "./given.js";

const MOST_SHOWN = 3;
const byName = new Map(LISTED.cases.map((one) => [one.name, one]));

test("changed files are judged alike", () => {
  const differing = [];
  for (const { case: name, files, expected } of readGiven()) {
    const read = Object.entries(files).map(([kind, text]) => [kind, bytesOf(text)]);
    const { policy, ...beside } = Object.fromEntries(read);
    const { verdict } = judgeCase(byName.get(name), beside, { policy });
    const isPolicy = expected.exit_code === 6;
    const found = isPolicy ? { exit_code: verdict.exit_code, reason: verdict.failure.reason } : plain(verdict);
    if (!isDeepStrictEqual(found, expected)) differing.push({ name, files, found, expected });
  }
  assert.deepEqual(differing.slice(0, MOST_SHOWN), [], `${differing.length} differ`);
});

function bytesOf(base64) {
  return base64 === null ? null : new Uint8Array(Buffer.from(base64, "base64"));
}
