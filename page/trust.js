// The ledgers that count here: kept in the browser's storage for this page, by the rules of
// src/tallystick/host/trust.py.
//
// Trust is named by whoever verifies, never by a proof, and never goes back: of each ledger the headers that were verified
// are kept, with the proof that showed the newest, and what contradicts them is kept as evidence.
//
// Where other pages can write to the storage, nothing that lies there counts for itself: an id counts once the user
// confirms it, and headers count that a proof showed on this page, be it the one that is kept, verified anew.

import { fromBase64 } from "./proof/bytes.js";
import { isAnchor } from "./proof/judge.js";

export const MAX_LEDGERS = 256;
const MAX_ANCHORS = 32;
const MAX_CONFLICTS = 32; // of a ledger
const MAX_KEPT_BYTES = 512 * 1024;
const MAX_IMPORT_BYTES = 8 * 1024 * 1024;
const KEY = "tallystick.trust.v1";
const FORMAT = 1;
const ID = /^[0-9a-f]{64}$/;
const LIKE_AN_ID = /^[0-9a-f]{16,64}$/;
const NAME = /^[a-z0-9][a-z0-9.-]{0,39}$/;
const SAFE = "1 to 40 characters of a-z, 0-9, - and ., the first a letter or digit, and not like an id";

/** It cannot be done as asked; the message says why and what to do. */
export class TrustError extends Error {}

/** The id that was entered, in lower case. Raises `TrustError`. */
export function readId(text) {
  const id = text.replace(/\s+/g, "").toLowerCase();
  if (ID.test(id)) return id;
  const digits = id.length === 64 ? "other characters among them" : `${id.length} characters`;
  throw new TrustError(`A ledger's id has 64 hexadecimal digits (0-9, a-f); this has ${digits}. Enter all of it.`);
}

/** All trusted ledgers, in `storage`, or, where there is none, until the page is closed. */
export class TrustStore {
  /** `isShared`: other pages can write to the storage. */
  constructor(storage, isShared = false) {
    this.storage = storage;
    this.isShared = isShared;
    this.confirmed = new Map(); // by ledger, under which name, until the page is closed
    this.proven = new Map(); // by ledger, {anchors, shownBy} of proofs that were verified on this page, as long
    this.tried = new Map(); // by ledger, the kept proof that was verified anew, whether or not it holds
    this.entries = [];
    this.conflicts = [];
    this.damaged = 0;
    this.text = null;
    this.reload();
  }

  /** Read what is kept, also by another tab; whether that is new. What is not in order is not believed, and counted. */
  reload() {
    const text = this.storage === null ? null : this.storage.getItem(KEY);
    if (this.storage === null || text === this.text) return false;
    this.text = text;
    const found = text === null ? { ledgers: [], conflicts: [], damaged: 0 } : contentsOf(text);
    [this.entries, this.conflicts, this.damaged] = [found.ledgers, found.conflicts, found.damaged];
    for (const id of this.confirmed.keys()) if (this.get(id) === null) this.confirmed.delete(id);
    if (this.damaged) this.#setAside(text);
    return true;
  }

