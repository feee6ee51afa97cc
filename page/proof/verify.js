/**
 * Verifies a proof offline: `verifyInSteps` is the list of checks, in the order and by the numbers of docs/proofs.md;
 * `proof/verify.py`.
 */

import { sameBytes, toHex } from "./bytes.js";
import { certificateId, checkDocument, checkSigned, fileStatementIn, isStatement } from "./certificate.js";
import { timesTold, uncheckedMlDsa } from "./checkpoint.js";
import { NotProven, expectSame, inStep } from "./errors.js";
import { ledgerIdOf } from "./genesis.js";
import { provenHeadInSteps } from "./head.js";
import { blockHash, rootsHash } from "./members.js";
import { EMPTY_ROOT, leafHash, rootFromPath } from "./merkle.js";
import { isDomain } from "./structs.js";
import { provenKey, provenOrganisation, provenStatus, provenVoters, validityAt } from "./validity.js";

const NO_PROOF_OF_ORGANISATION = { leafKey: null, leafValue: null, path: [] };

/**
 * What the proof proves to this verifier, in steps. Throws `NotProven` with the number of the first check that fails.
 *
 * Nothing in `extra` counts before it is bound to the final header, or to the leaf in that header's log.
 *
 * @param {any} bundle of `readBundleInSteps`
 * @param {{nowMs: number, ledgerId: Uint8Array | null, anchors: any[], policy: any, document: any,
 *   issuer: string | null, atMs: number | null, freshMs: number | null}} demand whom the verifier trusts, and what it
 *   asks for; without ledger and policy it trusts nobody
 */
export function* verifyInSteps(bundle, demand) {
  const { proof, checkpoint, extra } = bundle;
  const { genesis, header, certificate, ofMembers } = extra;
  // P3 to P7: the ledger is trusted, its members are followed, and countersigned the checkpoint of a final header.
  const head = { ...extra, handOver: bundle.handOver, note: proof.checkpoint };
  const { voters, cosigners, changes } = yield* provenHeadInSteps(head, demand);
  // P8: the certificate is the leaf at its index in that log.
  const leaf = leafHash(certificate.encoded);
  const root = inStep("P8", "path of the certificate", () =>
    rootFromPath(leaf, proof.logIndex, checkpoint.size, proof.path),
  );
  expectSame("P8", "root of the log, by the certificate's path", checkpoint.root, root);
  // C1: its issuer signed it.
  inStep("C1", "certificate", () => checkSigned(certificate, ledgerIdOf(genesis)));
  // P9: it entered the log with this block.
  const block = checkEntrance(extra, proof.logIndex);
  // P10: it is about the document at hand.
  inStep("P10", "payload", () => checkDocument(certificate, bundle.payload, demand.document));
  // T1: the directory says whose the issuer's key was; with the status trie, whether the certificate is valid.
  const [keyEntry, organisation] = issuerOf(extra, proof.logIndex);
  const { holders, mlDsa } = inStep("T1", "directory", () =>
    provenVoters(extra.cosigners, voters.members.map(([key]) => key), ofMembers.directory),
  );
  const held = new Map([...genesis.founders.map((one) => [toHex(one.key), one.organisation]), ...holders]);
  // P15: signatures by the ML-DSA keys of voters, which the directory names, are formed well; told as not verified.
  const unchecked = inStep("P15", "checkpoint", () => uncheckedMlDsa(proof.checkpoint, checkpoint.origin, mlDsa));
  const { finalS, statusS } = timesTold(cosigners, voters.total);
  const laterS = demand.anchors.filter((one) => one.index > header.index).map((one) => secondsOf(one.timestampMs));
  const verdict = {
    genesis,
    certificate,
    logIndex: proof.logIndex,
    block,
    header,
    hasDirectory: !sameBytes(ofMembers.directory, EMPTY_ROOT),
    payload: bundle.payload,
    document: fileStatementIn(bundle.payload),
    isContentGone: bundle.payload === null && certificate.payloadHash !== null,
    keyEntry,
    organisation,
    validity: statedValidity(extra, block, proof.logIndex, keyEntry, demand.atMs ?? header.timestampMs),
    cosigners: cosigners.map((one) => ({ ...one, organisation: held.get(toHex(one.key)) ?? null })),
    uncheckedMlDsa: unchecked,
    totalStake: voters.total,
    finalS,
    statusS: laterS.reduce((least, one) => (one < least ? one : least), statusS),
    changes,
    isOlder: laterS.length > 0,
    anchor: {
      ledgerId: ledgerIdOf(genesis),
      epoch: voters.number,
      voters: voters.members,
      index: header.index,
      blockHash: blockHash(header),
      timestampMs: header.timestampMs,
    },
  };
  // What the verifier asks of it: the issuer (P11), valid (P12), known as of a time that is late enough (P13).
  try {
    checkIssuer(verdict, demand.issuer);
    checkValid(verdict, demand);
  } catch (error) {
    if (error instanceof NotProven) error.verdict = verdict;
    throw error;
  }
  return verdict;
}

