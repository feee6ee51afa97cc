/** Follows a ledger's members from epoch to epoch by a hand-over, and says what does not hold; `proof/members.py`. */

import { areAscending, compareBytes, sameBytes, toHex } from "./bytes.js";
import { domainBytes } from "./certificate.js";
import { isSigned } from "./ed25519.js";
import { Conflict, NotProven, Refused, expectSame, inStep } from "./errors.js";
import { genesisVoters, ledgerIdOf } from "./genesis.js";
import { sha256Of } from "./hash.js";
import { encodeValue } from "./msgpack.js";

const HEADER_VERSION = 1;
const FINALIZE_KIND = 3;
const UNKNOWN_START = "the proof starts from an epoch not verified here before; make it without --since";

/** Whose votes count for a stretch of blocks: [[key, stake] …], keys ascending. */
export class Epoch {
  /** @param {number} number @param {[Uint8Array, number][]} members */
  constructor(number, members) {
    this.number = number;
    this.members = members;
    this.stakes = new Map(members.map(([key, stake]) => [toHex(key), BigInt(stake)]));
    this.total = members.reduce((sum, [, stake]) => sum + BigInt(stake), 0n);
  }

  /** SHA-256 of the encoded [number, members]: what a state root says of voters. */
  get hash() {
    return sha256Of(encodeValue([this.number, this.members]));
  }

  /** The stake of all these keys together. @param {Uint8Array[]} keys @returns {bigint} */
  stakeOf(keys) {
    return keys.reduce((sum, key) => sum + (this.stakes.get(toHex(key)) ?? 0n), 0n);
  }

  /** Whether this is more than 2/3 of the stake. @param {bigint} stake */
  isQuorum(stake) {
    return 3n * stake > 2n * this.total;
  }

  /** Whether both have the same voters with the same stakes. @param {[Uint8Array, number][]} members */
  hasMembers(members) {
    const areSame = ([key, stake], at) => sameBytes(key, members[at][0]) && stake === members[at][1];
    return this.members.length === members.length && this.members.every(areSame);
  }

  /** Whether both have the same voters, whatever their stakes. @param {Epoch} other */
  hasKeysOf(other) {
    return this.stakes.size === other.stakes.size && [...this.stakes.keys()].every((key) => other.stakes.has(key));
  }
}

/** The hash of a header, 32 bytes: the block's. */
export function blockHash(header) {
  return sha256Of(header.encoded);
}

/** The hash of roots that a proof opens, 32 bytes. */
export function rootsHash(roots) {
  return sha256Of(roots.encoded);
}

/** Who votes, as far as is proven: from the genesis on, or from what was verified before. Throws `NotProven` (P4). */
export class Members {
  constructor(genesis, handOver, anchors) {
    this.changes = [];
    this.ledgerId = ledgerIdOf(genesis);
    this.anchors = new Map(anchors.map((one) => [one.epoch, epochOfMembers(one.epoch, one.voters)]));
    this.anchorVoters = new Map(anchors.map((one) => [one.epoch, one.voters]));
    const first = new Epoch(0, genesisVoters(genesis));
    this.keys = [...first.members.map(([key]) => key), ...handOver.keys];
    this.known = this.epochOf(handOver.since, handOver.first, first);
    this.isTrusted = handOver.since === 0 && handOver.first === null;
    if (!this.isTrusted && [...this.anchors.keys()].every((epoch) => epoch < handOver.since)) {
      throw new NotProven("P4", UNKNOWN_START);
    }
    this.meet(this.known);
  }

  /** Go on to the epoch after the step's. Throws `NotProven` (P4), `Conflict`. */
  follow(step) {
    const { header } = step;
    const final = { header, last: header, votes: step.votes, log: step.log, ofMembers: step.ofMembers };
    const voters = this.finalVoters(final, step.voters, "P4");
    const following = this.epochOf(header.epoch + 1, step.nextVoters, voters);
    expectSame("P4", `voters of epoch ${following.number}`, step.ofMembers.nextVoters, following.hash);
    this.move(following);
  }