  /** By name. */
  list() {
    return [...this.entries].sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  get(ledgerId) {
    return this.entries.find((one) => one.ledgerId === ledgerId) ?? null;
  }

  /** The ledger with what counts of it, if it counts here now; else `null`. */
  counting(ledgerId) {
    const entry = this.get(ledgerId);
    return entry !== null && this.isConfirmed(entry) ? { ...entry, ...this.known(entry) } : null;
  }

  /** What counts of a ledger: {anchors, shownBy}, the headers that were verified and the proof of the newest. */
  known({ ledgerId, anchors, shownBy }) {
    return this.isShared ? (this.proven.get(ledgerId) ?? { anchors: [], shownBy: null }) : { anchors, shownBy };
  }

  /** A kept proof of a ledger that counts here now, which counts only once it is verified anew; else `null`. */
  untried(ledgerId) {
    if (!this.isShared || this.counting(ledgerId) === null) return null;
    const { shownBy } = this.get(ledgerId);
    return shownBy === null || isSame(shownBy, this.tried.get(ledgerId)) ? null : shownBy;
  }

  /** That proof was verified anew: what it showed is kept, or it showed nothing. */
  wasTried(ledgerId, shownBy) {
    this.tried.set(ledgerId, shownBy);
  }

  isConfirmed({ ledgerId, name }) {
    return !this.isShared || this.confirmed.get(ledgerId) === name;
  }

  /** The user says of a ledger with its name, which others could have put there, that it is trusted. */
  confirm({ ledgerId, name }) {
    this.confirmed.set(ledgerId, name);
  }

  /** Trust a ledger; what is known of it already stays. Raises `TrustError`. */
  add(ledgerId, name, addedFrom, nowMs) {
    this.reload();
    const before = this.get(ledgerId);
    if (before !== null) {
      this.confirm(before);
      return before;
    }
    if (this.entries.length >= MAX_LEDGERS)
      throw new TrustError(`${MAX_LEDGERS} ledgers are trusted, the most there can be; remove one first.`);
    const called = this.#free(name || `ledger-${ledgerId.slice(0, 8)}`, ledgerId);
    const entry = {
      ledgerId,
      name: called,
      addedMs: nowMs,
      addedFrom: addedFrom.slice(0, 200),
      title: null,
      anchors: [],
      shownBy: null,
    };
    this.#write([...this.entries, entry]);
    this.confirm(entry);
    return entry;
  }

  rename(ledgerId, name) {
    this.reload();
    const before = this.counting(ledgerId);
    this.#change(ledgerId, { name: this.#free(name, ledgerId) });
    if (before !== null) this.confirm({ ledgerId, name });
  }

  /** Trust a ledger no more. Evidence of conflicting histories stays. */
  remove(ledgerId) {
    this.reload();
    this.#write(this.entries.filter((one) => one.ledgerId !== ledgerId));
    for (const kept of [this.confirmed, this.proven, this.tried]) kept.delete(ledgerId);
  }

  /**
   * Keep what a verified proof showed; an older header changes nothing. It was verified under `known`, all headers that
   * counted then. `false`: others count by now, or another tab kept a proof meanwhile, so that it is to be verified once
   * more. Raises `TrustError`, also for a header that cannot be of the same chain.
   */
  keep(ledgerId, anchor, title, shownBy, known) {
    this.reload();
    const entry = this.get(ledgerId);
    const kept = encoded(shownBy);
    const untried = this.untried(ledgerId);
    if (entry === null || (untried !== null && untried.proof !== kept?.proof)) return false;
    const before = this.known(entry).anchors;
    if (!isSame(before, known)) return false;
    const isKnown = before.some((one) => one.index === anchor.index);
    const anchors = [...before, ...(isKnown ? [] : [anchor])].sort((one, other) => one.index - other.index);
    if (!isRising(anchors)) {
      throw new TrustError(`Block ${anchor.index} has another place in time, or among epochs, than in the chain.`);
    }
    if (isKnown || anchors.at(-1) !== anchor) {
      if (entry.title !== title) this.#change(ledgerId, { title });
      return true;
    }
    this.#keepNewest(ledgerId, title, anchors.slice(-MAX_ANCHORS), kept);
    return true;
  }

  #keepNewest(ledgerId, title, anchors, shownBy) {
    if (this.isShared) {
      this.proven.set(ledgerId, { anchors, shownBy });
      this.tried.set(ledgerId, shownBy);
    }
    try {
      this.#change(ledgerId, { title, anchors, shownBy });
    } catch (error) {
      if (!(error instanceof TrustError)) throw error;
      this.#change(ledgerId, { title, anchors, shownBy: null }); // there may be room for the header alone
    }
  }

  /**
   * Keep a proof of another history beside the one that was verified before, for good. `false`: it is too long for a
   * browser's storage, or as many of its ledger as may be are kept. Raises `TrustError`.
   */
  keepConflict(ledgerId, refused, reason, nowMs) {
    this.reload();
    const entry = this.get(ledgerId);
    const kept = encoded(refused);
    if (entry === null || kept === null) return false;
    const known = this.conflicts.filter((one) => one.ledgerId === ledgerId);
    if (known.some((one) => one.refused?.proof === kept.proof)) return true;
    if (known.length >= MAX_CONFLICTS) return false;
    const conflict = { ledgerId, name: entry.name, seenMs: nowMs, reason, before: this.known(entry).shownBy, refused: kept };
    this.#write(this.entries, [...this.conflicts, conflict]);
    return true;
  }

  /** All of it, as a file for another browser. */
  exported(nowMs) {
    const what = "ledgers trusted in Tallystick's verify.html";
    return JSON.stringify(
      { format: FORMAT, what, exportedMs: nowMs, ledgers: this.list(), conflicts: this.conflicts },
      null,
      1,
    );
  }

  /** What is not in order is overwritten with the next change: a copy stays, if there is room. */
  #setAside(text) {
    try {
      this.storage.setItem(`${KEY}.damaged`, text);
    } catch {
      return;
    }
  }

  #free(name, ledgerId) {
    if (!NAME.test(name) || LIKE_AN_ID.test(name)) throw new TrustError(`“${name}” is no local name: ${SAFE}.`);
    if (this.entries.some((one) => one.name === name && one.ledgerId !== ledgerId)) {
      throw new TrustError(`Another trusted ledger is called ${name}; choose another name.`);
    }
    return name;
  }

  #change(ledgerId, changed) {
    this.#write(this.entries.map((one) => (one.ledgerId === ledgerId ? { ...one, ...changed } : one)));
  }

  #write(entries, conflicts = this.conflicts) {
    if (this.storage !== null) {
      const text = JSON.stringify({ format: FORMAT, ledgers: entries, conflicts });
      try {
        this.storage.setItem(KEY, text);
        this.text = text;
      } catch {
        throw new TrustError(
          "The browser's storage for this page is full or closed: nothing was changed. Export, and remove a ledger.",
        );
      }
    }
    [this.entries, this.conflicts, this.damaged] = [entries, conflicts, 0];
  }
}

