/** Bytes as text and back, compared and joined. */

const HEX_OF_BYTE = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LENIENT_UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });
const UTF8_ENCODER = new TextEncoder();
const BASE64_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_VALUES = new Map([...BASE64_ALPHABET].map((character, value) => [character.charCodeAt(0), value]));
const BASE64_PAD = 61;

/** Lower-case hexadecimal digits. @param {Uint8Array} bytes @returns {string} */
export function toHex(bytes) {
  let text = "";
  for (const byte of bytes) text += HEX_OF_BYTE[byte];
  return text;
}

/** The bytes of hexadecimal digits; `null`: the text is none. @param {string} text @returns {Uint8Array | null} */
export function fromHex(text) {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

/** Whether both are the same bytes. @param {Uint8Array} one @param {Uint8Array} other */
export function sameBytes(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** Below 0, 0 or above 0: the order of bytes, as of text. @param {Uint8Array} one @param {Uint8Array} other */
export function compareBytes(one, other) {
  const shared = Math.min(one.length, other.length);
  for (let at = 0; at < shared; at += 1) {
    if (one[at] !== other[at]) return one[at] - other[at];
  }
  return one.length - other.length;
}

/** Whether these bytes ascend, each once. @param {Uint8Array[]} all */
export function areAscending(all) {
  return all.every((one, at) => at === 0 || compareBytes(all[at - 1], one) < 0);
}

/** One after the other. @param {...Uint8Array} parts @returns {Uint8Array} */
export function joinBytes(...parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** The text in UTF-8. @param {string} text @returns {Uint8Array} */
export function utf8(text) {
  return UTF8_ENCODER.encode(text);
}

/** The text of strict UTF-8; `null`: it is none. @param {Uint8Array} bytes @returns {string | null} */
export function readUtf8(bytes) {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch {
    return null;
  }
}

/** The text, each part that is no UTF-8 as U+FFFD. @param {Uint8Array} bytes @returns {string} */
export function readUtf8Leniently(bytes) {
  return LENIENT_UTF8.decode(bytes);
}

/** The bytes of padded Base64 in its one canonical form; `null`: it is none. @param {string} text */
export function fromBase64(text) {
  if (text.length % 4 !== 0) return null;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  for (let from = 0, to = 0; from < text.length; from += 4, to += 3) {
    let group = 0;
    for (let at = from; at < from + 4; at += 1) {
      const code = text.charCodeAt(at);
      const value = code === BASE64_PAD && at >= text.length - padding ? 0 : BASE64_VALUES.get(code);
      if (value === undefined) return null;
      group = (group << 6) | value;
    }
    const whole = [group >> 16, (group >> 8) & 255, group & 255];
    for (let at = 0; at < 3; at += 1) {
      if (to + at < bytes.length) bytes[to + at] = whole[at];
      else if (whole[at] !== 0) return null; // bits after the end: another text of the same bytes
    }
  }
  return bytes;
}

/** A whole number of 8 bytes, big-endian. @param {Uint8Array} bytes @param {number} at @returns {bigint} */
export function uint64At(bytes, at) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at);
}

/** A number where it is exact, and a bigint where only that is. @param {bigint} value @returns {number | bigint} */
export function plainNumber(value) {
  const isExact = value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER);
  return isExact ? Number(value) : value;
}

/** With commas between thousands. @param {number | bigint} value @returns {string} */
export function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}
