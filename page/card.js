// One file's verdict as a card, with the words of words.js.

import { drawn, element, icon } from "./dom.js";
import { CLAIMS_ARE_NOT_VERIFIED, leadOf, outcomeOf, told, utc } from "./words.js";

const SIGNS = { verified: "verified", not_trusted: "unknown", no_proof: "unknown", certified_part: "part" };
const PARTS = /([0-9a-f]{64}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC)/;
const TALLY_MEANS = "All stake; filled is what countersigned, cut by member. The dotted line is at 2/3.";
const FOR_A_TERMINAL = /tallystick |--\w/;
const HERE = {
  not_trusted: "On this page: enter the id below, or under Trusted ledgers.",
  no_proof: "On this page: add the proof, or choose it below.",
  not_proven: "On this page: add a proof that was made anew, with all files beside it; or use a mirror.",
  other_document: "On this page: choose the document that was certified, or its own proof.",
  other_issuer: "On this page: name the issuer under What to ask for.",
  not_valid: "On this page: ask for another time under What to ask for.",
  not_fresh: "On this page: use a mirror, or add a newer proof.",
};
const GROUPS = [
  ["Document", ["document", "certified as", "named", "says", "content", "note"]],
  ["Issuer", ["issued by", "domain"]],
  ["Times", ["claimed", "block time", "final", "status", "time stamped", "validity"]],
  ["Who stands for it", ["countersigned", "ML-DSA", "members", "ledger", "certificate", "proof"]],
];

/** The card of one verdict; `more` are further elements, as what to do next, before its buttons. */
export function card(one, nowMs, more, buttons, headingId) {
  const said = told(one, nowMs);
  const sign = SIGNS[one.result] ?? "failed";
  return element(
    "article",
    { class: `card is-${sign}`, "data-result": one.result, "data-mark": said.mark, "aria-labelledby": headingId },
    element(
      "header",
      { class: "card-head" },
      element("p", { class: "badge" }, icon(sign === "part" ? "warning" : sign), outcomeOf(one)),
      element(
        "h3",
        { id: headingId, tabindex: "-1" },
        element("span", { class: "file" }, one.name),
        withParts(said.headline),
      ),
    ),
    failureOf(one, said),
    ...more,
    said.proven.length && one.failure !== null ? element("p", { class: "lead" }, leadOf(one)) : null,
    ...said.warnings.map((text) =>
      element("p", { class: "note warning", "data-warning": true }, icon("warning"), element("span", {}, text)),
    ),
    said.proven.length ? provenOf(one, said.proven) : null,
    said.claims.length ? claimsOf(said.claims) : null,
    element("p", { class: "hint" }, `As of ${utc(nowMs)}, when this was verified.`),
    element("p", { class: "card-actions" }, ...buttons),
  );
}

/** Labels and texts as a list; 64 digits and times stand out. */
export function fields(pairs, attributes = {}) {
  const rows = pairs.map(([label, text]) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, ...withParts(text))),
  );
  return element("dl", attributes, ...rows);
}

/** Fields in groups with headings, in their order. */
export function grouped(pairs, heading) {
  return GROUPS.map(([title, labels]) => [title, pairs.filter(([label]) => labels.includes(label))])
    .filter(([, found]) => found.length)
    .map(([title, found]) =>
      element("section", { class: "group" }, element(heading, {}, title), fields(found, { "data-told": true })),
    );
}

function failureOf(one, said) {
  if (one.failure === null) return null;
  const { expected, found, advice } = one.failure;
  const here = FOR_A_TERMINAL.test(advice ?? "") ? (HERE[one.result] ?? "") : "";
  const compared = [
    ["expected", expected],
    ["found", found],
  ].filter(([, text]) => text !== null);
  return element(
    "div",
    { class: "failure" },
    fields(
      [["check", said.check]].filter(([, text]) => text),
      { "data-told": true },
    ),
    compared.length ? fields(compared, { class: "compared" }) : null,
    fields([["do next", said.advice]], { "data-told": true, class: "next" }),
    here === "" ? null : element("p", { class: "hint here" }, here),
  );
}

function provenOf(one, pairs) {
  const groups = grouped(pairs, "h4");
  const last = groups.at(-1);
  last.querySelector("h4").after(tally(one.proven), element("p", { class: "hint" }, TALLY_MEANS));
  return element("div", { class: "groups" }, ...groups);
}

function claimsOf(pairs) {
  return element(
    "section",
    { class: "claims" },
    element("h4", {}, CLAIMS_ARE_NOT_VERIFIED),
    fields(pairs, { "data-told": true }),
  );
}

/** The stake as a stick, cut by who countersigned; a line marks the 2/3 that have to be passed. */
function tally(proven) {
  const scale = 600 / Number(proven.total_stake);
  let at = 0;
  const parts = proven.cosigners.map((one) => {
    const width = Number(one.stake) * scale;
    const part = drawn("rect", { x: at, y: 6, width: Math.max(width - 2, 0.5), height: 14, class: "tally-part" });
    at += width;
    return part;
  });
  return drawn(
    "svg",
    { class: "tally", viewBox: "0 0 600 26", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    drawn("rect", { x: 0, y: 6, width: 600, height: 14, class: "tally-all" }),
    ...parts,
    drawn("path", { d: "M400 1v24", class: "tally-mark" }),
  );
}

function withParts(text) {
  return text
    .split(PARTS)
    .filter((part) => part)
    .map((part) => {
      if (!PARTS.test(part)) return part;
      return part.length === 64 ? element("code", {}, part) : element("time", {}, part);
    });
}
