// Judges files under what is trusted here, and keeps what they proved: what src/tallystick/client/verdicts.py does.

import { NOTHING_ASKED } from "./asked.js";
import { MirrorProblem } from "./mirror.js";
import { partOf } from "./pdf.js";
import { readBundleInSteps } from "./proof/bundle.js";
import { sameBytes } from "./proof/bytes.js";
import { NotProven, Refused } from "./proof/errors.js";
import { claimedLedger, judgeInSteps } from "./proof/judge.js";
import { failureView, resultOf } from "./proof/views.js";
import { inSteps } from "./steps.js";
import { TrustError, decoded } from "./trust.js";

const KEPT = "what shows it is kept in this browser, under Trusted ledgers";
const NOT_KEPT = "it is not kept here: keep both files yourself";
const ADVICE_WITHOUT_NEWER = "use another mirror; verified without it, the proof at hand counts as of its own status";
/** So often a proof is verified anew because others changed meanwhile what is kept. */
const MOST_TRIES = 8;
const NO_DOCUMENT = { name: "kept", document: null, payload: null };
const TIME_STAMP_BESIDE = {
  state: "not_verifiable",
  not_later_ms: null,
  authority: null,
  known_as: null,
  reason: "this page does not verify time stamps: tallystick verify",
};

/**
 * The verdict on one file, and by which proof: `file` as `judge` takes it, and whether the proof `isAttached` to the PDF,
 * or `isStamped` by a token beside it. `mirror`, if there is one, is asked for a newer proof: {name, prover}.
 * Returns {verdict, warning, proof, newer}: `newer` are the files of the mirror's proof, if that is what counts.
 */
export async function verdictBy(file, asked, store, mirror) {
  const { bundle, ...first } = await verdictOn(file, asked, store);
  let found = { ...first, proof: file.proof, newer: null };
  if (mirror !== null && first.verdict.proven !== null) {
    found = await byNewer({ ...file, bundle }, first, asked, store, mirror);
  }
  const { verdict } = found;
  const stamped = {
    ...verdict,
    is_attached: false,
    time_stamp: file.isStamped && verdict.online === null ? TIME_STAMP_BESIDE : null,
  };
  return { ...found, verdict: file.isAttached ? partOf(stamped) : stamped };
}

/** By a newer proof of the certificate of `file.bundle`, under the same trust: never by what a mirror merely says. */
async function byNewer(file, first, asked, store, mirror) {
  const from = `the mirror ${mirror.name}`;
  let files;
  let again;
  try {
    files = await mirror.prover.renew(file.bundle);
    const newer = await inSteps(readBundleInSteps(files.proof, files.members, files.payload));
    if (!sameBytes(newer.extra.certificate.encoded, file.bundle.extra.certificate.encoded)) {
      throw new NotProven("P13", "it is of another certificate");
    }
    const payload = files.payload ?? (newer.payload === null ? (file.bundle.payload?.encoded ?? null) : null);
    again = await verdictOn({ ...file, ...files, payload }, asked, store);
  } catch (error) {
    if (error instanceof MirrorProblem) return withoutNewer(file, first, from, error.message.split("; ")[0]);
    if (error instanceof Refused) return withoutNewer(file, first, from, notProven(error.message));
    throw error;
  }
  const { failure, proven } = again.verdict;
  if (proven === null && !again.isConflict) {
    return withoutNewer(file, first, from, notProven(`[${failure.rule}] ${failure.step}: ${failure.reason}`));
  }
  if (proven !== null && isBefore(proven, first.verdict.proven)) {
    const warning = `The proof from ${from} is older than the one at hand, which counts.`;
    return { ...first, warning, proof: file.proof, newer: null };
  }
  const newer = proven === null ? null : files;
  return { verdict: { ...again.verdict, online: from }, warning: again.warning, proof: files.proof, newer };
}

function notProven(why) {
  return `what it sent is not proven: ${why}`;
}

