// What is said of a file, in plain words: the same as `tallystick verify` says (src/tallystick/cli/verify_words.py).
//
// Times and stakes may be numbers or, beyond 2^53, BigInts: all arithmetic is done in BigInts.

const SHORT_ID = 16;
const MOST_CHANGES = 8;
const DAY_MS = 86_400_000n;
const LAST_MS = 253_402_300_799_999n; // the end of the year 9999
const UNITS = [
  [86_400n, "d", 3_600n, "h"],
  [3_600n, "h", 60n, "min"],
  [60n, "min", 1n, "s"],
];
const LACKING = "its content is not in this proof: erased, or left out (FILE.payload)";
const STATEMENT = "statement";
const KINDS = {
  [STATEMENT]: "a certificate",
  stake: "a change of stake",
  evidence: "evidence against a member",
  motion: "a motion",
  approval: "an approval",
  objection: "an objection",
  key_change: "a change of keys",
  revocation: "a revocation",
  supersession: "a supersession",
  erasure: "an order to erase",
  erasure_confirmation: "the confirmation of an erasure",
};
const RESULTS = {
  verified: "verified",
  unreadable: "cannot be read",
  not_trusted: "ledger not trusted",
  no_proof: "no proof",
  not_proven: "not proven",
  other_document: "other document",
  other_issuer: "other issuer",
  not_valid: "not valid",
  not_fresh: "not fresh",
  certified_part: "only a part is certified",
};
const TRUSTED_BY = {
  kept: (proven) => `which you trust as ${proven.known_as}`,
  own_node: () => "which is that of your own node",
  continued: () => "which that of your own node goes on from",
  named: () => "which you named, and nothing is kept of",
  policy: () => "which you do not trust: by your policy alone",
};

export const CLAIMS_ARE_NOT_VERIFIED = "What the file claims, none of which is verified:";
export const PROVEN_ALL_THE_SAME = "What is proven of it all the same:";

/** What stands over what is proven of a file that is not verified. */
export function leadOf(one) {
  return one.result === "certified_part"
    ? `What is proven of its first ${count(one.size_bytes)} bytes:`
    : PROVEN_ALL_THE_SAME;
}

export const MARK_MEANS =
  "! a newer block of its ledger was verified here before, or the ledger says that it continues another; " +
  "verify the file alone to read which";

/**
 * All that is said of one file, in order: `headline` after its name; of a failure `check` and `advice`; then either
 * what is proven or what is claimed, as [label, text] pairs without empty ones; `warnings` come before what is proven.
 */
export function told(one, nowMs) {
  const { failure, proven, claims } = one;
  const said = {
    mark: failure === null ? "✓" : "×",
    headline: "",
    check: "",
    advice: "",
    warnings: [],
    proven: [],
    claims: [],
  };
  if (failure === null) {
    said.headline = headline(one, proven);
  } else {
    const whole = one.result === "certified_part" ? " as a whole" : "";
    if (whole) said.mark = "!";
    said.headline = ` is not verified${whole}: ${reasonOf(one, nowMs)}`;
    said.check = failure.rule ? `${failure.rule}, ${failure.step}` : "";
    said.advice = failure.advice;
  }
  if (proven !== null) {
    said.warnings = warningsOf(proven);
    said.proven = provenFields(one, proven, nowMs);
  } else if (claims !== null) {
    said.claims = claimFields(one, claims);
  }
  return said;
}

/** What a file came to, in the same few words wherever that is said: on its card, in its statement, read out. */
export function outcomeOf(one) {
  const verdict = verdictOf(one);
  if (one.failure === null) return verdict[0].toUpperCase() + verdict.slice(1);
  return one.result === "certified_part" ? `Not verified as a whole: ${verdict}` : `Not verified: ${verdict}`;
}

function verdictOf({ result, proven, failure, sha256 }) {
  if (proven === null || failure !== null) return RESULTS[result];
  const verdict = proven.kind === STATEMENT ? RESULTS[result] : `proves ${KINDS[proven.kind]}`;
  return sha256 !== null ? verdict : `${verdict}, no document`;
}

/** One line of many: the file, what it came to, by whom, and as of when. */
export function rowOf(one, nowMs) {
  const { proven, failure } = one;
  const verdict = verdictOf(one);
  return {
    File: one.path || one.name,
    Verdict: isMarked(one) ? `${verdict} !` : verdict,
    Issuer: proven ? proven.issuer.title || `${proven.issuer.key.slice(0, SHORT_ID)}…` : "",
    "Block time": proven ? utc(proven.block_ms).slice(0, 10) : "",
    "Status as of": proven
      ? `${utc(proven.status_ms).slice(0, 10)}, ${days(BigInt(nowMs) - BigInt(proven.status_ms))}`
      : "",
    Check: failure ? (failure.rule ?? "") : "",
  };
}

/** Whether there is a warning to it, which a line has no room for. */
export function isMarked(one) {
  return one.proven !== null && warningsOf(one.proven).length > 0;
}

