/** The parts that a proof is made of, by the vectors of the ledger: names, geneses, hashes in pieces. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { fromHex, grouped } from "../../page/proof/bytes.js";
import { checkSigned } from "../../page/proof/certificate.js";
import { Refused } from "../../page/proof/errors.js";
import { checkGenesisInSteps } from "../../page/proof/genesis.js";
import { DocumentHasher } from "../../page/proof/hash.js";
import { leafHash } from "../../page/proof/merkle.js";
import { decodeAs } from "../../page/proof/msgpack.js";
import { foldedName } from "../../page/proof/names.js";
import { finished } from "../../page/proof/steps.js";
import { CERTIFICATE, GENESIS } from "../../page/proof/structs.js";
import { provenStatus } from "../../page/proof/validity.js";
import { readGiven } from "./given.js";

const MAX_CERTIFICATE_BYTES = 2 * 1024;
const MAX_GENESIS_BYTES = 1024 * 1024;
const given = readGiven();

test("names fold, or are refused, as those of the ledger", () => {
  for (const [name, folded, refusal] of given.names) {
    assert.equal(refusalOf(() => assert.equal(foldedName(name), folded)), refusal, JSON.stringify(name));
  }
});

test("geneses are legal, or are refused, as at a node", () => {
  for (const [encoded, refusal] of given.geneses) {
    const found = refusalOf(() => {
      finished(checkGenesisInSteps(decodeAs(GENESIS, MAX_GENESIS_BYTES, "genesis", fromHex(encoded))));
    });
    assert.equal(found, refusal, encoded);
  }
});

test("certificates of all kinds are signed, or are refused, as at a node", () => {
  for (const [encoded, ledgerId, refusal] of given.certificates) {
    const found = refusalOf(() => {
      checkSigned(decodeAs(CERTIFICATE, MAX_CERTIFICATE_BYTES, "certificate", fromHex(encoded)), fromHex(ledgerId));
    });
    assert.equal(found, refusal, encoded);
  }
});

function refusalOf(run) {
  try {
    run();
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error.message;
  }
}

test("an entry of a status has a known effect and reason", () => {
  const [id, packed] = [new Uint8Array(32).fill(7), new Uint8Array(58)];
  const read = () => provenStatus({ leafKey: id, leafValue: packed, path: [] }, id, leafHash(id, packed));
  const refusal = "[E2] encoded form as declared: no entry of a status";
  for (const [effect, reason, expected] of [[2, 5, null], [0, 0, refusal], [4, 0, refusal], [2, 6, refusal]]) {
    packed.set([effect, reason]);
    assert.equal(refusalOf(read), expected, `${effect} ${reason}`);
  }
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
