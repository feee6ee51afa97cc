/** What is kept where the browser has little room for it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { TrustError, TrustStore } from "../../page/trust.js";
import { CASES, judgeCase, readVector } from "./given.js";

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