/** The browser's storage for this page; `null`: it has none, or lets this page have none. */
export function usableStorage() {
  try {
    const storage = globalThis.localStorage;
    storage.setItem(`${KEY}.probe`, "1");
    storage.removeItem(`${KEY}.probe`);
    return storage;
  } catch {
    return null;
  }
}

/**
 * What a file of trust names: ledgers with id, name and the proof that showed the newest header. Its anchors are left
 * out: whoever wrote the file could have made them up, while a proof is verified anew. Raises `TrustError`.
 */
export function readExport(text) {
  if (text.length > MAX_IMPORT_BYTES) throw new TrustError("The file is too long to be an export of trusted ledgers.");
  const { ledgers } = contentsOf(text);
  if (!ledgers.length)
    throw new TrustError("The file is no export of trusted ledgers; choose one that this page wrote.");
  return ledgers.map(({ ledgerId, name, addedFrom, shownBy }) => ({
    ledgerId,
    name,
    addedFrom,
    shownBy: decoded(shownBy),
  }));
}

/** A kept proof, as bytes; `null`: there is none. */
export function decoded(kept) {
  return kept && { proof: fromBase64(kept.proof), members: kept.members === null ? null : fromBase64(kept.members) };
}

function encoded({ proof, members }) {
  if (proof.length + (members?.length ?? 0) > MAX_KEPT_BYTES) return null; // too long for a browser's storage
  return { proof: toBase64(proof), members: members ? toBase64(members) : null };
}

function isSame(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8_192) text += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return btoa(text);
}

/** What is in order of what was kept or exported, and how much is not. */
function contentsOf(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    found = null;
  }
  if (found?.format !== FORMAT || !Array.isArray(found.ledgers) || !Array.isArray(found.conflicts)) {
    return { ledgers: [], conflicts: [], damaged: 1 };
  }
  const sound = found.ledgers.filter(unlessBroken(isEntry)).slice(0, MAX_LEDGERS);
  const isFirst = (one, place) =>
    sound.findIndex((two) => two.ledgerId === one.ledgerId || two.name === one.name) === place;
  const ledgers = sound.filter(isFirst);
  const evidence = found.conflicts.filter(unlessBroken(isConflict)).slice(0, MAX_LEDGERS * MAX_CONFLICTS);
  const perLedger = new Map();
  const conflicts = evidence.filter(({ ledgerId }) => {
    perLedger.set(ledgerId, (perLedger.get(ledgerId) ?? 0) + 1);
    return perLedger.get(ledgerId) <= MAX_CONFLICTS;
  });
  const damaged = found.ledgers.length + found.conflicts.length - ledgers.length - conflicts.length;
  return { ledgers, conflicts, damaged };
}

/** Whatever else goes wrong with what others wrote is damage, too. */
function unlessBroken(isGood) {
  return (one) => {
    try {
      return isGood(one);
    } catch {
      return false;
    }
  };
}

function isEntry(one) {
  return (
    isObject(one) &&
    isId(one.ledgerId) &&
    isText(one.name, 40) &&
    NAME.test(one.name) &&
    !LIKE_AN_ID.test(one.name) &&
    isTime(one.addedMs) &&
    isText(one.addedFrom, 200) &&
    (one.title === null || isText(one.title, 200)) &&
    isKept(one.shownBy) &&
    isList(one.anchors, MAX_ANCHORS, (anchor) => isAnchor(anchor) && anchor.ledger_id === one.ledgerId) &&
    isRising(one.anchors)
  );
}

/** On one chain index, epoch and time rise together. */
function isRising(anchors) {
  const isAfter = (one, before) =>
    before.index < one.index && before.epoch <= one.epoch && before.timestamp_ms < one.timestamp_ms;
  return anchors.every((one, place) => place === 0 || isAfter(one, anchors[place - 1]));
}

function isConflict(one) {
  return (
    isObject(one) &&
    isId(one.ledgerId) &&
    isText(one.name, 40) &&
    isTime(one.seenMs) &&
    isText(one.reason, 4_000) &&
    isKept(one.before) &&
    isKept(one.refused)
  );
}

function isKept(one) {
  return one === null || (isObject(one) && isBase64(one.proof) && (one.members === null || isBase64(one.members)));
}

function isBase64(text) {
  return isText(text, 2 * MAX_KEPT_BYTES) && fromBase64(text) !== null;
}

function isObject(one) {
  return typeof one === "object" && one !== null && !Array.isArray(one);
}

function isList(some, most, isGood) {
  return Array.isArray(some) && some.length <= most && some.every(isGood);
}

function isId(one) {
  return typeof one === "string" && ID.test(one);
}

function isText(one, most) {
  return typeof one === "string" && one.length <= most;
}

function isTime(one) {
  return Number.isSafeInteger(one) && one >= 0;
}
