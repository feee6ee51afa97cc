/** The structs that stand in a proof, field by field (docs/protocol.md; `ledger/*.py`, `ledger/bundle.py`). */

import { BOOLEAN, MAX_EXACT, bytesOf, integerOf, textOf } from "./msgpack.js";
import { listOf, optional, structOf, taggedOf, tupleOf } from "./msgpack.js";

/** Most founders, allotments, voters and votes. */
const MAX_MEMBERS = 4_096;
const MAX_OLD_VOTERS = 1_024;
const MAX_BLOCK_CERTIFICATES = 8_192;
const MAX_PAYLOAD_CONTENT = 64 * 1024;
const MAX_STEPS = 8_192;
const MAX_FOLLOWING = 64;
const MAX_PATH_HASHES = 63;

export const ML_DSA_KEY_BYTES = 1_312;

const NO_CONTROLS = /^[^\x00-\x1f\x7f-\x9f]*$/u;
const WEB_DOMAIN = /^[a-z0-9-]+(\.[a-z0-9-]+)+$/;

/** Whether a text has the form of a web domain: names of other kinds are not looked for in its place. */
export function isDomain(text) {
  return WEB_DOMAIN.test(text);
}

export const DIGEST = bytesOf(32, 32);
const PUBLIC_KEY = DIGEST;
const SIGNATURE = bytesOf(64, 64);
const VERSION = integerOf(1, 255);
export const INDEX = integerOf(0, MAX_EXACT);
const NONCE = integerOf(0, 2n ** 63n - 1n);
const TOKENS = INDEX;
const MILLISECONDS = INDEX;
const STAKE = integerOf(1, MAX_EXACT);
const SUBJECT = textOf(0, 256, NO_CONTROLS);
const ORGANISATION_ID = textOf(0, 40, /^[a-z0-9][a-z0-9-]*$/);
const TITLE = textOf(1, 64, NO_CONTROLS);
const SHORT_NAME = textOf(1, 40, /^[a-z0-9.-]+$/);
const DOMAIN = textOf(0, 253, WEB_DOMAIN);
const LABEL = textOf(0, 64, NO_CONTROLS);
const MEMBER_ROLE = integerOf(1, 2);
/** A public key of ML-DSA-44. */
const ML_DSA_KEY = bytesOf(ML_DSA_KEY_BYTES, ML_DSA_KEY_BYTES);
const REASON = integerOf(0, 5);

// ---- blocks and votes -----------------------------------------------------------------------------------------

export const HEADER = structOf(
  [
    ["version", VERSION],
    ["ledgerId", DIGEST],
    ["epoch", INDEX],
    ["index", INDEX],
    ["view", INDEX],
    ["parentHash", DIGEST],
    ["timestampMs", MILLISECONDS],
    ["forger", PUBLIC_KEY],
    ["certificatesHash", DIGEST],
    ["stateRoot", DIGEST],
    ["nonce", NONCE],
  ],
  1,
);
const SIGNED_HEADER = structOf([["header", HEADER], ["signature", SIGNATURE]]);
const BALLOT = structOf([["kind", integerOf(1, 3)], ["epoch", INDEX], ["view", INDEX], ["blockHash", DIGEST]]);
const VOTE = structOf([["ballot", BALLOT], ["member", PUBLIC_KEY], ["signature", SIGNATURE]], 1);

/** A state root opened as far as the log: the root is the hash of these. */
export const LOG_ROOTS = structOf([
  ["logSize", INDEX],
  ["logRoot", DIGEST],
  ["headersRoot", DIGEST],
  ["membersHash", DIGEST],
]);
/** The next part of a state root, opened. */
export const MEMBER_ROOTS = structOf([
  ["voters", DIGEST],
  ["nextVoters", DIGEST],
  ["directory", DIGEST],
  ["status", DIGEST],
  ["restHash", DIGEST],
]);
const TRIE_PROOF = structOf(
  [
    ["leafKey", optional(DIGEST)],
    ["leafValue", optional(bytesOf(0, Infinity))],
    ["path", listOf(tupleOf(integerOf(0, 255), DIGEST), 0, 256)],
  ],
  1,
);

