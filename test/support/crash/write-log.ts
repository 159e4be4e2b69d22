/**
 * The log of what was written to a disk, as QEMU's blklogwrites and Linux' dm-log-writes keep it
 * (https://docs.kernel.org/admin-guide/device-mapper/log-writes.html): a header, then entries, each in a sector of its
 * own and followed by what it wrote.
 */
import { type FileHandle, open } from 'node:fs/promises';

const MAGIC = 0x6a736677736872n;
const VERSION = 1n;
const FLUSH = 1n;
const DISCARD = 4n;
/** The format counts sectors of the disk in these, whatever the log's own are. */
export const SECTOR = 512;

export interface LogEntry {
  /** Bytes, on the disk. */
  readonly offset: number;
  readonly length: number;
  /** Everything before it was made durable. */
  readonly isFlush: boolean;
  /** What was there is gone; nothing says what is there now. */
  readonly isDiscard: boolean;
  /** Where in the log its content begins. */
  readonly content: number;
}

/** @throws Error for a file that is no such log */
export async function readWriteLog(file: FileHandle): Promise<readonly LogEntry[]> {
  const { count, sectorBytes } = parseHeader(await readAt(file, 0, 28));
  const entries: LogEntry[] = [];
  let at = sectorBytes;
  for (let number = 0; number < count; number++) {
    const head = await readAt(file, at, 24);
    const flags = head.readBigUInt64LE(16);
    const isDiscard = (flags & DISCARD) !== 0n;
    const length = Number(head.readBigUInt64LE(8)) * sectorBytes;
    const content = at + sectorBytes;
    entries.push({
      offset: Number(head.readBigUInt64LE(0)) * SECTOR,
      length,
      isFlush: (flags & FLUSH) !== 0n,
      isDiscard,
      content,
    });
    at = content + (isDiscard ? 0 : length);
  }
  return entries;
}

/** How many entries a log has that is being written. Its header comes with the first of them. */
export async function countEntries(path: string): Promise<number> {
  const file = await open(path);
  try {
    if ((await file.stat()).size === 0) return 0;
    return parseHeader(await readAt(file, 0, 28)).count;
  } finally {
    await file.close();
  }
}

function parseHeader(header: Buffer): { readonly count: number; readonly sectorBytes: number } {
  if (header.readBigUInt64LE(0) !== MAGIC || header.readBigUInt64LE(8) !== VERSION) {
    throw new Error('this is no log of writes');
  }
  return { count: Number(header.readBigUInt64LE(16)), sectorBytes: header.readUInt32LE(24) };
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  if (bytesRead !== length) throw new Error(`the log ends at ${position + bytesRead}, inside of an entry`);
  return buffer;
}
