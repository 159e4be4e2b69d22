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
  const stream = new ArchiveStream(block, sink);
  for (const entry of entries) stream.add(entry, time);
  stream.end();
}

/** Two empty blocks end an archive. */
const ZEROS = Buffer.alloc(2 * TAR_BLOCK);

/** An archive on its way into a sink. */
export class ArchiveStream {
  #block: Buffer;
  readonly #sink: BlockSink;
  #used = 0;

  constructor(block: Buffer, sink: BlockSink) {
    this.#block = block;
    this.#sink = sink;
  }

  /** An entry with its contents, which are read. Throws as `streamEntries` does. */
  add(tree: TreeEntry, time: number): void {
    this.append(renderTreeEntry(tree, time));
    if (tree.source !== undefined) this.#addContents(tree.entry.path, tree.source);
  }

  append(bytes: Buffer): void {
    for (let taken = 0; taken < bytes.length;) {
      const copied = bytes.copy(this.#block, this.#used, taken);
      taken += copied;
      this.#advance(copied);
    }
  }

  /**
   * Contents of `size` bytes, and what fills their last block.
   *
   * @param read puts some of them into what it is given, at least one, and says how many
   */
  fill(size: number, read: (room: Buffer) => number): void {
    for (let left = size; left > 0;) {
      const count = read(this.#block.subarray(this.#used, Math.min(this.#block.length, this.#used + left)));
      left -= count;
      this.#advance(count);
    }
    this.append(ZEROS.subarray(0, paddingOf(size)));
  }

  end(): void {
    this.append(ZEROS);
    if (this.#used > 0) this.#sink.take(this.#block.subarray(0, this.#used));
  }

  /** Gives the block back for the time being. Nothing may be added until `resume`. */
  pause(): void {
    this.#block = Buffer.from(this.#block.subarray(0, this.#used));
  }

  /** @param block of the size of the first one */
  resume(block: Buffer): void {
    this.#block.copy(block);
    this.#block = block;
  }

  #advance(written: number): void {
    this.#used += written;
    if (this.#used < this.#block.length) return;
    this.#sink.take(this.#block);
    this.#used = 0;
  }

  #addContents(path: string, { absolute, size, inode, mtimeMs }: FileSource): void {
    if (size === 0) return;
    const file = openContents(path, absolute);
    try {
      this.fill(size, (room) => {
        const read = readSync(file, room);
        if (read === 0) throw changed(path);
        return read;
      });
      const after = fstatSync(file);
      if (after.size !== size || after.ino !== inode || after.mtimeMs !== mtimeMs) throw changed(path);
    } finally {
      closeSync(file);
    }
  }
}

/** Its header. @param time of what has none of its own, seconds */
export function renderTreeEntry({ entry, dated }: TreeEntry, time: number): Buffer {
  return renderTarEntry(dated ? entry : { ...entry, mtime: time });
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
