/** Rule K2: every vector that the node itself is held to when it starts. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromHex } from "../../page/proof/bytes.js";
import { isSigned } from "../../page/proof/ed25519.js";

const path = new URL("../../src/tallystick/host/signatures.json", import.meta.url);

for (const one of JSON.parse(readFileSync(path, "utf8"))) {
  test(one.name, () => {
    const accepted = isSigned(fromHex(one.message), fromHex(one.signature), fromHex(one.public_key));
    assert.equal(accepted, one.accepted);
  });
}
