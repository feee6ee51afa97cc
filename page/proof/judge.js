/**
 * Whether one file is certified, offline: what the page's parts that people see are built on. The answer is that of
 * `tallystick verify --json` (`client/verdicts.py`), in the same words.
 */

import { fromHex, sameBytes, toHex } from "./bytes.js";
import { decodeExtra, readBundleInSteps } from "./bundle.js";
import { certificateId } from "./certificate.js";
import { Conflict, NotProven, Refused } from "./errors.js";
import { ledgerIdOf } from "./genesis.js";
import { DocumentHasher } from "./hash.js";
import { decodeAs, encodeValue } from "./msgpack.js";
import { finished } from "./steps.js";
import { ANCHOR } from "./structs.js";
import { Policy, parsePolicy, parseProof } from "./tlog.js";
import { verifyInSteps } from "./verify.js";
import { claimsView, failureView, provenView, resultOf } from "./views.js";

const MAX_ANCHOR_BYTES = 1024 * 1024;
const MAX_ANCHOR_VOTERS = 4_096;
const PROOF_ENDING = ".tlog-proof";
const KEY_BEGINNING = /^[0-9a-f]{16,64}$/;
/** What `verify` ends with where the policy is none, so that nothing is judged. */
const UNUSABLE_POLICY = { exit_code: 6, result: "unusable_policy" };

/**
 * Judge one file.
 *
 * @param {{name: string, document: Uint8Array | {size_bytes: number, sha256: string} | null,
 *   proof: Uint8Array | null, members: Uint8Array | null, payload: Uint8Array | null, proofName?: string}} file
 *   `document`: its bytes, or what a `DocumentHasher` found; `null`: no document is compared. `members` and `payload`
 *   are the files beside the proof, if there are any. `proofName`: the proof's own; else it follows from `name`
 * @param {{nowMs: number, ledgerId: string | null, anchors: object[], policy: Uint8Array | Policy | null,
 *   issuer: string | null, atMs: number | null, freshMs: number | null, trustedBy: string,
 *   localName: string | null}} question `ledgerId`: 64 hexadecimal digits, which the user named or keeps; `anchors`:
 *   what earlier answers gave to keep, of this ledger; `policy`: its bytes, or what `parsePolicy` read, once for many
 *   files; `trustedBy`: why the ledger counts, as `Proven.trusted_by`
 * @returns {{verdict: any, bundle: any, anchor: object | null, conflict: boolean}} `verdict` has the fields of
 *   `FileVerdict` (`api/proof_views.py`), numbers beyond 2^53 as bigint; of an unusable policy its `result` is `unusable_policy`, and
 *   the failure has no advice. `bundle`: the proof as it was read, of which nothing counts but what the verdict says;
 *   `null`: it cannot be read. `anchor`: what to keep, fit for JSON; `null`: nothing that is newer. `conflict`: the
 *   proof shows another history than what was verified before, and both are to be shown to the ledger's members
 */
export function judge(file, question) {
  return finished(judgeInSteps(file, question));
}

/** The same in steps, between which the page can do other things. */
export function* judgeInSteps(file, question) {
  const document = documentOf(file.document);
  const told = (result, more) => ({
    name: file.name,
    path: null,
    sha256: document && toHex(document.sha256),
    size_bytes: document && document.sizeBytes,
    proof: file.proof && (file.proofName ?? (document ? file.name + PROOF_ENDING : file.name)),
    is_attached: false, // a proof that a PDF carries is not looked for here
    ...result,
    online: null,
    claims: null,
    proven: null,
    time_stamp: null, // nor a token of a time stamping authority
    failure: null,
    ...more,
  });
  let bundle = null;
  const answer = (verdict, anchor = null, conflict = false) => ({ verdict, bundle, anchor, conflict });
  let demand;
  try {
    demand = demandOf(question, document);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return answer(told(UNUSABLE_POLICY, { failure: { ...failureView(error, null), advice: null } }));
  }
  try {
    bundle = yield* readBundleInSteps(proofAtHand(file), file.members, file.payload);
    const issuer = issuerAsked(question.issuer, bundle);
    const verdict = yield* verifyInSteps(bundle, { ...demand, issuer });
    const more = { claims: claimsView(bundle), proven: provenView(verdict, question) };
    return answer(told(resultOf(null), more), anchorToKeep(verdict, demand));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const verdict = error instanceof NotProven ? error.verdict : null;
    const more = {
      claims: bundle && claimsView(bundle),
      proven: verdict && provenView(verdict, question),
      failure: failureView(error, bundle),
    };
    const anchor = verdict && anchorToKeep(verdict, demand);
    return answer(told(resultOf(error), more), anchor, error instanceof Conflict);
  }
}

