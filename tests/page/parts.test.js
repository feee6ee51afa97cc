/** The parts that a proof is made of, by the vectors of the ledger: names, geneses, hashes in pieces. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { fromHex, grouped } from "../../page/proof/bytes.js";
import { Refused } from "../../page/proof/errors.js";
import { checkGenesis, ledgerIdOf } from "../../page/proof/genesis.js";
import { DocumentHasher } from "../../page/proof/hash.js";
import { foldedName } from "../../page/proof/names.js";
import { readVectorJson } from "./given.js";

test("names fold as those of the ledger", () => {
  const { names } = readVectorJson("folding.json");
  assert.ok(names.length > 20);
  for (const { name, folded } of names) assert.equal(foldedName(name), folded, name);
});

test("a document is hashed in pieces of any size", () => {
  const data = new Uint8Array(1_000_003).map((_, at) => at % 251);
  const hasher = new DocumentHasher();
  for (let at = 0; at < data.length; at += 65_521) hasher.update(data.subarray(at, at + 65_521));
  const sha256 = createHash("sha256").update(data).digest("hex");
  assert.deepEqual(hasher.finish(), { size_bytes: data.length, sha256 });
});

test("thousands are set apart, of numbers beyond 2^53 too", () => {
  assert.deepEqual([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
  assert.equal(grouped(2n ** 63n), "9,223,372,036,854,775,808");
});
