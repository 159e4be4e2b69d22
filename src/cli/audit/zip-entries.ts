/**
 * The files of a ZIP archive (APPNOTE.TXT 6.3), one after the other, as the directory at its end names them. Only what
 * exports are made with: stored or deflated, not encrypted, also with more than 65,535 files (ZIP64).
 */
import { type FileHandle, open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';

const inflate = promisify(inflateRaw);

const END = 0x06054b50;
const END_BYTES = 22;
const MAX_COMMENT = 0xffff;
const END64_LOCATOR = 0x07064b50;
const END64 = 0x06064b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const MAX_ENTRIES = 2_000_000;
const MAX_DIRECTORY_BYTES = 512 * 1024 * 1024;
/** Of one file, unpacked. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

export interface ZipEntry {
  readonly name: string;
  readonly read: () => Promise<Buffer>;
}

/** @throws Error about what is no such archive, or one that is damaged */
export async function* zipEntries(path: string): AsyncGenerator<ZipEntry> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const { offset, bytes, count } = await findDirectory(file, size);
    if (count > MAX_ENTRIES || bytes > MAX_DIRECTORY_BYTES)
      throw new Error('it has more files than any export');
    const directory = await readAt(file, offset, bytes);
    let at = 0;
    for (let index = 0; index < count; index += 1) {
      if (at + 46 > directory.length || directory.readUInt32LE(at) !== ENTRY) {
        throw new Error('its directory is damaged');
      }
      const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) =>
        directory.readUInt16LE(at + field),
      );
      const name = directory.toString('utf8', at + 46, at + 46 + (nameBytes ?? 0));
      const entry = directory.subarray(at, at + 46 + (nameBytes ?? 0) + (extraBytes ?? 0));
      at += entry.length + (commentBytes ?? 0);
      if (!name.endsWith('/')) yield { name, read: () => readEntry(file, entry, name) };
    }
  } finally {
    await file.close();
  }
}

async function findDirectory(
  file: FileHandle,
  size: number,
): Promise<{ offset: number; bytes: number; count: number }> {
  const tailBytes = Math.min(size, END_BYTES + MAX_COMMENT);
  const tail = await readAt(file, size - tailBytes, tailBytes);
  for (let at = tail.length - END_BYTES; at >= 0; at -= 1) {
    if (tail.readUInt32LE(at) !== END) continue;
    const count = tail.readUInt16LE(at + 10);
    const bytes = tail.readUInt32LE(at + 12);
    const offset = tail.readUInt32LE(at + 16);
    if (count !== 0xffff && bytes !== 0xffffffff && offset !== 0xffffffff) return { offset, bytes, count };
    const locator = at - 20;
    if (locator < 0 || tail.readUInt32LE(locator) !== END64_LOCATOR) return { offset, bytes, count };
    const end = await readAt(file, safe(tail.readBigUInt64LE(locator + 8)), 56);
    if (end.readUInt32LE(0) !== END64) throw new Error('its directory is damaged');
    return {
      count: safe(end.readBigUInt64LE(32)),
      bytes: safe(end.readBigUInt64LE(40)),
      offset: safe(end.readBigUInt64LE(48)),
    };
  }
  throw new Error('it has no directory: it is no ZIP archive, or was cut short');
}

async function readEntry(file: FileHandle, entry: Buffer, name: string): Promise<Buffer> {
  const [flags, method] = [entry.readUInt16LE(8), entry.readUInt16LE(10)];
  const { packed, unpacked, offset } = sizesOf(entry);
  if ((flags & 1) !== 0 || (method !== 0 && method !== 8))
    throw new Error(`${name} is packed in a way that nobody uses`);
  if (packed > MAX_FILE_BYTES || unpacked > MAX_FILE_BYTES) throw new Error(`${name} has ${unpacked} bytes`);
  const header = await readAt(file, offset, 30);
  if (header.readUInt32LE(0) !== LOCAL) throw new Error(`${name} is not where the directory says`);
  const data = await readAt(file, offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28), packed);
  const bytes = method === 0 ? data : await inflate(data, { maxOutputLength: MAX_FILE_BYTES });
  if (bytes.length !== unpacked || crc32(bytes) !== entry.readUInt32LE(16))
    throw new Error(`${name} is damaged`);
  return bytes;
}

/** Of an entry of the directory; what does not fit its 32 bits is in the extra field 1, in this order. */
function sizesOf(entry: Buffer): { packed: number; unpacked: number; offset: number } {
  const fields = [24, 20, 42].map((field) => entry.readUInt32LE(field));
  let at = 46 + entry.readUInt16LE(28);
  while (at + 4 <= entry.length) {
    const length = entry.readUInt16LE(at + 2);
    if (entry.readUInt16LE(at) === 1) {
      let wide = at + 4;
      for (const [index, value] of fields.entries()) {
        if (value !== 0xffffffff) continue;
        fields[index] = safe(entry.readBigUInt64LE(wide));
        wide += 8;
      }
    }
    at += 4 + length;
  }
  const [unpacked = 0, packed = 0, offset = 0] = fields;
  return { packed, unpacked, offset };
}

function safe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new Error('its directory is damaged');
  return number;
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  if (position < 0 || bytesRead !== length) throw new Error('it was cut short');
  return buffer;
}
