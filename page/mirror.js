/**
 * A mirror's files, and the trees in its tiles, as docs/proofs.md tells; `client/mirror.py`. Nothing of a mirror is
 * believed: what is read of it is bounded, and whoever uses it checks it.
 */

import { readUtf8 } from "./proof/bytes.js";
import { parseCheckpoint } from "./proof/checkpoint.js";
import { sha256Of } from "./proof/hash.js";
import { EMPTY_ROOT, NODE } from "./proof/merkle.js";
import { MAX_NOTE_BYTES, parseNote } from "./proof/note.js";

const TILE_HEIGHT = 8;
const HASH_BYTES = 32;
export const MAX_HEADER_BYTES = 1_024;
const MAX_ENTRY_BYTES = 65_535;
const ID_ROW_BYTES = 12;

/** Items in order, cut into files of `span` items, each of `most` bytes: `read` takes a file apart. */
export const LOG_ENTRIES = { folder: "tile/entries", span: 256, most: 2 + MAX_ENTRY_BYTES, read: bundled };
export const HEADERS = { folder: "tallystick/headers", span: 256, most: 2 + MAX_HEADER_BYTES, read: bundled };
export const IDS = {
  folder: "tallystick/ids",
  span: 65_536,
  most: ID_ROW_BYTES,
  read: (data) => rowsOf(data, ID_ROW_BYTES),
};
/** So many files are kept once they are read: proofs at hand are mostly near each other. */
const MOST_PARTS = 64;

/** Why no proof comes of a mirror, and what to do. */
export class MirrorProblem extends Error {}

/** What to say where a mirror's files do not belong together. */
export function unsound(what) {
  return new MirrorProblem(`what the mirror holds is not sound: ${what}; take another mirror`);
}

// ---- files ----------------------------------------------------------------------------------------------------

/** A mirror, file by file, each of the form that it should have; what never changes is read once. */
export class Mirror {
  constructor(read) {
    this.read = read;
    this.parts = new Map();
  }

  async checkpoint() {
    const data = await this.read("checkpoint", MAX_NOTE_BYTES);
    const text = data !== null && data.length <= MAX_NOTE_BYTES ? readUtf8(data) : null;
    if (text === null) {
      throw new MirrorProblem("this is no mirror: it has no file checkpoint; choose the folder that holds it");
    }
    const note = parseNote(text);
    return { note, checkpoint: parseCheckpoint(note.text) };
  }

  async needed(path, mostBytes) {
    const data = await this.read(path, mostBytes);
    if (data === null) throw new MirrorProblem(`the mirror lacks ${path}; copy all of it, or take another`);
    return data;
  }

  /** One of so many items of a series. */
  async item(series, index, count) {
    const number = Math.floor(index / series.span);
    const items = await this.part(series, number, Math.min(series.span, count - number * series.span));
    return items[index - number * series.span];
  }

  /** A file of so many items; where it was not full and is gone, the full one begins alike. */
  async part(series, number, width) {
    const path = partPath(series, number);
    const key = `${path}.p/${width}`;
    if (!this.parts.has(key)) {
      const partial = width < series.span ? await this.read(key, width * series.most) : null;
      const items = series.read(partial ?? (await this.needed(path, series.span * series.most)));
      if (items.length !== (partial === null ? series.span : width)) {
        throw unsound(`${path} does not hold ${width} items, and nothing else`);
      }
      if (this.parts.size >= MOST_PARTS) this.parts.delete(this.parts.keys().next().value);
      this.parts.set(key, series === IDS ? items : items.slice(0, width));
    }
    return this.parts.get(key);
  }
}

/** Groups of three digits, all but the last with an `x` (C2SP tlog-tiles). */
function partPath(series, number) {
  const digits = String(number);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g);
  return [series.folder, ...groups.map((one, at) => (at < groups.length - 1 ? `x${one}` : one))].join("/");
}

/** The hashes of a tree 8 * `level` above its leaves. */
function tilesOf(folder, level) {
  return { folder: `${folder}/${level}`, span: 256, most: HASH_BYTES, read: (data) => rowsOf(data, HASH_BYTES) };
}

function rowsOf(data, size) {
  const rows = [];
  for (let at = 0; at < data.length; at += size) rows.push(data.subarray(at, at + size));
  return rows.length > 0 && rows.at(-1).length < size ? [] : rows;
}

/** Items, each after its length in 2 bytes. */
function bundled(data) {
  const items = [];
  let at = 0;
  while (at + 2 <= data.length) {
    const end = at + 2 + ((data[at] << 8) | data[at + 1]);
    items.push(data.subarray(at + 2, end));
    at = end;
  }
  return at === data.length ? items : [];
}

// ---- trees ----------------------------------------------------------------------------------------------------

/** A tree as a mirror's tiles tell it. */
export class TiledTree {
  constructor(mirror, folder, size) {
    this.mirror = mirror;
    this.folder = folder;
    this.size = size;
  }

  /** The tree head over the first `size` leaves. */
  async root(size) {
    return headOfPeaks(await this.peaks(size, 53));
  }

  /** The audit path of a leaf in the tree of the first `size` leaves, leaf upward (RFC 6962, 2.1.1). */
  async path(index, size) {
    const path = [];
    for (let height = 0; 2 ** height < size; height += 1) {
      const own = Math.floor(index / 2 ** height);
      const sibling = own % 2 === 0 ? own + 1 : own - 1;
      if ((sibling + 1) * 2 ** height <= size) path.push(await this.subtree(height, sibling));
      else if (sibling * 2 ** height < size) path.push(headOfPeaks(await this.peaks(size, height)));
    }
    return path;
  }

  /** The largest full subtrees, lower than this, over the end of the first `size` leaves; largest first. */
  async peaks(size, below) {
    const found = [];
    for (let height = below - 1; height >= 0; height -= 1) {
      const count = Math.floor(size / 2 ** height);
      if (count % 2 === 1) found.push(await this.subtree(height, count - 1));
    }
    return found;
  }

  /** The hash of the full subtree of this height and number: so many levels above a row of a tile. */
  async subtree(height, number) {
    const level = Math.floor(height / TILE_HEIGHT);
    const rising = height % TILE_HEIGHT;
    const first = number * 2 ** rising;
    const count = Math.floor(this.size / 2 ** (level * TILE_HEIGHT));
    const tile = Math.floor(first / 256);
    const series = tilesOf(this.folder, level);
    const hashes = await this.mirror.part(series, tile, Math.min(256, count - tile * 256));
    let row = hashes.slice(first - tile * 256, first - tile * 256 + 2 ** rising);
    while (row.length > 1) row = risenOnce(row);
    return row[0];
  }
}

/** The hashes one level above a row of them. */
function risenOnce(row) {
  return Array.from({ length: row.length / 2 }, (_, at) => sha256Of(NODE, row[2 * at], row[2 * at + 1]));
}

function headOfPeaks(peaks) {
  return peaks.length === 0 ? EMPTY_ROOT : peaks.reduceRight((head, peak) => sha256Of(NODE, peak, head));
}
