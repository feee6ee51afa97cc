/**
 * What a checkpoint alone proves: of a ledger that is trusted, by members who are followed to it (P3 to P7);
 * `proof/head.py`. A proof of a certificate begins with it, and a mirror is searched no further without it.
 */

import { sameBytes, toHex } from "./bytes.js";
import { checkCosigned, parseCheckpoint } from "./checkpoint.js";
import { Conflict, NotProven, expectSame, inStep } from "./errors.js";
import { ledgerIdOf, originOf } from "./genesis.js";
import { Members, blockHash } from "./members.js";

/**
 * Who stands for a checkpoint, to a verifier who trusts this ledger, in steps. Throws `NotProven` with the first check
 * that fails.
 *
 * @param {any} head {genesis, header, votes, following, handOver, log, ofMembers, note}: the checkpoint's note, with the
 *   header that it is of, and how the members follow from those of the genesis
 * @param {{ledgerId: Uint8Array | null, anchors: any[], policy: any}} demand whom the verifier trusts; without a ledger
 *   a policy names whom. `anchors`: what was verified of the ledger before
 * @returns {Generator<void, {voters: any, cosigners: any[], changes: any[]}>} `cosigners`: [{key, timeS, stake}], keys
 *   ascending
 */
export function* provenHeadInSteps(head, demand) {
  const { genesis, header, log, note } = head;
  // P3: the ledger is one that the verifier trusts, or the verifier's policy says whom to trust.
  checkLedgerTrusted(genesis, demand);
  // P4: the members are followed, from the genesis or from what was verified before, to the header's epoch.
  const members = new Members(genesis, head.handOver, demand.anchors);
  for (const one of head.handOver.steps) {
    members.follow(one);
    yield;
  }
  // P5: more than 2/3 of their stake, and of that of the voters whom the header's state root names, made it final.
  const voters = finalVoters(head, members, demand);
  checkOrder(header, demand.anchors);
  yield;
  // P6: the checkpoint is the head of the log that the same state root names.
  const checkpoint = parseCheckpoint(note.text);
  expectSame("P6", "origin of the checkpoint", originOf(genesis), checkpoint.origin);
  expectSame("P6", "size of the checkpoint", log.logSize, checkpoint.size);
  expectSame("P6", "root of the checkpoint", log.logRoot, checkpoint.root);
  expectSame("P6", "lines of the checkpoint", 3, note.text.split("\n").length - 1);
  // P7: more than 2/3 of the stake countersigned it, one member as the log; no signature of a member is bad.
  const cosigners = cosignersOf(note, checkpoint.origin, voters, demand.policy);
  yield;
  return { voters, cosigners, changes: members.changes };
}

function checkLedgerTrusted(genesis, demand) {
  if (demand.ledgerId === null && demand.policy === null) {
    throw new NotProven("P3", "no ledger is trusted here; name the one that you trust: tallystick trust add");
  }
  if (demand.ledgerId !== null) expectSame("P3", "ledger", demand.ledgerId, ledgerIdOf(genesis));
  else if (demand.policy.holds(new Set())) {
    throw new NotProven("P3", "the policy asks for no witness: whom to trust for the status, it does not say");
  }
}

/** The voters of the header's epoch, who made it final. */
function finalVoters(head, members, demand) {
  const { header, votes, log, ofMembers } = head;
  let last = header;
  for (const one of head.following) {
    if (one.epoch !== last.epoch || one.index !== last.index + 1 || !sameBytes(one.parentHash, blockHash(last))) {
      throw new NotProven("P5", `block ${one.index} does not follow block ${last.index} within its epoch`);
    }
    last = one;
  }
  const voters = members.finalVoters({ header, last, votes, log, ofMembers }, head.handOver.voters, "P5");
  if (demand.ledgerId !== null) members.checkTrusted();
  else if (!demand.policy.holds(new Set(votes.signatures.map(([place]) => toHex(voters.members[place][0]))))) {
    throw new NotProven("P5", "those who voted do not satisfy the policy");
  }
  return voters;
}

/** On one chain index, time and epoch rise together, so a header that does not fit in is of another history. */
function checkOrder(header, anchors) {
  const hash = blockHash(header);
  for (const one of anchors) {
    const later = header.index > one.index ? 1 : -1;
    const rises = later * (header.timestampMs - one.timestampMs) > 0 && later * (header.epoch - one.epoch) >= 0;
    if (!(header.index === one.index ? sameBytes(hash, one.blockHash) : rises)) {
      throw new Conflict("P4", `a history with block ${one.index}, verified before`, one.blockHash, hash);
    }
  }
}

/** Who countersigned. */
function cosignersOf(note, origin, voters, policy) {
  const times = inStep("P7", "checkpoint", () => {
    const found = checkCosigned(note, origin, voters.members.map(([key]) => key));
    if (policy !== null) policy.check(note);
    return found;
  });
  const stake = voters.stakeOf(times.map(([key]) => key));
  if (!voters.isQuorum(stake)) {
    throw new NotProven("P7", "stake that countersigned", `more than 2/3 of ${voters.total}`, stake);
  }
  return times.map(([key, timeS]) => ({ key, timeS, stake: voters.stakeOf([key]) }));
}
