// A PDF that carries its proof (docs/proofs.md, "In a PDF file"): the proof in it, and what the page says of such a file.
//
// What is certified is the PDF as it was, its first N bytes. Whether exactly its proof follows (P16) asks for a reader of
// PDF files, which the page has not: so the file as a whole is never called verified here.

import { readBundleInSteps } from "./proof/bundle.js";
import { grouped } from "./proof/bytes.js";
import { Refused } from "./proof/errors.js";
import { claimsView } from "./proof/views.js";
import { inSteps } from "./steps.js";

export const CERTIFIED_PART = "certified_part";
const MAX_PDF_BYTES = 128 * 1024 * 1024;
const MAX_REVISION_BYTES = 16 * 1024 * 1024;
const MAX_MARK_BYTES = 128;
const PIECE_BYTES = 4 * 1024 * 1024;
const MARK =
  /\n%tallystick\.pdf-proof\.v1 prefix=([1-9]\d{0,11}) proof=([1-9]\d{0,8}) members=(-|[1-9]\d{0,8}) payload=(-|[1-9]\d{0,8})\n/g;
const STREAM = "\nstream\n";
const NOT_PROVEN = { exit_code: 12, result: CERTIFIED_PART };
const OTHER_DOCUMENT = { exit_code: 13, result: "other_document" };
const STEP = { rule: "P16", step: "nothing but its proof follows the PDF" };
const ASK_ANEW = "do not rely on what it shows; ask whoever gave it to you for the PDF anew";

/**
 * The proof that a file carries; `null`: it carries none, is no PDF, or larger than any with a proof.
 * @param {File} file
 * @returns {Promise<{prefixBytes: number, proof: Uint8Array | null, members: Uint8Array | null,
 *   payload: Uint8Array | null, changed: string | null} | null>} `proof` is `null` if none can be found in it: then
 *   `prefixBytes` is all of it. `changed`: why it is not a PDF with its proof, as far as that is seen here
 */
export async function carriedIn(file) {
  if (file.size > MAX_PDF_BYTES + MAX_REVISION_BYTES || (await textOf(file, 0, 5)) !== "%PDF-") return null;
  const { good, isMarked } = await marksIn(file);
  if (good.length === 0) {
    const changed =
      "changed after certification, or another PDF with a proof is in it: that was attached at another place";
    return isMarked ? { prefixBytes: file.size, proof: null, members: null, payload: null, changed } : null;
  }
  const mark = good.at(-1);
  const isTwice = good.length > 1 && good[0].end <= mark.at;
  const changed = isTwice
    ? `changed after certification: a proof was attached to it twice, the second time after ${grouped(mark.at)} bytes`
    : null;
  return { prefixBytes: mark.at, ...(await filesAfter(file, mark)), changed };
}

/** The verdict on a PDF that carries the proof it was judged by, as that on its first bytes: never that it is verified. */
export function partOf(verdict) {
  const told = { ...verdict, proof: null, is_attached: true };
  if (verdict.failure !== null) return told;
  const bytes = grouped(verdict.size_bytes);
  const reason =
    `what is certified is the PDF as it was before its proof was attached, its first ${bytes} bytes;` +
    " this page does not check what was added after them, tallystick verify does (P16)";
  const advice = "verify the whole file: tallystick verify; or save the certified PDF here, and use that in its place";
  return { ...told, ...NOT_PROVEN, failure: { ...STEP, reason, expected: null, found: null, advice } };
}

/** The verdict on a PDF that is not what attaching its proof made. */
export async function changedPdf(name, fact, carried) {
  const taken =
    carried.proof === null
      ? ""
      : `, or take out of it what was there before the proof, and verify that: head -c ${fact.size_bytes} FILE`;
  return {
    name,
    path: null,
    sha256: fact.sha256,
    size_bytes: fact.size_bytes,
    proof: null,
    is_attached: true,
    time_stamp: null,
    ...OTHER_DOCUMENT,
    online: null,
    claims: await claimsOf(carried),
    proven: null,
    failure: { ...STEP, reason: carried.changed, expected: null, found: null, advice: ASK_ANEW + taken },
  };
}

async function claimsOf({ proof, members, payload }) {
  if (proof === null) return null;
  try {
    return claimsView(await inSteps(readBundleInSteps(proof, members, payload)));
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/** Marks that stand where they say, the first and the last; and whether there is any mark. */
async function marksIn(file) {
  let [good, isMarked] = [[], false];
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    const text = await textOf(file, at, at + PIECE_BYTES + MAX_MARK_BYTES);
    MARK.lastIndex = 0;
    for (let found = MARK.exec(text); found !== null && found.index < PIECE_BYTES; found = MARK.exec(text)) {
      isMarked = true;
      const mark = { at: at + found.index, end: at + found.index + found[0].length, sizes: found.slice(2) };
      if (Number(found[1]) === mark.at) good = [...good.slice(0, 1), mark];
      MARK.lastIndex = found.index + 1;
    }
  }
  return { good, isMarked };
}

/** The files of the proof, where they have to be if the revision is as it has to be. */
async function filesAfter(file, mark) {
  const blob = file.slice(mark.end, mark.end + MAX_REVISION_BYTES);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const text = latin(bytes);
  let at = 0;
  const [proof, members, payload] = mark.sizes.map((size) => {
    if (size === "-") return null;
    const begins = text.indexOf(STREAM, at);
    const start = (begins >= 0 ? begins : text.length) + STREAM.length;
    at = start + Number(size);
    return bytes.slice(start, at);
  });
  return { proof, members, payload };
}

async function textOf(file, from, to) {
  return latin(new Uint8Array(await file.slice(from, to).arrayBuffer()));
}

/** One character for each byte. */
function latin(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}
