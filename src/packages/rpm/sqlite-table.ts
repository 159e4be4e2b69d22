/**
 * Rows of a table in an SQLite database, read from its bytes. A database out of an image is data from a stranger: it
 * is read here, where every offset is checked, and not by a library that works on memory. Pure.
 *
 * Format: "Database File Format" of SQLite, sections 1.3 to 2.1. A write-ahead log is not looked at: rpm writes it back
 * whenever it closes a database.
 */
const MAGIC = 'SQLite format 3\0';
const HEADER_BYTES = 100;
const INTERIOR = 5;
const LEAF = 13;
/** Deeper than any database that fits into memory. */
const MAX_DEPTH = 20;

export type SqliteValue = number | string | Buffer | null;

/**
 * The rows in the order of their ids; columns that hold the row's id are null.
 *
 * @throws Error for what is no database, is damaged, or has no such table
 */
export function* tableRows(database: Buffer, table: string): Generator<readonly SqliteValue[]> {
  const pages = new Pages(database);
  for (const [type, name, , root] of rowsBelow(pages, 1, 0)) {
    if (type !== 'table' || name !== table || typeof root !== 'number') continue;
    yield* rowsBelow(pages, root, 0);
    return;
  }
  throw new Error(`it has no table ${table}`);
}

class Pages {
  /** Bytes of a page that hold content. */
  readonly usable: number;
  readonly #database: Buffer;
  readonly #size: number;
  readonly #seen = new Set<number>();

  constructor(database: Buffer) {
    if (database.length < HEADER_BYTES || database.toString('latin1', 0, MAGIC.length) !== MAGIC) {
      throw new Error('it is no SQLite database');
    }
    const size = database.readUInt16BE(16);
    this.#size = size === 1 ? 65_536 : size;
    this.usable = this.#size - database.readUInt8(20);
    if (this.#size < 512 || this.usable < 480) throw damaged();
    this.#database = database;
  }

  /**
   * Pages count from 1; the first begins with the header of the database. Each belongs to one place: one that is come to
   * again is in a circle.
   */
  page(number: number): { readonly bytes: Buffer; readonly start: number } {
    const at = (number - 1) * this.#size;
    if (number < 1 || at + this.#size > this.#database.length || this.#seen.has(number)) throw damaged();
    this.#seen.add(number);
    return {
      bytes: this.#database.subarray(at, at + this.#size),
      start: number === 1 ? HEADER_BYTES : 0,
    };
  }
}

function* rowsBelow(pages: Pages, number: number, depth: number): Generator<readonly SqliteValue[]> {
  if (depth > MAX_DEPTH) throw damaged();
  const { bytes, start } = pages.page(number);
  const type = bytes.readUInt8(start);
  const cells = bytes.readUInt16BE(start + 3);
  if (type !== INTERIOR && type !== LEAF) throw damaged();
  const pointers = start + (type === LEAF ? 8 : 12);
  if (pointers + 2 * cells > bytes.length) throw damaged();
  for (let index = 0; index < cells; index += 1) {
    const at = bytes.readUInt16BE(pointers + 2 * index);
    if (type === LEAF) yield readRecord(payloadAt(pages, bytes, at));
    else yield* rowsBelow(pages, unsigned32(bytes, at), depth + 1);
  }
  if (type === INTERIOR) yield* rowsBelow(pages, unsigned32(bytes, start + 8), depth + 1);
}

/** What does not fit into a cell goes on in a chain of pages. */
function payloadAt(pages: Pages, bytes: Buffer, at: number): Buffer {
  const size = varint(bytes, at);
  const start = varint(bytes, size.next).next; // the row's id
  const { usable } = pages;
  const most = usable - 35;
  if (size.value <= most) return slice(bytes, start, size.value);
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const fitting = least + ((size.value - least) % (usable - 4));
  const local = fitting <= most ? fitting : least;
  const parts = [slice(bytes, start, local)];
  let next = unsigned32(bytes, start + local);
  for (let left = size.value - local; left > 0;) {
    const { bytes: overflow } = pages.page(next);
    const part = slice(overflow, 4, Math.min(left, usable - 4));
    parts.push(part);
    left -= part.length;
    next = overflow.readUInt32BE(0);
  }
  return Buffer.concat(parts);
}

function readRecord(payload: Buffer): SqliteValue[] {
  const header = varint(payload, 0);
  const values: SqliteValue[] = [];
  let at = header.value;
  for (let place = header.next; place < header.value;) {
    const type = varint(payload, place);
    place = type.next;
    const { value, length } = readValue(payload, at, type.value);
    values.push(value);
    at += length;
  }
  return values;
}

/** Bytes of the integers by their type. */
const INTEGERS = [0, 1, 2, 3, 4, 6, 8] as const;

function readValue(
  payload: Buffer,
  at: number,
  type: number,
): { readonly value: SqliteValue; readonly length: number } {
  if (type >= 12) {
    const length = Math.floor((type - 12) / 2);
    const bytes = slice(payload, at, length);
    return { value: type % 2 === 0 ? bytes : bytes.toString('utf8'), length };
  }
  if (type === 0) return { value: null, length: 0 };
  if (type === 7) return { value: slice(payload, at, 8).readDoubleBE(), length: 8 };
  if (type === 8 || type === 9) return { value: type - 8, length: 0 };
  const length = INTEGERS[type];
  if (length === undefined) throw damaged();
  const bytes = slice(payload, at, length);
  return { value: length === 8 ? Number(bytes.readBigInt64BE()) : bytes.readIntBE(0, length), length };
}

/** Seven bits in each byte, the last of nine has eight. Sizes and ids here are far below 2^53. */
function varint(bytes: Buffer, at: number): { readonly value: number; readonly next: number } {
  let value = 0;
  for (let index = 0; index < 9; index += 1) {
    const byte = bytes[at + index];
    if (byte === undefined) throw damaged();
    value = index === 8 ? value * 256 + byte : value * 128 + (byte & 0x7f);
    if (byte < 0x80 || index === 8) return { value, next: at + index + 1 };
  }
  throw damaged();
}

function unsigned32(bytes: Buffer, at: number): number {
  return slice(bytes, at, 4).readUInt32BE();
}

function slice(bytes: Buffer, at: number, length: number): Buffer {
  if (!Number.isSafeInteger(at + length) || at + length > bytes.length) throw damaged();
  return bytes.subarray(at, at + length);
}

function damaged(): Error {
  return new Error('the database is damaged');
}
