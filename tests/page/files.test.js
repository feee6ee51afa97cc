/** Of a proof's files no more is read than they may have, however long they are. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf } from "../../page/files.js";

const KIB = 1024;

/** A file without end, of which only slices can be read. */
const ENDLESS = {
  slice: (from, to) => ({ arrayBuffer: async () => new ArrayBuffer(to - from) }),
  arrayBuffer: () => assert.fail("all of it is read"),
};

test("a byte more than there may be is read, by which it is refused as too long", async () => {
  const { proof, members, payload } = await bytesOf({ inside: null, proof: ENDLESS, members: ENDLESS, payload: ENDLESS });
  assert.deepEqual([proof, members, payload].map((one) => one.length - 1), [256 * KIB, 8 * KIB * KIB, 8 * KIB * KIB]);
});
