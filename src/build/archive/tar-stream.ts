/**
 * Streams entries as an archive through fixed-size blocks, so that memory does not grow with the files.
 *
 * Contents are read straight into the block that is handed on. Reads are synchronous: most files are small and
 * in the page cache, where a thread-pool round trip per file would cost more than the read.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

import { errnoOf, IngotError } from '../../errors.ts';
import { paddingOf, renderTarEntry, TAR_BLOCK } from './tar-header.ts';
import type { FileSource, TreeEntry } from './tree-walk.ts';

/** Takes full blocks and gives empty ones back. */
export interface BlockSink {
  /**
   * Takes the first `length` bytes of `block`, and the block itself, and resolves to a block to fill next:
   * never the same one while it is still in use.
   */
  exchange(block: Buffer, length: number): Promise<Buffer>;
}

/**
 * Writes a whole archive of `entries` into `sink`, starting with `block`. Only the last exchange is of a block that
 * is not full.
 *
 * @param time of the entries that have none of their own, seconds
 * @throws IngotError BUILD_FAILED when a file changes while it is read, or cannot be archived.
 */
export async function streamEntries(
  entries: Iterable<TreeEntry>,
  time: number,
  block: Buffer,
  sink: BlockSink,
): Promise<void> {
  const cursor = { block, used: 0 };
  for (const { entry, dated, source } of entries) {
    const header = renderTarEntry(dated ? entry : { ...entry, mtime: time });
    if (header.length < cursor.block.length - cursor.used) {
      cursor.used += header.copy(cursor.block, cursor.used);
    } else {
      await append(cursor, sink, header);
    }
    if (source !== undefined) {
      await appendContents(cursor, sink, entry.path, source);
      const padding = paddingOf(source.size);
      if (padding > 0) await append(cursor, sink, ZEROS.subarray(0, padding));
    }
  }
  await append(cursor, sink, ZEROS);
  if (cursor.used > 0) await sink.exchange(cursor.block, cursor.used);
}

/** Two empty blocks end an archive. */
const ZEROS = Buffer.alloc(2 * TAR_BLOCK);

interface Cursor {
  block: Buffer;
  used: number;
}

async function append(cursor: Cursor, sink: BlockSink, bytes: Buffer): Promise<void> {
  for (let taken = 0; taken < bytes.length;) {
    const copied = bytes.copy(cursor.block, cursor.used, taken);
    taken += copied;
    await advance(cursor, sink, copied);
  }
}

async function advance(cursor: Cursor, sink: BlockSink, written: number): Promise<void> {
  cursor.used += written;
  if (cursor.used < cursor.block.length) return;
  cursor.block = await sink.exchange(cursor.block, cursor.used);
  cursor.used = 0;
}

async function appendContents(
  cursor: Cursor,
  sink: BlockSink,
  path: string,
  source: FileSource,
): Promise<void> {
  const { size, inode, mtimeMs } = source;
  if (size === 0) return;
  const file = openContents(path, source.absolute);
  try {
    for (let left = size; left > 0;) {
      const room = Math.min(cursor.block.length - cursor.used, left);
      const read = readSync(file, cursor.block, cursor.used, room, null);
      if (read === 0) throw changed(path);
      left -= read;
      cursor.used += read;
      if (cursor.used === cursor.block.length) await advance(cursor, sink, 0);
    }
    const after = fstatSync(file);
    if (after.size !== size || after.ino !== inode || after.mtimeMs !== mtimeMs) throw changed(path);
  } finally {
    closeSync(file);
  }
}

function openContents(path: string, absolute: string): number {
  try {
    return openSync(absolute, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    // Listed as a regular file a moment ago.
    if (errnoOf(error) === 'ELOOP' || errnoOf(error) === 'ENOENT') throw changed(path);
    throw error;
  }
}

function changed(path: string): IngotError {
  return new IngotError('BUILD_FAILED', `${path} changed while it was archived`, {
    hint: 'something still writes to the tree; end it before packing',
  });
}