/**
 * What a proof file claims of its ledger, to look it up among those that are trusted, or to show it: nothing of it is
 * checked but its form. `null`: it cannot be read.
 * @param {Uint8Array} proof @returns {{ledgerId: string, name: string, certificate: string} | null}
 */
export function claimedLedger(proof) {
  try {
    const { genesis, certificate } = decodeExtra(parseProof(proof).extra ?? new Uint8Array(0));
    const ledgerId = toHex(ledgerIdOf(genesis));
    return { ledgerId, name: genesis.name, certificate: toHex(certificateId(certificate)) };
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/** Whether a value, which may come from a file of somebody's, has the form of an anchor. @param {any} value */
export function isAnchor(value) {
  return readAnchor(value) !== null;
}

/** An anchor as the checks take it; `null`: the value is none. Held to the bounds of the struct. */
function readAnchor(value) {
  const isNumber = (one) => Number.isSafeInteger(one) && one >= 0;
  const isDigest = (one) => typeof one === "string" && one.length === 64 && fromHex(one) !== null;
  const isVoter = (one) => Array.isArray(one) && one.length === 2 && isDigest(one[0]) && isNumber(one[1]);
  const isOne =
    value !== null &&
    typeof value === "object" &&
    [value.ledger_id, value.block_hash].every(isDigest) &&
    [value.epoch, value.index, value.timestamp_ms].every(isNumber) &&
    Array.isArray(value.voters) &&
    value.voters.length <= MAX_ANCHOR_VOTERS &&
    value.voters.every(isVoter);
  if (!isOne) return null;
  const { ledger_id, epoch, voters, index, block_hash, timestamp_ms } = value;
  const keyed = voters.map(([key, stake]) => [fromHex(key), stake]);
  const encoded = encodeValue([fromHex(ledger_id), epoch, keyed, index, fromHex(block_hash), timestamp_ms]);
  try {
    return decodeAs(ANCHOR, MAX_ANCHOR_BYTES, "anchor", encoded);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

function anchorView(anchor) {
  return {
    ledger_id: toHex(anchor.ledgerId),
    epoch: anchor.epoch,
    voters: anchor.voters.map(([key, stake]) => [toHex(key), stake]),
    index: anchor.index,
    block_hash: toHex(anchor.blockHash),
    timestamp_ms: anchor.timestampMs,
  };
}

/** What the proof proved, unless something as new is known; of a ledger that is not trusted nothing is kept. */
function anchorToKeep(verdict, demand) {
  const { anchor } = verdict;
  const isNewest = demand.ledgerId !== null && !demand.anchors.some((one) => one.index >= anchor.index);
  return isNewest ? anchorView(anchor) : null;
}

function documentOf(document) {
  if (document === null) return null;
  let found = document;
  if (document instanceof Uint8Array) {
    const hasher = new DocumentHasher();
    hasher.update(document);
    found = hasher.finish();
  }
  return { sizeBytes: found.size_bytes, sha256: fromHex(found.sha256) };
}

/** Whom the verifier trusts, and what it asks for. Throws `Refused` (P1) for an unusable policy. */
function demandOf(question, document) {
  const anchors = question.anchors.map(readAnchor);
  const ledgerId = question.ledgerId === null ? null : fromHex(question.ledgerId);
  const isOfLedger = (one) => one !== null && (ledgerId === null || sameBytes(one.ledgerId, ledgerId));
  if ((question.ledgerId !== null && ledgerId?.length !== 32) || !anchors.every(isOfLedger)) {
    throw new TypeError("a ledger's id has 64 hexadecimal digits, and its anchors are its own: see isAnchor");
  }
  const { policy: asked } = question;
  const policy = asked === null || asked instanceof Policy ? asked : parsePolicy(asked);
  const { nowMs, atMs, freshMs } = question;
  return { nowMs, ledgerId, anchors, policy, document, atMs, freshMs };
}

function proofAtHand(file) {
  if (file.proof !== null) return file.proof;
  throw new NotProven("P1", `there is no ${file.name}${PROOF_ENDING} beside it; name its proof with --proof`);
}

/** The issuer that is asked for; a key in full, if it begins as was asked. */
function issuerAsked(asked, bundle) {
  const key = toHex(bundle.extra.certificate.issuer);
  const beginning = asked?.toLowerCase();
  return beginning !== undefined && KEY_BEGINNING.test(beginning) && key.startsWith(beginning) ? key : asked;
}