/** The header of the block with which the certificate entered the log. */
function checkEntrance(extra, logIndex) {
  const { entrance, header: tip } = extra;
  const [block, log] = [entrance.header ?? tip, entrance.log ?? extra.log];
  if (entrance.header === null) {
    expectSame("P9", "path of the checkpoint's own block", 0, entrance.path.length);
  } else {
    const root = inStep("P9", `path of block ${block.index}`, () =>
      rootFromPath(leafHash(block.encoded), block.index, tip.index, entrance.path),
    );
    expectSame("P9", "root of the headers, by the block's path", extra.log.headersRoot, root);
  }
  expectSame("P9", `state root of block ${block.index}`, block.stateRoot, rootsHash(log));
  expectSame("P9", `block before block ${block.index}`, block.parentHash, blockHash(entrance.parent));
  expectSame("P9", "its state root", entrance.parent.stateRoot, rootsHash(entrance.parentLog));
  const first = entrance.parentLog.logSize;
  if (!(first <= logIndex && logIndex < log.logSize)) {
    throw new NotProven("P9", `log index in block ${block.index}`, `${first} to ${log.logSize - 1}`, logIndex);
  }
  return block;
}

/** The entry of the issuer's key, and the organisation that had the key when the certificate entered the log. */
function issuerOf(extra, logIndex) {
  const root = extra.ofMembers.directory;
  return inStep("T1", "directory", () => {
    const entry = provenKey(extra.issuer, extra.certificate.issuer, root);
    if (entry === null || entry.since > logIndex) return [null, null];
    const proof = extra.organisation ?? NO_PROOF_OF_ORGANISATION;
    return [entry, provenOrganisation(proof, entry.organisation, root)];
  });
}

function statedValidity(extra, block, logIndex, keyEntry, atMs) {
  if (!isStatement(extra.certificate)) return null;
  const id = certificateId(extra.certificate);
  const found = inStep("T1", "status", () => provenStatus(extra.status, id, extra.ofMembers.status));
  return validityAt({ logIndex, timestampMs: block.timestampMs }, keyEntry, found, atMs);
}

/** A key that is in no organisation, or had ended, counts where there are organisations only if it is asked for. */
function checkIssuer(verdict, asked) {
  const [key, by] = [toHex(verdict.certificate.issuer), verdict.organisation];
  if (asked === key) return;
  const hasEnded = verdict.validity !== null && verdict.validity.key === "ended_before";
  if (by === null || hasEnded) {
    if (asked === null && !verdict.hasDirectory) return;
    const whose = hasEnded ? "had ended" : "was of no organisation";
    throw new NotProven("P11", `the issuer's key ${key} ${whose}: it counts only if the verifier names it`);
  }
  if (asked === null) return;
  const domain = asked.toLowerCase();
  const isIt = isDomain(domain) ? by.domain === domain : asked === by.id || asked === by.title;
  if (!isIt) throw new NotProven("P11", "issuer", asked, by.id);
}

function checkValid(verdict, demand) {
  const { validity, header } = verdict;
  const { atMs, freshMs } = demand;
  const statusMs = 1000n * verdict.statusS;
  const isBefore = atMs !== null && atMs < verdict.block.timestampMs;
  const state = isBefore ? "not_yet" : (validity?.state ?? "valid");
  if (state !== "valid") throw new NotProven("P12", "the certificate", "valid", state);
  if (atMs !== null && atMs > statusMs && atMs > header.timestampMs) {
    throw new NotProven("P13", "time of the status (ms)", `${atMs} or later`, statusMs);
  }
  if (freshMs === null) return;
  const ageMs = BigInt(demand.nowMs) - statusMs;
  if (ageMs > freshMs || -ageMs > freshMs) { // nor far ahead of the clock
    throw new NotProven("P13", "age of the status (ms)", `at most ${freshMs}`, ageMs);
  }
}

function secondsOf(ms) {
  return BigInt(Math.floor(ms / 1000));
}