/** A time for people, in UTC; what is beyond the calendar stays a number. */
export function utc(timestampMs) {
  const ms = BigInt(timestampMs);
  if (ms < 0n || ms > LAST_MS) return `${ms} ms after 1970`;
  return new Date(Number(ms)).toISOString().replace("T", " ").replace("Z", " UTC");
}

/** A count with commas. */
export function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** The count and the noun, in the plural unless there is one. */
export function many(number, what) {
  return BigInt(number) === 1n ? `${count(number)} ${what}` : `${count(number)} ${what}s`;
}

/** A span of time for people, in its largest units. */
export function lasting(durationMs) {
  const ms = BigInt(durationMs) < 0n ? 0n : BigInt(durationMs);
  const wholeS = ms / 1000n;
  for (const [unitS, unit, smallerS, smaller] of UNITS) {
    if (wholeS >= unitS) {
      const rest = (wholeS % unitS) / smallerS;
      return `${wholeS / unitS} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
    }
  }
  return ms < 10_000n ? `${tenths(Number(ms))} s` : `${wholeS} s`;
}

/** A part of a whole in per cent, rounded, halves to the even one. */
export function percent(part, whole) {
  const [hundred, all] = [100n * BigInt(part), BigInt(whole)];
  const [down, rest] = [hundred / all, hundred % all];
  const isUp = 2n * rest > all || (2n * rest === all && down % 2n === 1n);
  return String(isUp ? down + 1n : down);
}

function tenths(ms) {
  // Of 0.25 and its like both neighbours are as near: the even one is taken.
  return ms % 1000 === 250 ? `${Math.floor(ms / 1000)}.2` : (ms / 1000).toFixed(1);
}

function headline(one, proven) {
  const by = issuedBy(proven);
  if (one.sha256 !== null && proven.kind === STATEMENT) return ` is certified by ${by}`;
  if (proven.is_content_gone) return `: ${KINDS[proven.kind]} by ${by} is proven; ${LACKING}`;
  const compared = one.sha256 !== null ? "it is about this document" : "no document was compared";
  return ` proves ${KINDS[proven.kind]} by ${by}; ${compared}`;
}

function issuedBy(proven) {
  const { issuer, validity } = proven;
  if (issuer.title === null) return issuer.name ? `${issuer.key} (${issuer.name})` : issuer.key;
  const organisation = `${issuer.title} (${issuer.organisation})`;
  if (validity !== null && validity.key === "ended_before") {
    return `key ${issuer.key}, which had ended; it was one of ${organisation}`;
  }
  return organisation;
}

function reasonOf(one, nowMs) {
  const { proven, failure } = one;
  if (proven === null || !["P12", "P13"].includes(failure.rule)) return failure.reason;
  if (failure.rule === "P12") {
    return proven.validity !== null ? `it is ${validityOf(proven.validity)}` : "it was not final by then";
  }
  if (failure.expected === null) return failure.reason;
  const asked = BigInt(failure.expected.replace(/[^0-9]/g, ""));
  const isSpan = failure.expected.startsWith("at most");
  const what = isSpan ? `at most ${lasting(asked)} old` : `of ${utc(asked)} or later`;
  return `its status is as of ${aged(proven.status_ms, nowMs)}; asked for is one ${what}`;
}

function provenFields(one, proven, nowMs) {
  const { issuer, document } = proven;
  const label = issuer.label ? `, ${issuer.label}` : "";
  const title = issuer.title ? `${issuer.title} (${issuer.organisation})${label}, ` : "";
  const name = issuer.name ? ` (${issuer.name}, by your own address book)` : "";
  const isNamedOtherwise = document !== null && document.name !== one.name && one.sha256 !== null;
  return withoutEmpty([
    ["document", comparedOf(one, proven)],
    [proven.kind === STATEMENT ? "certified as" : "named", isNamedOtherwise ? document.name : ""],
    ["says", proven.subject ?? ""],
    ["content", contentOf(proven)],
    ["note", document !== null ? document.note : ""],
    ["issued by", `${title}key ${issuer.key}${name}`],
    ["domain", proven.domain ? `${proven.domain}, vouched for by those who approved it as a member` : ""],
    ["claimed", `${utc(proven.claimed_ms)}, by the issuer's own clock`],
    ["block time", `${utc(proven.block_ms)}, of block ${count(proven.block)}: more than 2/3 of the stake voted for it`],
    ["final", `not later than ${utc(proven.final_ms)}, as holders of more than 1/3 of the stake say`],
    ["status", `as of ${aged(proven.status_ms, nowMs)}: a later revocation would not show`],
    ["time stamped", stampedBy(one.time_stamp ?? null)],
    ["validity", proven.validity ? validityOf(proven.validity) : "a certificate of this kind has no status"],
    ["countersigned", ` ${cosignedBy(proven)}`],
    ["ML-DSA", uncheckedBy(proven)],
    ["members", changesOf(proven)],
    ["ledger", `${proven.ledger} ${proven.ledger_id}, ${TRUSTED_BY[proven.trusted_by](proven)}`],
    ["certificate", `${proven.certificate}, number ${count(proven.log_index)} of the log`],
    ["proof", one.online ? `a newer one, from ${one.online}` : proofOf(one)],
  ]);
}