// ---- what changes a ledger ------------------------------------------------------------------------------------

const STAKE_CHANGE = structOf([["organisation", ORGANISATION_ID], ["before", TOKENS], ["after", TOKENS]]);
const CHANGE = taggedOf({
  1: structOf([
    ["organisation", ORGANISATION_ID],
    ["title", TITLE],
    ["domain", optional(DOMAIN)],
    ["key", PUBLIC_KEY],
    ["role", MEMBER_ROLE],
    ["stake", TOKENS],
    ["admitted", SIGNATURE],
  ]),
  2: structOf([["organisation", ORGANISATION_ID], ["stake", TOKENS]]),
  3: structOf([["stakes", listOf(STAKE_CHANGE, 1, 16)]]),
  4: structOf([
    ["organisation", ORGANISATION_ID],
    ["before", PUBLIC_KEY],
    ["after", PUBLIC_KEY],
    ["compromisedSince", optional(INDEX)],
    ["admitted", SIGNATURE],
  ]),
  5: structOf([
    ["organisation", ORGANISATION_ID],
    ["before", optional(PUBLIC_KEY)],
    ["after", optional(PUBLIC_KEY)],
    ["admitted", optional(SIGNATURE)],
  ]),
  6: structOf([
    ["organisation", ORGANISATION_ID],
    ["titleBefore", TITLE],
    ["title", TITLE],
    ["domainBefore", optional(DOMAIN)],
    ["domain", optional(DOMAIN)],
  ]),
  7: structOf([["parameter", textOf(0, 64)], ["before", optional(MILLISECONDS)], ["after", MILLISECONDS]]),
  8: structOf(
    [["target", DIGEST], ["effect", integerOf(1, 3)], ["reason", REASON], ["successor", optional(DIGEST)]],
    1,
  ),
  9: structOf([["organisation", ORGANISATION_ID], ["key", PUBLIC_KEY]]),
  10: structOf([["target", DIGEST]]),
  11: structOf([["key", PUBLIC_KEY], ["before", optional(INDEX)], ["since", INDEX]]),
});
const KEY_OPERATION = taggedOf({
  1: structOf([
    ["organisation", ORGANISATION_ID],
    ["key", PUBLIC_KEY],
    ["label", LABEL],
    ["untilMs", optional(MILLISECONDS)],
    ["admitted", SIGNATURE],
  ]),
  2: structOf([["key", PUBLIC_KEY], ["compromisedSince", optional(INDEX)]]),
  3: structOf([
    ["organisation", ORGANISATION_ID],
    ["before", PUBLIC_KEY],
    ["after", PUBLIC_KEY],
    ["compromisedSince", optional(INDEX)],
    ["admitted", SIGNATURE],
  ]),
  4: structOf([["key", PUBLIC_KEY], ["role", MEMBER_ROLE]]),
  5: structOf([["member", PUBLIC_KEY], ["key", optional(ML_DSA_KEY)]]),
});

// ---- certificates ---------------------------------------------------------------------------------------------

function certificateOf(...own) {
  const common = [
    ["issuer", PUBLIC_KEY],
    ["timestampMs", MILLISECONDS],
    ["subject", SUBJECT],
    ["payloadHash", optional(DIGEST)],
  ];
  return structOf([...common, ...own, ["signature", SIGNATURE]], 1);
}

