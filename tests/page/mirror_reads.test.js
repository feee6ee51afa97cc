/** Which files of a hostile mirror are read before it is refused: none that nobody signed for, and so many at most. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { MirrorProblem } from "../../page/mirror.js";
import { MirrorProver } from "../../page/mirror_proving.js";
import { readBundleInSteps } from "../../page/proof/bundle.js";
import { finished } from "../../page/proof/steps.js";
import { readGiven } from "./given.js";

const decoded = (text) => (text === null ? null : new Uint8Array(Buffer.from(text, "base64")));

for (const { name, files, before, problem, asked } of readGiven()) {
  test(name, async () => {
    const bundle = finished(readBundleInSteps(...["proof", "members", "payload"].map((one) => decoded(before[one]))));
    const read = [];
    const prover = new MirrorProver(async (path) => {
      read.push(path);
      assert.ok(asked === null || asked.includes(path), `${path} is read`);
      return decoded(files[path] ?? null);
    });
    await assert.rejects(prover.renew(bundle), (error) => {
      assert.ok(error instanceof MirrorProblem, String(error.stack));
      assert.match(error.message, new RegExp(problem));
      return true;
    });
    if (asked !== null) assert.deepEqual(read, asked);
    assert.ok(!read.some((path) => path.startsWith("tallystick/ids")), "files of ids are read");
  });
}
