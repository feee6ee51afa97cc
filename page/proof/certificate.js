/** Certificates, payloads and what they say of files; `ledger/certificate.py`, `ledger/file_statement.py`. */

import { joinBytes, sameBytes, toHex, utf8 } from "./bytes.js";
import { isSigned } from "./ed25519.js";
import { NotProven, Refused, expectSame } from "./errors.js";
import { sha256Of } from "./hash.js";
import { decodeAs, encodeValue } from "./msgpack.js";
import { FILE_STATEMENT } from "./structs.js";

/** The word for each kind, by its tag. */
const KIND_WORDS = {
  1: "statement",
  2: "stake",
  3: "evidence",
  4: "evidence",
  5: "motion",
  6: "approval",
  7: "objection",
  8: "key_change",
  9: "revocation",
  10: "supersession",
  11: "erasure",
  12: "erasure_confirmation",
};
const FILE_MEDIA_TYPE = "application/vnd.tallystick.file";
const MAX_FILE_STATEMENT_BYTES = 8 * 1024;
const NULLIFY = 2;
const FINALIZE = 3;
/** A signature as the last field of an array: MessagePack `bin8`, its length, 64 bytes. */
const SIGNATURE_FIELD_BYTES = 66;
const UNSIGNED = new Uint8Array(64);
const LACKING_CONTENT = "its content is not in this proof: erased, or left out (FILE.payload)";

/** The certificate's kind, in a word. */
export function kindOf(certificate) {
  return KIND_WORDS[certificate.tag];
}

/** Whether it is a statement: only these are about files, and have a status. */
export function isStatement(certificate) {
  return certificate.tag === 1;
}

/** Hash of all but the signature (32 bytes). */
export function certificateId(certificate) {
  return sha256Of(certificateBody(certificate));
}

function certificateBody(certificate) {
  return certificate.encoded.subarray(0, -SIGNATURE_FIELD_BYTES);
}

/** The message under a signature: domain, ledger id (32 bytes), body. @param {string} domain without its version */
export function domainBytes(domain, ledgerId, body) {
  return joinBytes(utf8(`tallystick.${domain}.v1\x00`), ledgerId, body);
}

/**
 * Throw `Refused` (C1) unless its issuer signed it, and (D3) the key that it brings its own admission. Evidence (V3;
 * V1, B10, B3) has to show two votes, or headers, that no honest member signs both, each well signed.
 */
export function checkSigned(certificate, ledgerId) {
  const signed = domainBytes("certificate", ledgerId, certificateBody(certificate));
  if (!isSigned(signed, certificate.signature, certificate.issuer)) {
    const id = toHex(certificateId(certificate)).slice(0, 16);
    throw new Refused("C1", `certificate ${id}…: the signature is not its issuer's`);
  }
  const word = kindOf(certificate);
  if (certificate.tag === 3) checkVoteEvidence(certificate, ledgerId);
  else if (certificate.tag === 4) checkProposalEvidence(certificate, ledgerId);
  else if (word === "motion") checkAdmission(admissionOfChange(certificate.change), ledgerId);
  else if (word === "key_change") checkAdmission(admissionOfOperation(certificate.operation), ledgerId);
}

function checkVoteEvidence({ first, second }, ledgerId) {
  if (!sameBytes(first.member, second.member) || !doBallotsConflict(first.ballot, second.ballot)) {
    throw new Refused("V3", "an honest member may sign both of these votes");
  }
  for (const vote of [first, second]) {
    if (!isSigned(domainBytes("vote", ledgerId, vote.ballot.encoded), vote.signature, vote.member)) {
      throw new Refused("V1", "a vote in the evidence is not signed by its member");
    }
  }
}

function doBallotsConflict(one, other) {
  if (one.epoch !== other.epoch || one.view !== other.view) return false;
  if (one.kind === other.kind) return !sameBytes(one.blockHash, other.blockHash);
  return [one.kind, other.kind].includes(NULLIFY) && [one.kind, other.kind].includes(FINALIZE);
}

function checkProposalEvidence({ first, second }, ledgerId) {
  const [one, other] = [first.header, second.header];
  const isOneView = sameBytes(one.forger, other.forger) && one.epoch === other.epoch && one.view === other.view;
  if (!isOneView || sameBytes(one.encoded, other.encoded)) {
    throw new Refused("V3", "an honest forger may sign both of these headers");
  }
  for (const { header, signature } of [first, second]) {
    if (!sameBytes(header.ledgerId, ledgerId)) {
      const [named, here] = [header.ledgerId, ledgerId].map((id) => toHex(id).slice(0, 16));
      throw new Refused("B10", `ledger ${named}…, this is ${here}…`);
    }
    if (!isSigned(domainBytes("block", header.ledgerId, header.encoded), signature, header.forger)) {
      throw new Refused("B3", `block ${header.index}: the signature is not its forger's`);
    }
  }
}

/** The admission of the key that a motion brings, if it brings one: by the change's tag. */
function admissionOfChange(change) {
  if (change.tag === 1) return { ...change };
  if (change.tag === 4 || (change.tag === 5 && change.after !== null)) {
    return { organisation: change.organisation, key: change.after, admitted: change.admitted ?? UNSIGNED };
  }
  return null;
}

function admissionOfOperation(operation) {
  if (operation.tag === 1) return { ...operation };
  if (operation.tag === 3) return { ...operation, key: operation.after };
  return null;
}

function checkAdmission(admission, ledgerId) {
  if (admission === null) return;
  const { organisation, key, admitted } = admission;
  if (!isSigned(domainBytes("admission", ledgerId, encodeValue(organisation)), admitted, key)) {
    throw new Refused("D3", `${toHex(key).slice(0, 16)}… did not sign its admission to ${organisation}`);
  }
}

/** What a payload states about a file; `null`: it is about something else, or badly written. */
export function fileStatementIn(payload) {
  if (payload === null || payload.mediaType !== FILE_MEDIA_TYPE) return null;
  try {
    return decodeAs(FILE_STATEMENT, MAX_FILE_STATEMENT_BYTES, "file statement", payload.content);
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/**
 * Throw `Refused` (P10; C3) unless the payload is the certificate's, and states this document, if there is one.
 * @param {{sizeBytes: number, sha256: Uint8Array} | null} document
 */
export function checkDocument(certificate, payload, document) {
  if (payload !== null) {
    if (certificate.payloadHash === null) throw new Refused("C3", "the certificate covers no payload");
    if (!sameBytes(sha256Of(payload.encoded), certificate.payloadHash)) {
      throw new Refused("C3", "the payload's hash is not the one in the certificate");
    }
  }
  if (document === null) return;
  if (!isStatement(certificate)) {
    const kind = kindOf(certificate);
    throw new NotProven("P10", `the certificate is no statement about a file: its kind is ${kind}`);
  }
  if (payload === null && certificate.payloadHash !== null) {
    throw new NotProven("P10", `${LACKING_CONTENT}; nobody can tell from it which document it was about`);
  }
  const stated = fileStatementIn(payload);
  if (stated === null) throw new NotProven("P10", "the certificate is about no file");
  expectSame("P10", "SHA-256 of the document", stated.sha256, document.sha256);
  expectSame("P10", "size of the document in bytes", stated.sizeBytes, document.sizeBytes);
}