/** All kinds; the tag is the kind's number. */
export const CERTIFICATE = taggedOf({
  1: certificateOf(),
  2: certificateOf(["amount", integerOf(-MAX_EXACT, MAX_EXACT)]),
  3: certificateOf(["first", VOTE], ["second", VOTE]),
  4: certificateOf(["first", SIGNED_HEADER], ["second", SIGNED_HEADER]),
  5: certificateOf(["change", CHANGE], ["expiresMs", MILLISECONDS]),
  6: certificateOf(["motion", DIGEST]),
  7: certificateOf(["motion", DIGEST]),
  8: certificateOf(["operation", KEY_OPERATION]),
  9: certificateOf(["target", DIGEST], ["effect", integerOf(2, 3)], ["reason", REASON]),
  10: certificateOf(["target", DIGEST], ["successor", DIGEST]),
  11: certificateOf(["target", DIGEST]),
  12: certificateOf(["order", DIGEST], ["target", DIGEST]),
});
export const PAYLOAD = structOf([
  ["salt", DIGEST],
  ["subject", SUBJECT],
  ["mediaType", textOf(0, 128, NO_CONTROLS)],
  ["content", bytesOf(0, MAX_PAYLOAD_CONTENT)],
]);
export const FILE_STATEMENT = structOf(
  [
    ["name", textOf(1, 255, NO_CONTROLS)],
    ["sizeBytes", STAKE],
    ["sha256", DIGEST],
    ["note", textOf(0, 1024, NO_CONTROLS)],
  ],
  1,
);

// ---- genesis and directory ------------------------------------------------------------------------------------

const COUNT = integerOf(1, MAX_BLOCK_CERTIFICATES);
const PARAMS = structOf(
  [
    ["forgeAtCertificates", COUNT],
    ["minBlockCertificates", integerOf(0, 1)],
    ["maxBlockCertificates", COUNT],
    ["certificateAheadMs", optional(MILLISECONDS)],
    ["blockAheadMs", optional(MILLISECONDS)],
    ["epochBlocks", STAKE],
    ["epochMs", MILLISECONDS],
    ["unbondingBlocks", integerOf(0, 65_536)],
    ["unbondingMs", MILLISECONDS],
    ["deltaMs", STAKE],
    ["mintFreely", BOOLEAN],
    ["admitsObservers", BOOLEAN],
    ["anybodyCertifies", BOOLEAN],
    ["rotationDelayMs", integerOf(0, 30 * 86_400_000)],
  ],
  14,
);
const OLD_VOTER = structOf([["key", PUBLIC_KEY], ["stake", STAKE], ["organisation", optional(ORGANISATION_ID)]]);
const CONTINUATION = structOf(
  [
    ["ledgerId", DIGEST],
    ["name", TITLE],
    ["index", STAKE],
    ["blockHash", DIGEST],
    ["timestampMs", MILLISECONDS],
    ["logSize", INDEX],
    ["logRoot", DIGEST],
    ["voters", listOf(OLD_VOTER, 1, MAX_OLD_VOTERS)],
    ["consents", listOf(tupleOf(PUBLIC_KEY, SIGNATURE), 0, MAX_OLD_VOTERS)],
  ],
  1,
);
const ALLOTMENT = structOf([["member", PUBLIC_KEY], ["free", TOKENS], ["staked", TOKENS]]);
const FOUNDER = structOf([
  ["organisation", ORGANISATION_ID],
  ["title", TITLE],
  ["domain", optional(DOMAIN)],
  ["key", PUBLIC_KEY],
  ["role", MEMBER_ROLE],
  ["stake", TOKENS],
]);
export const GENESIS = structOf(
  [
    ["version", VERSION],
    ["name", TITLE],
    ["shortName", SHORT_NAME],
    ["createdMs", MILLISECONDS],
    ["params", PARAMS],
    ["allotments", listOf(ALLOTMENT, 0, MAX_MEMBERS)],
    ["founders", listOf(FOUNDER, 0, MAX_MEMBERS)],
    ["continues", optional(CONTINUATION)],
  ],
  2,
);
export const KEY_ENTRY = structOf(
  [
    ["organisation", ORGANISATION_ID],
    ["role", integerOf(1, 4)],
    ["label", LABEL],
    ["since", INDEX],
    ["until", optional(INDEX)],
    ["untilMs", optional(MILLISECONDS)],
    ["compromisedSince", optional(INDEX)],
    ["successor", optional(PUBLIC_KEY)],
  ],
  4,
);
export const ML_DSA_ENTRY = structOf([
  ["organisation", ORGANISATION_ID],
  ["key", optional(ML_DSA_KEY)],
  ["since", INDEX],
]);
const ROTATION = structOf([["key", PUBLIC_KEY], ["dueMs", MILLISECONDS], ["compromisedSince", optional(INDEX)]]);
const ANY_INTEGER = integerOf(-(2n ** 63n), 2n ** 64n - 1n);
export const ORGANISATION = structOf(
  [
    ["id", ORGANISATION_ID],
    ["title", TITLE],
    ["domain", optional(DOMAIN)],
    ["memberKey", optional(PUBLIC_KEY)],
    ["organisationKey", optional(PUBLIC_KEY)],
    ["rotation", optional(ROTATION)],
    ["liveKeys", ANY_INTEGER],
    ["changes", tupleOf(INDEX, INDEX)],
    ["rotatedMs", optional(MILLISECONDS)],
  ],
  5,
);

