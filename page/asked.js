// What the user asks of each file, as it is entered: as the options of `tallystick verify` are.

const SPAN = /^(\d{1,9})(d|h|min|s)$/;
const UNITS_MS = { d: 86_400_000, h: 3_600_000, min: 60_000, s: 1_000 };
const TIME = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?$/;

/** What was entered is not understood; the message says what is. */
export class NotUnderstood extends Error {}

/** A span of time in ms, as 30d, 12h, 90min, 30s; `null`: none was entered. */
export function readSpan(text) {
  if (!text.trim()) return null;
  const found = SPAN.exec(text.trim());
  if (found === null) throw new NotUnderstood(`“${text}” is no span of time: a number with d, h, min or s, as 30d.`);
  return Number(found[1]) * UNITS_MS[found[2]];
}

/** A time in ms since 1970, of UTC unless it says otherwise; `null`: none was entered. */
export function readTime(text) {
  const entered = text.trim();
  if (!entered) return null;
  if (/^\d{1,15}$/.test(entered)) return Number(entered);
  const isDay = entered.length === 10;
  const isZoned = /(?:Z|[+-]\d\d:\d\d)$/.test(entered.slice(10));
  const ms = TIME.test(entered)
    ? Date.parse(entered.replace(" ", "T") + (isDay ? "T00:00Z" : isZoned ? "" : "Z"))
    : NaN;
  if (Number.isNaN(ms))
    throw new NotUnderstood(`“${text}” is no time: a day, or a day and a time, as 2027-06-30T12:00.`);
  return Math.max(0, ms);
}
