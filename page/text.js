// Text from elsewhere, as the page may show it: what is not visible is written out, as in src/tallystick/host/text.py.
//
// Others choose names, subjects and notes. A bidirectional character among them reorders the line, an invisible one makes
// two names look alike. Data stays as it is; it passes `printable` where it is shown, once.

import { VISIBLE_TABLE } from "./visible.js";

let invisible = null;

/** The text with every invisible character written as `\u{…}`; a backslash before `u{` is written out, too. */
export function printable(text) {
  invisible ??= notIn(VISIBLE_TABLE.visible);
  return text
    .replaceAll("\\u{", "\\u{5c}u{")
    .replace(invisible, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

/** Any character but those of the table, which is frozen: each browser has its own version of Unicode. */
function notIn(ranges) {
  const ends = ranges.split(" ").map((one) => one.split("-").map((code) => `\\u{${code}}`));
  return new RegExp(`[^${ends.map((one) => one.join("-")).join("")}]`, "gu");
}

/** Plain values for JSON, with all strings in them, names of fields too, printable. */
export function printableValue(value) {
  if (typeof value === "string") return printable(value);
  if (Array.isArray(value)) return value.map(printableValue);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [printable(name), printableValue(one)]));
  }
  return value;
}