// ---- the proof's own part -------------------------------------------------------------------------------------

const VOTERS = listOf(tupleOf(INDEX, STAKE), 1, MAX_MEMBERS);
export const FINAL_VOTES = structOf([["view", INDEX], ["signatures", listOf(tupleOf(INDEX, SIGNATURE), 1, MAX_MEMBERS)]]);
const STEP = structOf([
  ["header", HEADER],
  ["votes", FINAL_VOTES],
  ["log", LOG_ROOTS],
  ["ofMembers", MEMBER_ROOTS],
  ["voters", optional(VOTERS)],
  ["nextVoters", optional(VOTERS)],
]);
/** How the members of the checkpoint's epoch follow from those of an earlier one. */
export const HAND_OVER = structOf([
  ["since", INDEX],
  ["first", optional(VOTERS)],
  ["keys", listOf(PUBLIC_KEY, 0, MAX_STEPS * 16)],
  ["steps", listOf(STEP, 0, MAX_STEPS)],
  ["voters", optional(VOTERS)],
]);
const ENTRANCE = structOf([
  ["header", optional(HEADER)],
  ["log", optional(LOG_ROOTS)],
  ["path", listOf(DIGEST, 0, MAX_PATH_HASHES)],
  ["parent", HEADER],
  ["parentLog", LOG_ROOTS],
]);
/** The line `extra` of a proof. */
export const PROOF_EXTRA = structOf([
  ["version", VERSION],
  ["genesis", GENESIS],
  ["certificate", CERTIFICATE],
  ["payload", optional(PAYLOAD)],
  ["header", HEADER],
  ["votes", FINAL_VOTES],
  ["following", listOf(HEADER, 0, MAX_FOLLOWING)],
  ["handOver", optional(HAND_OVER)],
  ["log", LOG_ROOTS],
  ["ofMembers", MEMBER_ROOTS],
  ["entrance", ENTRANCE],
  ["status", TRIE_PROOF],
  ["issuer", TRIE_PROOF],
  ["organisation", optional(TRIE_PROOF)],
  ["cosigners", listOf(TRIE_PROOF, 0, MAX_MEMBERS)],
]);
/** The newest header of a ledger that a verifier has verified, and who voted in its epoch. */
export const ANCHOR = structOf([
  ["ledgerId", DIGEST],
  ["epoch", INDEX],
  ["voters", listOf(tupleOf(PUBLIC_KEY, STAKE), 0, MAX_MEMBERS)],
  ["index", INDEX],
  ["blockHash", DIGEST],
  ["timestampMs", MILLISECONDS],
]);
