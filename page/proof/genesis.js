/** Whether a genesis is legal (rules E4, K1, G1 to G5, D2); `ledger/genesis.py`, `ledger/continuation.py`. */

import { areAscending, compareBytes, joinBytes, sameBytes, toHex, utf8 } from "./bytes.js";
import { domainBytes } from "./certificate.js";
import { checkPublicKey, isSigned } from "./ed25519.js";
import { Refused } from "./errors.js";
import { sha256Of } from "./hash.js";
import { MAX_EXACT } from "./msgpack.js";
import { foldedName } from "./names.js";

const GENESIS_VERSION = 1;
const MAX_TOKENS = BigInt(MAX_EXACT);
const MAX_SHARED_STAKE = 2n ** 40n;
const MAX_UNBONDING_EPOCHS = 4_096n;
/** A consent in the encoding: an array of two, `bin8` of 32 bytes, `bin8` of 64. */
const CONSENT_BYTES = 101;
const EMPTY_ARRAY = Uint8Array.of(0x90);

/** The ledger's id: SHA-256 of the genesis, 32 bytes. */
export function ledgerIdOf(genesis) {
  return sha256Of(genesis.encoded);
}

/** Which log a checkpoint is of (C2SP tlog-checkpoint). */
export function originOf(genesis) {
  return `${genesis.shortName}/${toHex(ledgerIdOf(genesis))}`;
}

/** The keys with stake, ascending, each with its stake. @returns {[Uint8Array, number][]} */
export function genesisVoters(genesis) {
  const allotted = genesis.allotments.map((one) => [one.member, one.staked]);
  const founding = genesis.founders.map((one) => [one.key, one.stake]);
  const staked = [...allotted, ...founding].filter(([, stake]) => stake > 0);
  return staked.sort(([one], [other]) => compareBytes(one, other));
}

/** Throw `Refused` (E4, K1, G1 to G5, D2) unless the genesis is legal; in steps, as each key and consent takes long. */
export function* checkGenesisInSteps(genesis) {
  const { allotments, founders, params } = genesis;
  if (genesis.version !== GENESIS_VERSION) {
    throw new Refused("E4", `genesis of version ${genesis.version}, ${GENESIS_VERSION} is known`);
  }
  if (!areAscending(allotments.map((one) => one.member))) {
    throw new Refused("G1", "members must be distinct and in ascending order of their keys");
  }
  checkFounders(genesis);
  for (const key of [...allotments.map((one) => one.member), ...founders.map((one) => one.key)]) {
    checkPublicKey(key);
    yield;
  }
  const free = allotments.reduce((sum, one) => sum + BigInt(one.free), 0n);
  const staked = [...allotments.map((one) => one.staked), ...founders.map((one) => one.stake)];
  const totalStaked = staked.reduce((sum, stake) => sum + BigInt(stake), 0n);
  const most = founders.length > 0 ? MAX_SHARED_STAKE : MAX_TOKENS;
  if (free + totalStaked > most) throw new Refused("G2", `${free + totalStaked} tokens allotted, ${most} allowed`);
  if (!params.mintFreely && totalStaked === 0n) {
    throw new Refused("G2", "nobody has stake, so nobody could ever forge");
  }
  checkUnbonding(params);
  if (genesis.continues !== null) yield* checkContinuation(genesis);
}

function checkFounders({ allotments, founders, params }) {
  const ids = founders.map((one) => utf8(one.organisation));
  if (!areAscending(ids) || new Set(founders.map((one) => toHex(one.key))).size < founders.length) {
    throw new Refused("G1", "organisations must be distinct, in ascending order of their ids, each with its own key");
  }
  if (founders.length > 0 && allotments.length > 0) {
    throw new Refused("G4", "stake is allotted to organisations or to keys, not to both");
  }
  if (founders.length > 0 && params.mintFreely) {
    throw new Refused("G4", "tokens are minted freely only where no organisation decides on stakes");
  }
  if (founders.length === 0 && !params.anybodyCertifies) {
    throw new Refused("G4", "without organisations nobody could certify");
  }
  checkNamesDiffer(founders);
}

/** Of each folded title and id there is one organisation. */
function checkNamesDiffer(founders) {
  const holders = new Map();
  for (const { organisation, title } of founders) {
    for (const name of [organisation, title]) {
      const folded = foldedName(name);
      if (!holders.has(folded)) holders.set(folded, organisation);
      const holder = holders.get(folded);
      if (holder !== organisation) throw new Refused("D2", `the name ${name} looks like that of ${holder}`);
    }
  }
}

/** Withdrawn stake is liable for two epochs at least, and not for too many. */
function checkUnbonding(params) {
  const [blocks, ms] = [BigInt(params.unbondingBlocks), BigInt(params.unbondingMs)];
  const [epochBlocks, epochMs] = [BigInt(params.epochBlocks), BigInt(params.epochMs)];
  if (!params.mintFreely && (blocks < 2n * epochBlocks || ms < 2n * epochMs)) {
    const two = `${2n * epochBlocks} blocks and ${2n * epochMs} ms`;
    throw new Refused("G3", `withdrawn stake is free after ${blocks} blocks and ${ms} ms, two epochs are ${two}`);
  }
  if (ms > MAX_UNBONDING_EPOCHS * (epochMs > 1n ? epochMs : 1n)) {
    throw new Refused("G3", `withdrawn stake is free after ${ms} ms, more than ${MAX_UNBONDING_EPOCHS} epochs`);
  }
}

/** At least one voter of the old ledger signed this very genesis, which begins after the block that it goes on from. */
function* checkContinuation(genesis) {
  const { voters, consents, timestampMs } = genesis.continues;
  const [keys, signers] = [voters.map((one) => one.key), consents.map(([key]) => key)];
  for (const [ordered, who] of [[keys, "voters of the old ledger"], [signers, "those who sign the continuation"]]) {
    if (!areAscending(ordered)) {
      throw new Refused("G5", `${who} must be distinct and in ascending order of their keys`);
    }
  }
  for (const key of keys) {
    checkPublicKey(key);
    yield;
  }
  const total = voters.reduce((sum, one) => sum + BigInt(one.stake), 0n);
  if (total > MAX_TOKENS) {
    throw new Refused("G5", `${total} tokens at stake on the old ledger, ${MAX_TOKENS} allowed`);
  }
  if (genesis.createdMs < timestampMs) {
    throw new Refused("G5", "the ledger begins before the block that it goes on from");
  }
  if (signers.length === 0) throw new Refused("G5", "nobody of the old ledger signed the continuation");
  const message = domainBytes("continuation", genesis.continues.ledgerId, withoutConsents(genesis));
  for (const [key, signature] of consents) {
    const short = toHex(key).slice(0, 16);
    if (!keys.some((one) => sameBytes(one, key))) throw new Refused("G5", `${short}… had no stake on the old ledger`);
    if (!isSigned(message, signature, key)) {
      throw new Refused("G5", `the consent of ${short}… is not to this genesis, or not its own`);
    }
    yield;
  }
}

/** The genesis's encoding with no consents: they are the last field of its last field. */
function withoutConsents(genesis) {
  const count = genesis.continues.consents.length;
  const size = (count < 16 ? 1 : 3) + count * CONSENT_BYTES;
  return joinBytes(genesis.encoded.subarray(0, -size), EMPTY_ARRAY);
}
