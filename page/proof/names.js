/** The folding of names (rule D2): names that look alike fold alike; `ledger/names.py`, ADR 0021. */

import { Refused } from "./errors.js";
import { FOLDING_TABLE } from "./folding.js";

/** Hangul syllables fold to their letters, by arithmetic (Unicode, section 3.12). */
const FIRST_SYLLABLE = 0xac00;
const LAST_SYLLABLE = 0xd7a3;

let foldingSets = null;

/** What a name is unique by. Throws `Refused` (D2) for what is no name; the caller bounds its length. */
export function foldedName(name) {
  foldingSets ??= readFoldingTable();
  const characters = [...name];
  const folded = characters.map(foldedCharacter).join("");
  const wrong = wrongInName(name, characters);
  if (wrong !== null) throw new Refused("D2", `the name ${wrong}`);
  if (folded === "") throw new Refused("D2", "the name has no letter and no digit");
  return folded;
}

function foldedCharacter(character) {
  const folded = foldingSets.folded.get(character);
  if (folded !== undefined) return folded;
  const code = character.codePointAt(0);
  if (code >= FIRST_SYLLABLE && code <= LAST_SYLLABLE) {
    const [initial, rest] = [Math.floor((code - FIRST_SYLLABLE) / 588), (code - FIRST_SYLLABLE) % 588];
    const [vowel, final] = [Math.floor(rest / 28), rest % 28];
    const letters = [0x1100 + initial, 0x1161 + vowel, ...(final ? [0x11a7 + final] : [])];
    return String.fromCodePoint(...letters);
  }
  if (foldingSets.itself.some(([first, last]) => first <= code && code <= last)) return character;
  throw new Refused("D2", `U+${code.toString(16).toUpperCase().padStart(4, "0")} is no character of names`);
}

function wrongInName(name, characters) {
  const { classes } = foldingSets;
  if (name === "") return "is empty";
  if (name.startsWith(" ") || name.endsWith(" ") || name.includes("  ")) {
    return "has a space at an end, or two in a row";
  }
  const before = [" ", ...characters];
  if (characters.some((one, at) => classes.marks.has(one) && classes.punctuation.has(before[at]))) {
    return "has a mark without its letter";
  }
  if (!areMarksOrdered(characters)) return "has marks out of their order; write it in NFC";
  const directed = characters.filter((one) => !classes.no_direction.has(one));
  if (new Set(directed.map((one) => classes.right_to_left.has(one))).size > 1) return "mixes directions of writing";
  const words = characters.map((one) => (classes.punctuation.has(one) ? " " : one)).join("").split(" ");
  return words.map((word) => scriptsMixed([...word])).find((wrong) => wrong !== null) ?? null;
}

function areMarksOrdered(characters) {
  const { classes, orders } = foldingSets;
  let last = 0;
  for (const one of characters) {
    if (classes.dropped_marks.has(one)) continue;
    const order = orders.get(one) ?? 0;
    if (classes.marks.has(one) && order > 0 && order < last) return false;
    last = order;
  }
  return true;
}

function scriptsMixed(word) {
  const { classes } = foldingSets;
  for (const [script, title, others] of [
    ["greek", "Greek", ["latin", "cyrillic"]],
    ["cyrillic", "Cyrillic", ["latin", "greek"]],
  ]) {
    const isApart = word.some((one) => classes[`${script}_apart`].has(one));
    if (isApart && others.some((other) => word.some((one) => classes[other].has(one)))) {
      return `has in one word ${title} letters, and letters of another script that look like them`;
    }
  }
  return null;
}

/** The table as it is asked: the ranges that fold to themselves; all else that folds; the classes. */
function readFoldingTable() {
  const { itself, folded, classes, orders } = FOLDING_TABLE;
  return {
    itself: codeRanges(itself),
    folded: new Map(Object.entries(folded).flatMap(([text, codes]) => charactersOf(codes).map((one) => [one, text]))),
    classes: Object.fromEntries(Object.entries(classes).map(([name, codes]) => [name, new Set(charactersOf(codes))])),
    orders: new Map(orders.flatMap((codes, at) => charactersOf(codes).map((one) => [one, at + 1]))),
  };
}

/** Of code points in hex, or `first-last` of them, with spaces between. */
function codeRanges(codes) {
  return codes.split(" ").filter(Boolean).map((one) => {
    const [first, last = first] = one.split("-");
    return [Number.parseInt(first, 16), Number.parseInt(last, 16)];
  });
}

function charactersOf(codes) {
  return codeRanges(codes).flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, at) => String.fromCodePoint(first + at)),
  );
}
