/**
 * Canonical MessagePack of declared types (rules E1 to E3), as `ledger/encoding.py` has it. A type is an object with
 * `read(reader)`; it is made by the functions below. What a struct decodes to keeps its own bytes as `encoded`: as only
 * the canonical encoding is accepted, they are what encoding it again would give.
 *
 * Reading calls itself no deeper than the declared types nest, whatever the bytes are, and each value takes a byte at
 * least, so work and memory are bounded by the size of the input.
 */

import { readUtf8, utf8 } from "./bytes.js";
import { Refused } from "./errors.js";

/** Most that a number of the formats may be: exact in every language. */
export const MAX_EXACT = Number.MAX_SAFE_INTEGER;

const NIL = 0xc0;
const TOO_SHORT = "ends too early";
const OTHER_LENGTH = "has another length";
const NOT_DECLARED = "is not as declared";
const INT_BYTES = { 0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8 };
const LEAST_OF_SIZE = { 1: 128n, 2: 256n, 4: 65536n, 8: 4294967296n };
const LEAST_BELOW_ZERO = { 1: 33n, 2: 129n, 4: 32769n, 8: 2147483649n };

class Malformed extends Error {
  constructor(said, path = []) {
    super(said);
    this.said = path.length > 0 ? `field ${path.join(".")} ${said}` : `it ${said}`;
  }
}

class Reader {
  constructor(data) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.at = 0;
    this.path = [];
    this.isCanonical = true;
  }

  /** The place of the next so many bytes, which are taken. */
  take(size) {
    const from = this.at;
    if (this.data.length - from < size) throw new Malformed(TOO_SHORT);
    this.at += size;
    return from;
  }

  opcode() {
    return this.data[this.take(1)];
  }

  peek() {
    if (this.at >= this.data.length) throw new Malformed(TOO_SHORT);
    return this.data[this.at];
  }

  /** A size that follows an opcode in 1, 2 or 4 bytes. */
  size(width, least) {
    const from = this.take(width);
    const size = width === 1 ? this.data[from] : width === 2 ? this.view.getUint16(from) : this.view.getUint32(from);
    if (size < least) this.isCanonical = false;
    return size;
  }

  wrong(said = NOT_DECLARED) {
    return new Malformed(said, this.path);
  }

  /** Skip what stands in place of a value of another type, as far as msgspec reads it, and say that it is wrong. */
  otherType(opcode) {
    const isString = (opcode & 0xe0) === 0xa0 || (opcode >= 0xd9 && opcode <= 0xdb);
    if (isString) this.take(sizeOfString(this, opcode));
    else if (opcode >= 0xc4 && opcode <= 0xc6) this.take(this.size(1 << (opcode - 0xc4), 0));
    else if (opcode in INT_BYTES) this.take(INT_BYTES[opcode]);
    else if (opcode === 0xca || opcode === 0xcb) this.take(opcode === 0xca ? 4 : 8);
    else if (opcode >= 0xdc && opcode <= 0xdf) this.size(opcode % 2 === 0 ? 2 : 4, 0);
    else if (opcode >= 0xc7 && opcode <= 0xc9) this.take(1 + this.size(1 << (opcode - 0xc7), 0));
    else if (opcode >= 0xd4 && opcode <= 0xd8) this.take(1 + (1 << (opcode - 0xd4)));
    return opcode === 0xc1 ? new Malformed(NOT_DECLARED) : this.wrong();
  }

  /** Read an element of an array, named in what is said of errors in it. */
  element(place, type) {
    this.path.push(place);
    const value = type.read(this);
    this.path.pop();
    return value;
  }
}

/** A whole number; beyond 2^53 - 1, where a field allows it, a bigint. */
export function integerOf(least, most) {
  const read = (reader) => {
    const value = readInteger(reader);
    if (value < least || value > most) throw reader.wrong();
    return value;
  };
  return { read };
}

