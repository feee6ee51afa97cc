// Text from elsewhere, as the page may show it: what is not visible is written out, as in src/tallystick/host/text.py.
//
// Others choose names, subjects and notes. A bidirectional character among them reorders the line, an invisible one makes
// two names look alike. Data stays as it is; it passes `printable` where it is shown, once.

// Unicode's default ignorable code points as far as their category is a letter's or a mark's, and the blank Braille.
const WITHOUT_A_LOOK =
  /[\p{C}\p{Zl}\p{Zp}\u{34f}\u{115f}\u{1160}\u{17b4}\u{17b5}\u{180b}-\u{180d}\u{180f}\u{2800}\u{3164}\u{fe00}-\u{fe0f}\u{ffa0}\u{e0100}-\u{e01ef}]|(?! )\p{Zs}/gu;

/** The text with every invisible character written as `\u{…}`; a backslash before `u{` is written out, too. */
export function printable(text) {
  return text
    .replaceAll("\\u{", "\\u{5c}u{")
    .replace(WITHOUT_A_LOOK, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
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
