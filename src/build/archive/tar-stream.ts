/**
 * Streams entries as an archive through one block of fixed size, so that memory does not grow with the files.
 *
 * Contents are read straight into the block that is handed on. Synchronous: most files are small and in the page
 * cache, where a thread-pool round trip per file would cost more than the read.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

import { errnoOf, IngotError } from '../../errors.ts';
import { paddingOf, renderTarEntry, TAR_BLOCK } from './tar-header.ts';
import type { FileSource, TreeEntry } from './tree-walk.ts';

/** Takes an archive, block by block. */
export interface BlockSink {
  /** @param block taken until this returns; then it is filled again */
  take(block: Buffer): void;
}

/**
 * Writes a whole archive of `entries` into `sink`, through `block`. Only the last one that it takes is not full.
 *
 * @param time of the entries that have none of their own, seconds
 * @throws IngotError BUILD_FAILED when a file changes while it is read, or cannot be archived.
 */
export function streamEntries(entries: Iterable<TreeEntry>, time: number, block: Buffer, sink: BlockSink): void {
  const cursor = { block, used: 0 };
  for (const { entry, dated, source } of entries) {
    append(cursor, sink, renderTarEntry(dated ? entry : { ...entry, mtime: time }));
    if (source !== undefined) {
      appendContents(cursor, sink, entry.path, source);
      const padding = paddingOf(source.size);
      if (padding > 0) append(cursor, sink, ZEROS.subarray(0, padding));
    }
  }
  append(cursor, sink, ZEROS);
  if (cursor.used > 0) sink.take(block.subarray(0, cursor.used));
}

/** Two empty blocks end an archive. */
const ZEROS = Buffer.alloc(2 * TAR_BLOCK);

interface Cursor {
  readonly block: Buffer;
  used: number;
}

function append(cursor: Cursor, sink: BlockSink, bytes: Buffer): void {
  for (let taken = 0; taken < bytes.length;) {
    const copied = bytes.copy(cursor.block, cursor.used, taken);
    taken += copied;
    advance(cursor, sink, copied);
  }
}

function advance(cursor: Cursor, sink: BlockSink, written: number): void {
  cursor.used += written;
  if (cursor.used < cursor.block.length) return;
  sink.take(cursor.block);
  cursor.used = 0;
}

function appendContents(cursor: Cursor, sink: BlockSink, path: string, source: FileSource): void {
  const { size, inode, mtimeMs } = source;
  if (size === 0) return;
  const file = openContents(path, source.absolute);
  try {
    for (let left = size; left > 0;) {
      const room = Math.min(cursor.block.length - cursor.used, left);
      const read = readSync(file, cursor.block, cursor.used, room, null);
      if (read === 0) throw changed(path);
      left -= read;
      advance(cursor, sink, read);
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
