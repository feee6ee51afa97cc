/** Proofs from a mirror: the bytes that Python makes; and what is said where there are none. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { MirrorProblem } from "../../page/mirror.js";
import { MirrorProver } from "../../page/mirror_proving.js";
import { readBundleInSteps } from "../../page/proof/bundle.js";
import { finished } from "../../page/proof/steps.js";
import { readGiven } from "./given.js";

const decoded = (text) => (text === null ? null : new Uint8Array(Buffer.from(text, "base64")));
const encoded = (bytes) => (bytes === null ? null : Buffer.from(bytes).toString("base64"));

/** A mirror's files, some of which are changed, or missing. */
function folderOf(path, changed) {
  return async (name) => {
    if (name in changed) return decoded(changed[name]);
    const file = `${path}/${name}`;
    return existsSync(file) ? new Uint8Array(readFileSync(file)) : null;
  };
}

for (const { name, folder, changed, before, made, problem } of readGiven()) {
  test(name, async () => {
    const beside = ["proof", "members", "payload"].map((one) => decoded(before[one]));
    const bundle = finished(readBundleInSteps(...beside));
    if (problem !== null) {
      await assert.rejects(new MirrorProver(folderOf(folder, changed)).renew(bundle), (error) => {
        assert.ok(error instanceof MirrorProblem, String(error.stack));
        assert.match(error.message, new RegExp(problem));
        return true;
      });
      return;
    }
    const files = await new MirrorProver(folderOf(folder, changed)).renew(bundle);
    assert.equal(Buffer.from(files.proof).toString(), Buffer.from(decoded(made.proof)).toString());
    assert.equal(encoded(files.members), made.members);
    assert.equal(encoded(files.payload), made.payload);
  });
}
