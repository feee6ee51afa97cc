// What the user asks of each file, as it is entered: as the options of `tallystick verify` are.

export const NOTHING_ASKED = { issuer: null, atMs: null, freshMs: null, policy: null };

const SPAN = /^(\d{1,9})(d|h|min|s)$/;
const UNITS_MS = { d: 86_400_000, h: 3_600_000, min: 60_000, s: 1_000 };
const ISO = /^(\d{4}-\d\d-\d\d|\d{8})(?:[^]([\d:.,]+)(Z|[+-][\d:]+)?)?$/;
const DATES = [/^(\d{4})-(\d\d)-(\d\d)$/, /^(\d{4})(\d\d)(\d\d)$/];
const TIMES = [/^(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?$/, /^(\d\d)(?:(\d\d)(?:(\d\d)(?:[.,](\d+))?)?)?$/];
const OFFSET = /^([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?$/;

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
  const ms = isoTime(entered);
  if (Number.isNaN(ms))
    throw new NotUnderstood(`“${text}” is no time: a day that there is, or a day and a time, as 2027-06-30T12:00.`);
  return Math.max(0, ms);
}

/** A time of ISO 8601, in the forms that Python's `datetime.fromisoformat` reads but for weeks; `NaN`: it is none. */
function isoTime(text) {
  const [, date, time, zone] = ISO.exec(text) ?? [];
  const day = DATES.map((one) => one.exec(date)).find((found) => found);
  const clock = time === undefined ? ["", "0"] : TIMES.map((one) => one.exec(time)).find((found) => found);
  const offset = zone === undefined ? 0 : offsetMs(zone);
  if (!day || !clock) return NaN;
  const [year, month, ofMonth] = day.slice(1).map(Number);
  const [hour, minute = 0, second = 0] = clock.slice(1, 4).map((one) => Number(one ?? 0));
  const found = new Date(0);
  found.setUTCFullYear(year, month - 1, ofMonth); // a day beyond its month would go over into the next
  const isThere = year > 0 && found.getUTCMonth() === month - 1 && found.getUTCDate() === ofMonth;
  if (!isThere || hour > 23 || minute > 59 || second > 59) return NaN;
  const ms = Number((clock[4] ?? "").slice(0, 3).padEnd(3, "0"));
  return found.getTime() + (hour * 3_600 + minute * 60 + second) * 1_000 + ms - offset;
}

function offsetMs(zone) {
  if (zone === "Z") return 0;
  const found = OFFSET.exec(zone);
  if (found === null) return NaN;
  const [hours, minutes, seconds] = found.slice(2).map((one) => Number(one ?? 0));
  if (hours > 23 || minutes > 59 || seconds > 59) return NaN;
  return (found[1] === "-" ? -1 : 1) * (hours * 3_600 + minutes * 60 + seconds) * 1_000;
}