function readInteger(reader) {
  const opcode = reader.opcode();
  if (opcode < 0x80) return opcode;
  if (opcode >= 0xe0) return opcode - 256;
  const width = INT_BYTES[opcode];
  if (width === undefined) throw reader.otherType(opcode);
  const from = reader.take(width);
  let value = 0n;
  for (let at = from; at < from + width; at += 1) value = (value << 8n) | BigInt(reader.data[at]);
  const isSigned = opcode >= 0xd0;
  if (isSigned) value = BigInt.asIntN(8 * width, value);
  if (isSigned ? value > -LEAST_BELOW_ZERO[width] : value < LEAST_OF_SIZE[width]) reader.isCanonical = false;
  return value <= MAX_EXACT && value >= -MAX_EXACT ? Number(value) : value;
}

/** `true` or `false`. */
export const BOOLEAN = {
  read(reader) {
    const opcode = reader.opcode();
    if (opcode !== 0xc2 && opcode !== 0xc3) throw reader.otherType(opcode);
    return opcode === 0xc3;
  },
};

/** So many bytes: part of the input, not copied. */
export function bytesOf(least, most) {
  const read = (reader) => {
    const opcode = reader.opcode();
    if (opcode < 0xc4 || opcode > 0xc6) throw reader.otherType(opcode);
    const width = 1 << (opcode - 0xc4);
    const size = reader.size(width, width === 1 ? 0 : width === 2 ? 256 : 65536);
    if (size < least || size > most) throw reader.wrong(OTHER_LENGTH);
    const from = reader.take(size);
    return reader.data.subarray(from, from + size);
  };
  return { read };
}

function sizeOfString(reader, opcode) {
  if ((opcode & 0xe0) === 0xa0) return opcode & 0x1f;
  const width = 1 << (opcode - 0xd9);
  return reader.size(width, width === 1 ? 32 : width === 2 ? 256 : 65536);
}

/** A text of so many characters (code points), which the pattern matches. */
export function textOf(least, most, pattern = null) {
  const read = (reader) => {
    const opcode = reader.opcode();
    const isString = (opcode & 0xe0) === 0xa0 || (opcode >= 0xd9 && opcode <= 0xdb);
    if (!isString) throw reader.otherType(opcode);
    const size = sizeOfString(reader, opcode);
    const from = reader.take(size);
    const text = readUtf8(reader.data.subarray(from, from + size));
    if (text === null) throw new Malformed(NOT_DECLARED);
    const characters = [...text].length;
    if (characters < least || characters > most) throw reader.wrong(OTHER_LENGTH);
    if (pattern !== null && !pattern.test(text)) throw reader.wrong();
    return text;
  };
  return { read };
}

/** A value of the type, or `null`. */
export function optional(type) {
  const read = (reader) => {
    if (reader.peek() !== NIL) return type.read(reader);
    reader.take(1);
    return null;
  };
  return { read };
}

function readArraySize(reader) {
  const opcode = reader.opcode();
  if ((opcode & 0xf0) === 0x90) return opcode & 0x0f;
  if (opcode !== 0xdc && opcode !== 0xdd) throw reader.otherType(opcode);
  return reader.size(opcode === 0xdc ? 2 : 4, opcode === 0xdc ? 16 : 65536);
}

/** So many values of one type. */
export function listOf(type, least, most) {
  const read = (reader) => {
    const size = readArraySize(reader);
    if (size < least || size > most) throw reader.wrong(OTHER_LENGTH);
    const values = [];
    for (let place = 0; place < size; place += 1) values.push(reader.element(place, type));
    return values;
  };
  return { read };
}

/** Values of these types, one each. */
export function tupleOf(...types) {
  const read = (reader) => {
    if (readArraySize(reader) !== types.length) throw reader.wrong(OTHER_LENGTH);
    return types.map((type, place) => reader.element(place, type));
  };
  return { read };
}

/**
 * An array of named fields, each [name, type]; the last `defaults` of them have defaults. As the canonical form has
 * all fields, a shorter array is decoded, and refused as another encoding (E3).
 */
