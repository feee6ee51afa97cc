/** Puts what a proof claims, proves and fails by into the views of `verify --json`; `api/{proven,proof_views}.py`. */

import { grouped, plainNumber, readUtf8Leniently, toHex } from "./bytes.js";
import { certificateId, fileStatementIn, isStatement, kindOf } from "./certificate.js";
import { Conflict, NotProven, RULE_TITLES, valueInWords } from "./errors.js";
import { ledgerIdOf } from "./genesis.js";
import { reasonOf } from "./validity.js";

const MOST_TEXT_BYTES = 1024;
const EXIT_CODES = { P1: 11, P2: 11, P3: 10, P10: 13, P11: 14, P12: 15, P13: 16 };
const NOT_PROVEN = 12;
const RESULT_WORDS = {
  0: "verified",
  10: "not_trusted",
  11: "no_proof",
  12: "not_proven",
  13: "other_document",
  14: "other_issuer",
  15: "not_valid",
  16: "not_fresh",
};
const ADVICE = {
  10:
    "get the ledger's id from one of its members, on another way than with this file, and compare all of it:" +
    " tallystick trust add LEDGER-ID",
  11: "ask whoever gave you the file for its proof, or make one at a node: tallystick prove",
  12: "do not rely on it; ask for the proof anew, from another source",
  13: "compare with the file that was certified: one changed byte makes it another document",
  14: "ask whom you expected; name a key only if you know whose it is",
  15: "ask its issuer what stands in its place",
  16: "ask for a newer proof: tallystick prove at a node, or name one that answers with --online URL",
};
const ADVICE_FOR_LACKING =
  "ask whoever gave you the proof for FILE.payload, which belongs beside it; if its content was erased, nobody has it";
const ADVICE_FOR_CONFLICT =
  "members of this ledger signed two histories, or their keys were stolen: show both to its members";
const ADVICE_FOR_MIXED =
  "do not rely on it; if .members beside it was made for another proof, of this file, too, make it anew:" +
  " tallystick prove";
const ADVICE_FOR_NOT_YET = "it became final later than the time asked for: name a later one with --at";
const KEY_STATE_WORDS = {
  ended_after: "its issuer's key ended later",
  ended_before: "its issuer's key had ended before",
  compromised_after: "its issuer's key was compromised later",
  compromised_before: "its issuer's key was compromised by then",
};

/** What `verify` ends with: the exit code and its word. @param {any} failed `Refused`, or `null`: it is verified */
export function resultOf(failed) {
  const code = failed === null ? 0 : (EXIT_CODES[failed.rule] ?? NOT_PROVEN);
  return { exit_code: code, result: RESULT_WORDS[code] };
}

/** Which check failed, and what to do. @param {any} failed `Refused` @param {any} bundle `null`: it cannot be read */
export function failureView(failed, bundle) {
  const isCompared = failed instanceof NotProven;
  return {
    rule: failed.rule,
    step: RULE_TITLES[failed.rule],
    reason: failed.reason,
    expected: isCompared && failed.expected !== null ? valueInWords(failed.expected) : null,
    found: isCompared && failed.found !== null ? valueInWords(failed.found) : null,
    advice: adviceFor(failed, bundle),
  };
}

function adviceFor(failed, bundle) {
  if (failed instanceof NotProven && failed.found === "not_yet") return ADVICE_FOR_NOT_YET;
  if (bundle !== null) {
    const lacksPayload = bundle.payload === null && bundle.extra.certificate.payloadHash !== null;
    if (lacksPayload && failed.rule === "P10") return ADVICE_FOR_LACKING;
    if (failed instanceof Conflict) return ADVICE_FOR_CONFLICT;
    if (bundle.extra.handOver === null && (failed.rule === "P4" || failed.rule === "P5")) return ADVICE_FOR_MIXED;
  }
  return ADVICE[resultOf(failed).exit_code];
}

/** What a proof says, nothing of it checked. */
export function claimsView(bundle) {
  const { genesis, certificate } = bundle.extra;
  return {
    ledger_id: toHex(ledgerIdOf(genesis)),
    ledger: genesis.name,
    certificate: toHex(certificateId(certificate)),
    issuer: toHex(certificate.issuer),
    ...statedView(certificate, bundle.payload),
    claimed_ms: certificate.timestampMs,
  };
}

