/** What is read of files and folders that are given: no more than may be, in any browser. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf } from "../../page/files.js";
import { droppedIn, pathOf } from "../../page/folders.js";

const KIB = 1024;

/** A file without end, of which only slices can be read. */
const ENDLESS = {
  slice: (from, to) => ({ arrayBuffer: async () => new ArrayBuffer(to - from) }),
  arrayBuffer: () => assert.fail("all of it is read"),
};

test("a byte more than there may be is read, by which it is refused as too long", async () => {
  const given = { inside: null, proof: ENDLESS, members: ENDLESS, payload: ENDLESS };
  const { proof, members, payload } = await bytesOf(given);
  assert.deepEqual([proof, members, payload].map((one) => one.length - 1), [256 * KIB, 8 * KIB * KIB, 8 * KIB * KIB]);
});

// ---- folders, where a browser gives their entries alone ---------------------------------------------------------

const AT_ONCE = 100; // entries that a browser reads at a time

function fileEntry(name) {
  return { name, isDirectory: false, file: (found) => found({ name }) };
}

function folderEntry(name, children) {
  const createReader = () => {
    const left = [...children];
    return { readEntries: (found) => found(left.splice(0, AT_ONCE)) };
  };
  const getFile = (path, options, found, fail) => {
    const inner = path.split("/").reduce((at, one) => at?.children?.find((child) => child.name === one), { children });
    if (inner === undefined) fail(new DOMException("no", "NotFoundError"));
    else if (inner.isDirectory) fail(new DOMException("a folder", "TypeMismatchError"));
    else found(inner);
  };
  return { name, children, isDirectory: true, createReader, getFile };
}

function dropped(...entries) {
  const itemOf = (entry) => ({ kind: "file", webkitGetAsEntry: () => entry, getAsFile: () => ({ name: entry.name }) });
  const items = entries.map(itemOf);
  return droppedIn({ items: [...items, { kind: "string" }] });
}

test("a folder's files are read by their entries, however many there are", async () => {
  const many = Array.from({ length: 250 }, (_, at) => fileEntry(`${at}.txt`));
  const inner = folderEntry("inner", [fileEntry(".hidden"), fileEntry("document.txt")]);
  const { files, folders } = dropped(fileEntry("alone.txt"), folderEntry("papers", [inner, ...many]));
  assert.deepEqual(files.map(pathOf), ["alone.txt"]);
  const [folder] = folders;
  const found = (await folder.files(2_000)).map(pathOf);
  assert.deepEqual([found.length, found[0], found.at(-1)], [251, "papers/0.txt", "papers/inner/document.txt"]);
  assert.equal((await folder.files(10)).length, 10);
  assert.equal((await folder.fileAt("inner/document.txt")).name, "document.txt");
  for (const path of ["checkpoint", "inner", "inner/none"]) assert.equal(await folder.fileAt(path), null);
});