export function structOf(fields, defaults = 0) {
  const struct = { read: (reader) => readFields(reader, struct, reader.at, readArraySize(reader), 0, {}) };
  return Object.assign(struct, { fields, least: fields.length - defaults });
}

/** One of several structs, by the number in its first place; what is decoded has it as `tag`. */
export function taggedOf(structs) {
  const read = (reader) => {
    const from = reader.at;
    const size = readArraySize(reader);
    if (size < 1) throw reader.wrong(OTHER_LENGTH);
    const tag = reader.element(0, { read: readInteger });
    const struct = structs[tag];
    reader.path.push(0);
    if (struct === undefined) throw reader.wrong();
    reader.path.pop();
    return readFields(reader, struct, from, size, 1, { tag });
  };
  return { read };
}

function readFields(reader, struct, from, size, first, value) {
  const { fields, least } = struct;
  const all = first + fields.length;
  if (size < first + least) throw reader.wrong(OTHER_LENGTH);
  if (size < all) reader.isCanonical = false;
  for (let place = first; place < Math.min(size, all); place += 1) {
    const [name, type] = fields[place - first];
    value[name] = reader.element(place, type);
  }
  if (size > all) throw reader.wrong(OTHER_LENGTH);
  value.encoded = reader.data.subarray(from, reader.at);
  return value;
}

/**
 * Decode one value of a type. Throws `Refused`: E1 too long, E2 not the declared form, E3 not canonical.
 * @param {{read: (reader: Reader) => any}} type @param {number} mostBytes @param {string} name @param {Uint8Array} data
 */
export function decodeAs(type, mostBytes, name, data) {
  if (data.length > mostBytes) throw new Refused("E1", `${name} of ${data.length} bytes, ${mostBytes} allowed`);
  const reader = new Reader(data);
  let value;
  try {
    value = type.read(reader);
    if (reader.at < data.length) throw new Malformed("goes on after its end");
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refused("E2", `${name}: ${error.said}`);
  }
  if (!reader.isCanonical) throw new Refused("E3", `${name}: encoding it again gives other bytes`);
  return value;
}

/** The canonical bytes of a value made here: of whole numbers from 0 on, texts, bytes, `null` and arrays of these. */
export function encodeValue(value) {
  const out = [];
  encodeInto(out, value);
  return Uint8Array.from(out);
}

function encodeInto(out, value) {
  if (value === null) out.push(NIL);
  else if (typeof value === "number" || typeof value === "bigint") encodeNumber(out, BigInt(value));
  else if (typeof value === "string") encodeBytes(out, utf8(value), [0xa0, 32, 0xd9]);
  else if (value instanceof Uint8Array) encodeBytes(out, value, [0, 0, 0xc4]);
  else {
    encodeSize(out, value.length, [0x90, 16, 0xdb]);
    for (const one of value) encodeInto(out, one);
  }
}

function encodeNumber(out, value) {
  if (value < 128n) out.push(Number(value));
  else {
    const width = [1, 2, 4, 8].find((bytes) => value < 1n << BigInt(8 * bytes)) ?? 8;
    out.push({ 1: 0xcc, 2: 0xcd, 4: 0xce, 8: 0xcf }[width]);
    for (let shift = 8 * (width - 1); shift >= 0; shift -= 8) out.push(Number((value >> BigInt(shift)) & 255n));
  }
}

function encodeBytes(out, bytes, form) {
  encodeSize(out, bytes.length, form);
  for (const byte of bytes) out.push(byte);
}

/** A size: in the opcode `fixed` below `most`, else after that of its width; arrays have none of one byte. */
function encodeSize(out, size, [fixed, most, of8]) {
  if (size < most) out.push(fixed | size);
  else if (size < 256 && fixed !== 0x90) out.push(of8, size);
  else if (size < 65536) out.push(of8 + 1, size >> 8, size & 255);
  else out.push(of8 + 2, size >>> 24, (size >> 16) & 255, (size >> 8) & 255, size & 255);
}