/** What is proven without a newer proof, which was asked for. */
function withoutNewer(file, first, from, why) {
  const failed = new NotProven("P13", `no newer proof could be had from ${from}: ${why}`);
  const failure = { ...failureView(failed, null), advice: ADVICE_WITHOUT_NEWER };
  return { ...first, verdict: { ...first.verdict, ...resultOf(failed), failure }, proof: file.proof, newer: null };
}

/** Whether it shows an earlier status, or that of an earlier block, whatever its cosigners' clocks say. */
function isBefore(one, other) {
  return BigInt(one.status_ms) < BigInt(other.status_ms) || one.checkpoint_block < other.checkpoint_block;
}

/**
 * The verdict by the proof at hand: `asked` {nowMs, issuer, atMs, freshMs, policy}. Returns it with the proof as it was
 * read, what could not be kept, as a warning or "", and whether it shows another history. Raises `TrustError` if others
 * change what is kept without end.
 */
export async function verdictOn(file, asked, store) {
  const claimed = file.proof === null ? null : claimedLedger(file.proof);
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    if (claimed !== null) await recall(claimed.ledgerId, asked.nowMs, store);
    const found = await verdictUnder(claimed?.ledgerId ?? null, file, asked, store);
    if (found !== null) return found;
  }
  throw new TrustError("Other pages or tabs change what is kept here, over and over. Close them, and verify again.");
}

/**
 * Verify anew what is kept of a ledger where other pages can write: what its proof shows counts from then on.
 * Elsewhere nothing is to be done.
 */
export async function recall(ledgerId, nowMs, store) {
  store.reload();
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    const kept = store.untried(ledgerId);
    if (kept === null) return;
    await verdictUnder(ledgerId, { ...NO_DOCUMENT, ...decoded(kept) }, { nowMs, ...NOTHING_ASKED }, store);
    store.wasTried(ledgerId, kept);
  }
}

/** Whether a proof of the ledger, which was kept elsewhere, holds under its id; what it shows is kept then. */
export async function isProven({ ledgerId, shownBy }, nowMs, store) {
  const { verdict } = await verdictOn({ ...NO_DOCUMENT, ...shownBy }, { nowMs, ...NOTHING_ASKED }, store);
  return verdict.proven?.ledger_id === ledgerId;
}

/** As `verdictOn`; `null`: another tab kept more meanwhile, or trusts the ledger no more, so that it is to be had anew. */
async function verdictUnder(ledgerId, file, asked, store) {
  store.reload();
  const entry = ledgerId === null ? null : store.counting(ledgerId);
  const steps = judgeInSteps(file, {
    ...asked,
    ledgerId: entry?.ledgerId ?? null,
    anchors: entry?.anchors ?? [],
    trustedBy: entry ? "kept" : "policy",
    localName: entry?.name ?? null,
  });
  const { verdict, bundle, anchor, conflict } = await inSteps(steps);
  const found = { verdict, bundle, warning: "", isConflict: conflict };
  if (entry === null || (anchor === null && !conflict)) return found;
  // A file of members beside a proof that has its own hand-over is no part of it.
  const shownBy = { proof: file.proof, members: bundle.extra.handOver === null ? file.members : null };
  try {
    if (conflict) {
      const isKept = store.keepConflict(entry.ledgerId, shownBy, verdict.failure.reason, asked.nowMs);
      const advice = `${verdict.failure.advice}; ${isKept ? KEPT : NOT_KEPT}`;
      return { ...found, verdict: { ...verdict, failure: { ...verdict.failure, advice } } };
    }
    return store.keep(entry.ledgerId, anchor, verdict.proven.ledger, shownBy, entry.anchors) ? found : null;
  } catch (error) {
    if (!(error instanceof TrustError)) throw error;
    const what = conflict ? "What shows the other history" : "What was verified";
    return { ...found, warning: `${what} is not kept. ${error.message}` };
  }
}
