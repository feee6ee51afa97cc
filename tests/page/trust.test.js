/** What is kept where the browser has little room for it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING_ASKED } from "../../page/asked.js";
import { TrustError, TrustStore } from "../../page/trust.js";
import { verdictOn } from "../../page/verifier.js";
import { CASES, LISTED, judgeCase, readVector } from "./given.js";

/** The storage of a page, of so many characters. */
class Storage {
  constructor(room) {
    [this.room, this.kept] = [room, new Map()];
  }

  getItem(key) {
    return this.kept.get(key) ?? null;
  }

  setItem(key, text) {
    if (text.length > this.room) throw new DOMException("full", "QuotaExceededError");
    this.kept.set(key, text);
  }
}

const listed = CASES.find((one) => one.name === "base-valid");
const { anchor, verdict } = judgeCase(listed);
const shownBy = { proof: readVector(`proofs/${listed.proof}`), members: null };

function trusting(storage) {
  const store = new TrustStore(storage);
  store.add(anchor.ledger_id, "corpus", "a test", 0);
  return store;
}

function keep(store) {
  return store.keep(anchor.ledger_id, anchor, verdict.proven.ledger, shownBy, []);
}

test("a header is kept without its proof where there is room for it alone, and with it where there is more", () => {
  for (const [room, proof] of [[2_000, null], [100_000, Buffer.from(shownBy.proof).toString("base64")]]) {
    const storage = new Storage(room);
    assert.ok(keep(trusting(storage)));
    const [kept] = new TrustStore(storage).list();
    assert.deepEqual([kept.anchors, kept.shownBy?.proof ?? null], [[anchor], proof]);
  }
});

test("where there is no room for a header, either, nothing is changed, which is said", () => {
  const storage = new Storage(500);
  const store = trusting(storage);
  assert.throws(() => keep(store), TrustError);
  for (const one of [store, new TrustStore(storage)]) assert.deepEqual(one.list()[0].anchors, []);
});

for (const isShared of [false, true]) {
  const where = isShared ? "from disk" : "at an address of its own";
  test(`another page that writes without end ends in words, ${where}`, async () => {
    const storage = new Storage(100_000);
    const store = new TrustStore(storage, isShared);
    store.add(anchor.ledger_id, "corpus", "a test", 0);
    const [entry] = store.list();
    let reads = 0;
    storage.getItem = () => {
      reads += 1;
      const planted = { proof: Buffer.from(`proof ${reads}`).toString("base64"), members: null };
      const earlier = { ...anchor, index: 1, timestamp_ms: 1, block_hash: String(reads).padStart(64, "0") };
      const changed = { ...entry, anchors: [earlier], shownBy: planted };
      return JSON.stringify({ format: 1, ledgers: [changed], conflicts: [] });
    };
    const file = { name: "kept", document: null, proof: shownBy.proof, members: null, payload: null };
    const asked = { nowMs: LISTED.now_ms, ...NOTHING_ASKED };
    await assert.rejects(verdictOn(file, asked, store), TrustError);
    assert.ok(reads < 300, `${reads} times`);
  });
}
