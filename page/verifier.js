// Judges files under what is trusted here, and keeps what they proved: what src/tallystick/client/verdicts.py does.

import { claimedLedger, judge } from "./proof/judge.js";
import { TrustError } from "./trust.js";

const KEPT = "what shows it is kept in this browser, under Trusted ledgers";

/**
 * The verdict on one file: `file` as `judge` takes it, `asked` {nowMs, issuer, atMs, freshMs, policy}.
 * Returns it with what could not be kept, as a warning or "".
 */
export function verdictOn(file, asked, store) {
  store.reload();
  const entry = trustedOf(file.proof, store);
  const { verdict, anchor, conflict } = judge(file, {
    ...asked,
    ledgerId: entry?.ledgerId ?? null,
    anchors: entry?.anchors ?? [],
    trustedBy: entry ? "kept" : "policy",
    localName: entry?.name ?? null,
  });
  if (entry === null) return { verdict, warning: "" };
  const shownBy = { proof: file.proof, members: file.members };
  try {
    if (conflict) {
      store.keepConflict(entry.ledgerId, shownBy, verdict.failure.reason, asked.nowMs);
      const advice = `${verdict.failure.advice}; ${KEPT}`;
      return { verdict: { ...verdict, failure: { ...verdict.failure, advice } }, warning: "" };
    }
    if (anchor !== null) store.keep(entry.ledgerId, anchor, verdict.proven.ledger, shownBy);
  } catch (error) {
    if (!(error instanceof TrustError)) throw error;
    return { verdict, warning: `What was verified is not kept. ${error.message}` };
  }
  return { verdict, warning: "" };
}

function trustedOf(proof, store) {
  const claimed = proof === null ? null : claimedLedger(proof);
  return claimed === null ? null : store.get(claimed.ledgerId);
}
