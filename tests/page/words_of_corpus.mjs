// What the page says of each verdict: reads {nowMs, views} from standard input, and prints a list of lists of lines.

import { readFileSync } from "node:fs";
import { CLAIMS_ARE_NOT_VERIFIED, PROVEN_ALL_THE_SAME, rowOf, told } from "../../page/words.js";
import { printable } from "../../page/text.js";

const { nowMs, views } = JSON.parse(readFileSync(0, "utf8"));
const field = ([label, text]) => `  ${label.padEnd(13)}${text}`;

function lines(one) {
  const said = told(one, nowMs);
  const failed = [
    ["check", said.check],
    ["do next", said.advice],
  ].filter(([, text]) => text);
  const isFailed = one.failure !== null;
  return [
    `${said.mark} ${one.name}${said.headline}`,
    ...(isFailed ? failed.map(field) : []),
    ...(isFailed && said.proven.length ? [`  ${PROVEN_ALL_THE_SAME}`] : []),
    ...said.warnings.map((warning) => field(["!", warning])),
    ...said.proven.map(field),
    ...(said.claims.length ? [`  ${CLAIMS_ARE_NOT_VERIFIED}`, ...said.claims.map(field)] : []),
  ].map(printable);
}

process.stdout.write(JSON.stringify(views.map((one) => ({ lines: lines(one), row: rowOf(one, nowMs) }))));
