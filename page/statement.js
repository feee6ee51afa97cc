// The statement of verification: what was found of one file, on one page to be printed, or as JSON as `verify --json`.

import { byId, drawn, element, fill, save } from "./dom.js";
import { grouped } from "./card.js";
import { printable, printableValue } from "./text.js";
import { CLAIMS_ARE_NOT_VERIFIED, count, leadOf, many, outcomeOf, told, utc } from "./words.js";

const MOST_CHARACTERS = 400;
const NOT =
  "This statement was made by a page in a browser, on the machine of whoever verified, and nobody has signed it: whoever " +
  "doubts it verifies the two files again. It says what the proof shows as of the status above, and not what was decided since. " +
  "It is neither a qualified electronic time stamp nor a qualified electronic ledger (eIDAS), and no word on what the document says.";

/** Show the statement of one file to the printer; `note` is what stands below it besides. */
export function printStatement(found, version, note) {
  fill(byId("statement"), ...statement(found, version, note));
  byId("statement").hidden = false;
  document.body.classList.add("has-statement");
  const title = document.title;
  document.title = `Statement of verification – ${printable(found.verdict.name.slice(0, 80))}`;
  addEventListener(
    "afterprint",
    () => {
      document.body.classList.remove("has-statement");
      byId("statement").hidden = true;
      document.title = title;
    },
    { once: true },
  );
  print();
}

/** Save the same as JSON. */
export function saveStatement(found, version) {
  const { verdict, nowMs, proofSha256 } = found;
  const told = {
    schema: 1,
    checked_ms: nowMs,
    files: [verdict],
    verified: verdict.failure === null ? 1 : 0,
    warnings: [],
    page: version,
    proof_sha256: proofSha256,
  };
  const exact = (_, value) => (typeof value === "bigint" ? String(value) : value);
  save(
    `${verdict.name}.verification.json`,
    JSON.stringify(printableValue(JSON.parse(JSON.stringify(told, exact))), null, 2) + "\n",
  );
}

function statement({ verdict, nowMs, readMs, warning, proofSha256 }, version, note) {
  const said = told(verdict, nowMs);
  const short = (pairs) => pairs.map(([label, text]) => [label, shortened(text)]);
  const stick = drawn(
    "svg",
    { class: "stick", viewBox: "0 0 120 48", "aria-hidden": "true" },
    drawn("use", { href: "#icon-stick" }),
  );
  const failed = [
    ["check", said.check],
    ["expected", verdict.failure?.expected],
    ["found", verdict.failure?.found],
    ["do next", said.advice],
  ];
  const readAt = readMs !== null && readMs < nowMs ? `, read on ${utc(readMs)}` : "";
  const made = [
    ["verified on", `${utc(nowMs)}, by the clock of the machine that verified`],
    ["with", `Tallystick verify.html ${version}`],
    [
      "document",
      verdict.sha256 !== null ? `${comparedPart(verdict)}SHA-256 ${verdict.sha256}${readAt}` : "none was compared",
    ],
    ["proof", proofSha256 !== null ? `${proofOf(verdict)}, SHA-256 ${proofSha256}` : "none"],
  ];
  return [
    element(
      "header",
      {},
      stick,
      element(
        "div",
        {},
        element("p", { class: "kind" }, "Statement of verification"),
        element("h1", {}, element("span", { class: "outcome" }, outcomeOf(verdict))),
      ),
    ),
    element("p", { class: "sentence" }, element("strong", {}, shortened(verdict.name)), shortened(said.headline)),
    verdict.failure !== null ? listed(failed.filter(([, text]) => text)) : null,
    said.proven.length && verdict.failure !== null ? element("p", { class: "kind" }, leadOf(verdict)) : null,
    ...[...said.warnings, warning].filter((text) => text).map((text) => element("p", { class: "warned" }, `! ${text}`)),
    ...grouped(short(said.proven), "h2"),
    said.claims.length ? element("h2", {}, CLAIMS_ARE_NOT_VERIFIED) : null,
    said.claims.length ? listed(short(said.claims)) : null,
    element("h2", {}, "This verification"),
    listed(short(made)),
    element("p", { class: "not" }, [NOT, note].filter((text) => text).join(" ")),
  ];
}

function comparedPart(verdict) {
  return verdict.is_attached ? `its first ${count(verdict.size_bytes)} bytes, ` : "";
}

function proofOf(verdict) {
  if (verdict.online !== null) return `a newer one, from ${verdict.online}`;
  return verdict.is_attached ? "attached to the PDF" : verdict.proof;
}

function listed(pairs) {
  return element(
    "dl",
    {},
    ...pairs.map(([label, text]) => element("div", {}, element("dt", {}, label), element("dd", {}, text))),
  );
}

/** One page has no room for all that others may write. */
function shortened(text) {
  const chars = [...text];
  if (chars.length <= MOST_CHARACTERS) return text;
  return `${chars.slice(0, MOST_CHARACTERS).join("")}… (${many(chars.length - MOST_CHARACTERS, "more character")})`;
}