  /**
   * The epoch of a header that is final: its voters, as the header names them, made it so. Those who voted hold more
   * than 2/3 of its stake, of the stake known before, and of that of each anchor between. Throws `NotProven` (P4, or
   * the rule), `Conflict`.
   */
  finalVoters(final, listed, rule) {
    const { header, log, ofMembers } = final;
    expectSame(rule, "ledger of the header", this.ledgerId, header.ledgerId);
    expectSame(rule, "version of the header", HEADER_VERSION, header.version);
    if (header.epoch < this.known.number) {
      throw new NotProven("P4", "epoch of the next header", `${this.known.number} or later`, header.epoch);
    }
    const voters = this.epochOf(header.epoch, listed, this.known);
    expectSame(rule, `state root of block ${header.index}`, header.stateRoot, rootsHash(log));
    expectSame(rule, `hash of the member roots of block ${header.index}`, log.membersHash, rootsHash(ofMembers));
    expectSame(rule, `voters of block ${header.index}`, ofMembers.voters, voters.hash);
    const votes = finalizingVotes(rule, voters, final);
    const between = [...this.anchors.values()].filter(
      (one) => this.known.number < one.number && one.number < header.epoch,
    );
    for (const known of [this.known, ...between]) {
      const stake = known.stakeOf(votes.members);
      if (!known.isQuorum(stake)) {
        const what = `stake of epoch ${known.number}, known before, in the votes of epoch ${header.epoch}`;
        throw new NotProven("P4", what, `more than 2/3 of ${known.total}`, stake);
      }
    }
    inStep(rule, `votes for block ${final.last.index}`, () => checkVoteSignatures(votes, this.ledgerId));
    if (between.length > 0 && !this.isTrusted) {
      this.trust(between.reduce((newest, one) => (one.number > newest.number ? one : newest)));
    }
    this.move(voters);
    return voters;
  }

  /** Throw `NotProven` (P4) if the hand-over starts from an epoch that the verifier never verified. */
  checkTrusted() {
    if (!this.isTrusted) throw new NotProven("P4", UNKNOWN_START);
  }

  move(epoch) {
    if (!epoch.hasKeysOf(this.known)) {
      const notIn = (one, other) => one.members.map(([key]) => key).filter((key) => !other.stakes.has(toHex(key)));
      this.changes.push({ epoch: epoch.number, joined: notIn(epoch, this.known), left: notIn(this.known, epoch) });
    }
    this.known = epoch;
    this.meet(epoch);
  }

  meet(epoch) {
    const anchor = this.anchors.get(epoch.number);
    if (anchor === undefined) return;
    if (!epoch.hasMembers(this.anchorVoters.get(epoch.number))) {
      const what = `voters of epoch ${epoch.number}, verified before`;
      const Kind = this.isTrusted ? Conflict : NotProven;
      throw new Kind("P4", what, anchor.hash, epoch.hash);
    }
    this.trust(epoch);
  }

  /** The verifier knows this epoch; what an untrusted start told before it counts for nothing. */
  trust(epoch) {
    if (!this.isTrusted) this.changes = [];
    this.known = epoch;
    this.isTrusted = true;
  }

  /** The epoch of listed voters, by their places among the keys; none listed: those known, with the same stakes. */
  epochOf(number, listed, known) {
    if (listed === null) return new Epoch(number, known.members);
    if (listed.some(([place]) => place >= this.keys.length)) {
      throw new NotProven("P4", `voters of epoch ${number}: a place beyond the ${this.keys.length} keys`);
    }
    const members = listed.map(([place, stake]) => [this.keys[place], stake]);
    if (!areAscending(members.map(([key]) => key))) {
      throw new NotProven("P4", `the voters of epoch ${number} are not distinct and in ascending order`);
    }
    return new Epoch(number, members);
  }
}

/** The votes, of a quorum of the epoch; their signatures are not verified. Throws `NotProven`. */
function finalizingVotes(rule, epoch, final) {
  const { last: header, votes } = final;
  if (votes.signatures.some(([place]) => place >= epoch.members.length)) {
    throw new NotProven(rule, `a vote for block ${header.index} is of nobody in its epoch`);
  }
  const members = votes.signatures.map(([place]) => epoch.members[place][0]);
  inStep(rule, `votes for block ${header.index}`, () => {
    const what = `finalize certificate of view ${votes.view}`;
    if (!areAscending(members)) {
      throw new Refused("V2", `${what}: its members are not distinct and in ascending order`);
    }
    const stake = epoch.stakeOf(members);
    if (!epoch.isQuorum(stake)) throw new Refused("V2", `${what}: ${stake} of ${epoch.total} staked tokens voted`);
  });
  const ballot = encodeValue([FINALIZE_KIND, header.epoch, votes.view, blockHash(header)]);
  return { ballot, members, signatures: votes.signatures.map(([, signature]) => signature) };
}

/** Throw `Refused` (V1) unless every vote is signed by its member. */
function checkVoteSignatures(votes, ledgerId) {
  const signed = domainBytes("vote", ledgerId, votes.ballot);
  votes.members.forEach((member, at) => {
    if (!isSigned(signed, votes.signatures[at], member)) {
      throw new Refused("V1", `the vote is not signed by ${toHex(member).slice(0, 16)}…`);
    }
  });
}

/** Of an anchor, whose keys need not ascend: each counts once, with the last of its stakes. */
function epochOfMembers(number, voters) {
  const byKey = new Map(voters.map((one) => [toHex(one[0]), one]));
  return new Epoch(number, [...byKey.values()].sort(([one], [other]) => compareBytes(one, other)));
}
