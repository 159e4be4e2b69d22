/**
 * Containers of GVariant's serialised form, as far as ostree's objects need them: arrays and tuples of values whose size
 * is not fixed. Behind the values stand the places where they end, as numbers of one to eight bytes, which the size of
 * the whole decides (GVariant specification, 2.5). The numbers' low byte comes first on every machine that Ingot knows.
 */

/** Of each offset in a container of `total` bytes, its offsets among them. */
export function offsetBytes(total: number): 1 | 2 | 4 {
  if (total <= 0xff) return 1;
  return total <= 0xffff ? 2 : 4;
}

/** The offsets are part of the size that decides how large each is. */
function offsetBytesFor(bodyBytes: number, count: number): 1 | 2 | 4 {
  for (const bytes of [1, 2] as const) {
    if (offsetBytes(bodyBytes + bytes * count) === bytes) return bytes;
  }
  return 4;
}

function readOffset(bytes: Buffer, at: number, size: 1 | 2 | 4): number {
  if (at < 0 || at + size > bytes.length) throw new RangeError('an offset lies outside of its container');
  return bytes.readUIntLE(at, size);
}

function renderOffsets(ends: readonly number[], bodyBytes: number): Buffer {
  const size = offsetBytesFor(bodyBytes, ends.length);
  const bytes = Buffer.alloc(size * ends.length);
  for (const [index, end] of ends.entries()) bytes.writeUIntLE(end, index * size, size);
  return bytes;
}

function alignedTo(at: number, alignment: 1 | 8): number {
  return Math.ceil(at / alignment) * alignment;
}

/** Values one after the other, each at a multiple of its alignment. */
function layOut(values: readonly Value[]): { readonly body: Buffer; readonly ends: readonly number[] } {
  const parts: Buffer[] = [];
  const ends: number[] = [];
  let at = 0;
  for (const { bytes, alignment } of values) {
    const padding = alignedTo(at, alignment) - at;
    parts.push(Buffer.alloc(padding), bytes);
    at += padding + bytes.length;
    ends.push(at);
  }
  return { body: Buffer.concat(parts), ends };
}

export interface Value {
  readonly bytes: Buffer;
  readonly alignment: 1 | 8;
  /** Whether every value of its type has this size. */
  readonly isFixed: boolean;
}

/** `ay` */
export function byteString(bytes: Buffer): Value {
  return { bytes, alignment: 1, isFixed: false };
}

/** `s` */
export function text(value: string): Value {
  return { bytes: Buffer.from(`${value}\0`), alignment: 1, isFixed: false };
}

/** `t`, with the high byte first, as ostree keeps numbers. */
export function bigEndian64(value: number): Value {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return { bytes, alignment: 8, isFixed: true };
}

/** `v` */
export function variant({ bytes }: Value, type: string): Value {
  return { bytes: Buffer.concat([bytes, Buffer.from(`\0${type}`)]), alignment: 8, isFixed: false };
}

/** Of values of one type whose size is not fixed. */
export function array(values: readonly Value[], alignment: 1 | 8 = 1): Value {
  const { body, ends } = layOut(values);
  return { bytes: Buffer.concat([body, renderOffsets(ends, body.length)]), alignment, isFixed: false };
}

/** Also a dictionary's entry. Not for tuples of fixed values alone. */
export function tuple(values: readonly Value[]): Value {
  const { body, ends } = layOut(values);
  const counted = ends.filter((_end, index) => index < values.length - 1 && values[index]?.isFixed === false);
  const alignment = values.some((value) => value.alignment === 8) ? 8 : 1;
  return {
    bytes: Buffer.concat([body, renderOffsets(counted.toReversed(), body.length)]),
    alignment,
    isFixed: false,
  };
}

/** The values of an array. @param alignment of its elements. @throws RangeError for what is none */
export function splitArray(bytes: Buffer, alignment: 1 | 8 = 1): Buffer[] {
  if (bytes.length === 0) return [];
  const size = offsetBytes(bytes.length);
  const table = readOffset(bytes, bytes.length - size, size);
  const count = (bytes.length - table) / size;
  if (!Number.isInteger(count)) throw new RangeError('the offsets of an array do not fill its end');
  const elements: Buffer[] = [];
  let start = 0;
  for (let index = 0; index < count; index += 1) {
    const end = readOffset(bytes, table + index * size, size);
    if (end < start || end > table) throw new RangeError('an element of an array ends before it begins');
    elements.push(bytes.subarray(start, end));
    start = alignedTo(end, alignment);
  }
  return elements;
}

/** The `count` members of a tuple of which none is fixed or aligned. @throws RangeError for what is none */
export function splitTuple(bytes: Buffer, count: number): Buffer[] {
  const size = offsetBytes(bytes.length);
  const bodyEnd = bytes.length - size * (count - 1);
  const members: Buffer[] = [];
  let start = 0;
  for (let index = 0; index < count; index += 1) {
    const end = index === count - 1 ? bodyEnd : readOffset(bytes, bytes.length - size * (index + 1), size);
    if (end < start || end > bodyEnd) throw new RangeError('a member of a tuple ends before it begins');
    members.push(bytes.subarray(start, end));
    start = end;
  }
  return members;
}

/** Without the zero byte that ends it. @throws RangeError where none does */
export function readText(bytes: Buffer): string {
  if (bytes.at(-1) !== 0) throw new RangeError('a text does not end in a zero byte');
  return bytes.toString('utf8', 0, bytes.length - 1);
}

/** An entry of `a{sv}`: its key, and the bytes and the type of its value. @throws RangeError for what is none */
export function splitEntry(entry: Buffer): {
  readonly key: string;
  readonly value: Buffer;
  readonly type: string;
} {
  const size = offsetBytes(entry.length);
  const bodyEnd = entry.length - size;
  const keyEnd = readOffset(entry, bodyEnd, size);
  if (keyEnd > bodyEnd) throw new RangeError('a key ends behind its entry');
  const variantBytes = entry.subarray(alignedTo(keyEnd, 8), bodyEnd);
  const separator = variantBytes.lastIndexOf(0);
  if (separator === -1) throw new RangeError('a value has no type');
  return {
    key: readText(entry.subarray(0, keyEnd)),
    value: variantBytes.subarray(0, separator),
    type: variantBytes.toString('latin1', separator + 1),
  };
}