/** What a statement says: subject, document, media type and content. */
function statedView(certificate, payload) {
  const document = fileStatementIn(payload);
  const isText = payload !== null && document === null && payload.mediaType.startsWith("text/");
  return {
    subject: isStatement(certificate) ? certificate.subject || (payload?.subject ?? null) : null,
    document: document && {
      name: document.name,
      size_bytes: document.sizeBytes,
      sha256: toHex(document.sha256),
      note: document.note,
    },
    media_type: payload?.mediaType || null,
    content: isText && payload.content.length <= MOST_TEXT_BYTES ? readUtf8Leniently(payload.content) : null,
  };
}

/** What a proof proves. @param {any} verdict of `verifyInSteps` @param {any} question of `judge` */
export function provenView(verdict, question) {
  const { certificate, genesis, header, organisation, validity, keyEntry } = verdict;
  const asOfMs = header.timestampMs;
  const atMs = question.atMs ?? asOfMs;
  const cosignedStake = verdict.cosigners.reduce((sum, one) => sum + one.stake, 0n);
  return {
    ledger_id: toHex(ledgerIdOf(genesis)),
    ledger: genesis.name,
    trusted_by: question.trustedBy,
    known_as: question.localName,
    continues: genesis.continues && continuationView(genesis.continues),
    certificate: toHex(certificateId(certificate)),
    log_index: verdict.logIndex,
    kind: kindOf(certificate),
    issuer: {
      key: toHex(certificate.issuer),
      name: null,
      organisation: organisation?.id ?? null,
      title: organisation?.title ?? null,
      label: keyEntry?.label || null,
    },
    domain: organisation?.domain ?? null,
    ...statedView(certificate, verdict.payload),
    is_content_gone: verdict.isContentGone,
    claimed_ms: certificate.timestampMs,
    block: verdict.block.index,
    block_ms: verdict.block.timestampMs,
    final_ms: plainNumber(1000n * verdict.finalS + 999n),
    status_ms: plainNumber(1000n * verdict.statusS),
    checkpoint_block: header.index,
    cosigners: verdict.cosigners.map(cosignerView),
    cosigned_stake: plainNumber(cosignedStake),
    total_stake: plainNumber(verdict.totalStake),
    ml_dsa: { members: [], stake: 0, unchecked: verdict.uncheckedMlDsa.map(toHex) },
    changes: verdict.changes.map(changeView),
    validity: validity && validityView(validity, atMs, asOfMs),
    is_older: verdict.isOlder,
  };
}

function changeView({ epoch, joined, left }) {
  return { epoch, joined: joined.map(toHex), left: left.map(toHex) };
}

function cosignerView({ key, organisation, stake, timeS }) {
  return { key: toHex(key), organisation, stake: plainNumber(stake), time_ms: plainNumber(1000n * timeS) };
}

function validityView(validity, atMs, asOfMs) {
  const { entry, state, key } = validity;
  const reason = reasonOf(validity);
  const why = reason === null ? "" : ` (${reason.replaceAll("_", " ")})`;
  const ofKey = KEY_STATE_WORDS[key] === undefined ? "" : `; ${KEY_STATE_WORDS[key]}`;
  return {
    at_ms: atMs,
    as_of_ms: asOfMs,
    state,
    since_ms: validity.sinceMs,
    by: entry && toHex(entry.acting),
    by_log_index: entry && entry.logIndex,
    by_ms: entry && entry.timestampMs,
    successor: null,
    reason,
    key,
    key_since_log_index: validity.keySince,
    summary: state === "not_yet" ? "not yet final" : `${state}${why}${ofKey}`,
  };
}

function continuationView(said) {
  const signing = new Set(said.consents.map(([key]) => toHex(key)));
  const stakeOf = (voters) => voters.reduce((sum, one) => sum + BigInt(one.stake), 0n);
  const consenting = said.voters.filter((one) => signing.has(toHex(one.key)));
  const [signed, total] = [stakeOf(consenting), stakeOf(said.voters)];
  const members = said.voters.length === 1 ? "member" : "members";
  const who = `${grouped(consenting.length)} of ${grouped(said.voters.length)} ${members}`;
  const what = `${grouped(signed)} of ${grouped(total)} tokens at stake`;
  return {
    ledger_id: toHex(said.ledgerId),
    name: said.name,
    block_index: said.index,
    block_hash: toHex(said.blockHash),
    block_timestamp_ms: said.timestampMs,
    log_size: said.logSize,
    log_root: toHex(said.logRoot),
    members: said.voters.map(({ key, organisation, stake }) => ({
      key: toHex(key),
      organisation,
      stake,
      has_signed: signing.has(toHex(key)),
    })),
    stake_signed: plainNumber(signed),
    total_stake: plainNumber(total),
    summary: `continued by ${who} with ${what}, a decision outside the ledger`,
  };
}