function proofOf(one) {
  return one.is_attached ? "attached to the PDF; what else was added to it is not checked here" : (one.proof ?? "");
}

function stampedBy(stamp) {
  return stamp === null ? "" : `a time stamp token lies beside it; ${stamp.reason}`;
}

function comparedOf(one, proven) {
  if (one.is_attached) {
    const before = "the PDF as it was before the proof was attached";
    return `${before}: its first ${count(one.size_bytes ?? 0)} bytes, SHA-256 ${one.sha256}`;
  }
  if (one.sha256 !== null) return `these very bytes: ${count(one.size_bytes ?? 0)} bytes, SHA-256 ${one.sha256}`;
  if (proven.document === null) return proven.is_content_gone ? LACKING : "none: it is about no file";
  const about = proven.document;
  return `not compared; it is about ${about.name}, ${count(about.size_bytes)} bytes, SHA-256 ${about.sha256}`;
}

function contentOf(said) {
  if (said.document !== null || said.media_type === null) return "";
  return said.content === null ? `${said.media_type}, not shown` : `${said.content} (${said.media_type})`;
}

function warningsOf(proven) {
  const said = [];
  if (proven.continues !== null) {
    const old = proven.continues;
    const from = `it goes on from ${old.name} (${old.ledger_id.slice(0, SHORT_ID)}…) after block ${count(old.block_index)}`;
    said.push(`The ledger says that it was ${old.summary}: ${from}; whether they were its members is not checked here`);
  }
  if (proven.is_older) {
    said.push("A newer block of this ledger was verified here before: a newer proof may say otherwise");
  }
  return said;
}

function cosignedBy(proven) {
  const { cosigned_stake: stake, total_stake: total } = proven;
  const who = proven.cosigners.map(
    (one) => `${one.organisation || `${one.key.slice(0, SHORT_ID)}…`} ${percent(one.stake, total)} %`,
  );
  const share = `${count(stake)} of ${count(total)} tokens at stake (${percent(stake, total)} %)`;
  return `by ${many(proven.cosigners.length, "member")} with ${share}: ${namesOf(who, 16)}`;
}

/** The page verifies no signatures by ML-DSA-44: who made some is told. */
function uncheckedBy({ ml_dsa: { unchecked } }) {
  if (!unchecked.length) return "";
  return `signatures of ${many(unchecked.length, "member")}: not checked here; install tallystick[pq]`;
}

function changesOf(proven) {
  const { changes } = proven;
  if (!changes.length) return "the same since the block from which they were followed";
  const shown = changes.slice(-MOST_CHANGES).map((one) => {
    const parts = [
      ...one.joined.map((key) => `+${key.slice(0, 8)}…`),
      ...one.left.map((key) => `-${key.slice(0, 8)}…`),
    ];
    return `by epoch ${count(one.epoch)}: ${namesOf(parts)}`;
  });
  const more = changes.length - shown.length;
  return `${many(changes.length, "change")} followed: ${more ? `${count(more)} more, ` : ""}${shown.join("; ")}`;
}

function claimFields(one, claims) {
  const about = claims.document;
  return withoutEmpty([
    ["ledger", `${claims.ledger} ${claims.ledger_id}`],
    ["issued by", `key ${claims.issuer}`],
    ["says", claims.subject ?? ""],
    ["content", contentOf(claims)],
    ["document", about ? `${about.name}, ${count(about.size_bytes)} bytes, SHA-256 ${about.sha256}` : ""],
    ["claimed", utc(claims.claimed_ms)],
    ["at hand", atHand(one)],
    ["certificate", claims.certificate],
  ]);
}

function atHand(one) {
  if (one.sha256 === null) return "";
  return `${one.is_attached ? "the first " : ""}${count(one.size_bytes ?? 0)} bytes, SHA-256 ${one.sha256}`;
}

function validityOf(one) {
  const isOver = ["revoked", "superseded"].includes(one.state) && one.since_ms !== null;
  let since = isOver ? `, since ${utc(one.since_ms)}` : "";
  if (one.state === "void" && one.by_ms !== null) since = `, as decided on ${utc(one.by_ms)}`;
  const then = one.at_ms !== one.as_of_ms ? `${utc(one.at_ms)}: ` : "";
  const place = one.summary.indexOf("; ");
  const [state, ofTheKey] = place < 0 ? [one.summary, ""] : [one.summary.slice(0, place), one.summary.slice(place)];
  return `${then}${state}${since}${ofTheKey}; as of ${utc(one.as_of_ms)}`;
}

function aged(timeMs, nowMs) {
  return `${utc(timeMs)}, ${days(BigInt(nowMs) - BigInt(timeMs))}`;
}

function days(ageMs) {
  if (ageMs < 0n) return "ahead of this machine's clock";
  return ageMs >= DAY_MS ? `${many(ageMs / DAY_MS, "day")} ago` : `${lasting(ageMs)} ago`;
}

function namesOf(names, most = 5) {
  const shown = names.slice(0, most).join(", ");
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

function withoutEmpty(fields) {
  return fields.filter(([, text]) => text);
}
