/**
 * The archive of a chunk that holds one package, begun while the package is still unpacked: its files are hashed and
 * compressed on their way to the tree, and not read again. Synchronous, for a thread of its own.
 *
 * What is written this way is what the package says. Whether the tree came out so is looked at in the end: an archive
 * counts only where every entry is, to the bit of its header and by the identity of its file, the entry that packing the
 * tree would have written. Then what the package did not bring is added.
 */
import { closeSync, readFileSync, readSync } from 'node:fs';
import { hash } from 'node:crypto';

import { LayerBlobWriter, type LayerBlob, type LayerBlobOptions } from './layer-blob.ts';
import type { TarEntry } from './tar-header.ts';
import { ArchiveStream, renderTreeEntry } from './tar-stream.ts';
import type { TreeEntry } from './tree-walk.ts';

export interface GrowingOptions extends LayerBlobOptions {
  readonly block: Buffer;
  /** SOURCE_DATE_EPOCH, seconds. */
  readonly epoch: number;
  /** Without it, all of the package; otherwise just its files of so many bytes and more, and the folders above them. */
  readonly filesFrom?: number | undefined;
}

/** A file that somebody writes just now. */
export interface GrowingFile {
  /** Open for reading. Closed when it was read. */
  readonly fd: number;
  readonly inode: number;
  /** One number: how many bytes are there; less than none when no more will come. */
  readonly progress: SharedArrayBuffer;
}

/** Why there is none, and the tree is packed. */
export class NoArchive extends Error {}

interface Written {
  readonly header: Buffer;
  /** Which file has the contents. */
  readonly inode?: number;
  /** Of contents that are in a file of the tree's own. */
  readonly sum?: string;
}

/** How long a writer may say nothing before it is looked at again whether it is there. */
const LOOK_AGAIN_MS = 1000;

export class GrowingArchive {
  readonly #options: GrowingOptions;
  readonly #writer: LayerBlobWriter;
  readonly #stream: ArchiveStream;
  readonly #written: Written[] = [];
  readonly #files = new Set<string>();
  /** Folders that nothing was written below so far. */
  #folders: TarEntry[] = [];
  /** Of entries without a time of their own, seconds: that of the first file. */
  #time: number | undefined;

  constructor(options: GrowingOptions) {
    this.#options = options;
    this.#writer = new LayerBlobWriter(options);
    this.#stream = new ArchiveStream(options.block, this.#writer);
  }

  /** A folder, a link, or a file that is there whole. In the order of the package. @throws NoArchive */
  add(entry: TarEntry, contents?: Buffer): void {
    if (entry.type === 'directory') {
      this.#folders.push(entry);
    } else if (entry.type === 'file') {
      if (entry.size < (this.#options.filesFrom ?? 0)) return;
      this.#begin(entry);
      this.#write(entry, { ...(contents !== undefined && { sum: sumOf(contents) }) });
      if (contents === undefined) return;
      let taken = 0;
      this.#stream.fill(entry.size, (room) => {
        const count = contents.copy(room, 0, taken);
        taken += count;
        return count;
      });
    } else if (entry.type === 'hardlink' && this.#files.has(entry.target)) {
      this.#begin(entry);
      this.#write(entry, {});
    }
    // Other links come last: finish() has them.
  }

  /** A file that may not be there whole: this waits for its bytes. @throws NoArchive */
  addGrowing(entry: TarEntry & { readonly type: 'file' }, { fd, inode, progress }: GrowingFile): void {
    try {
      if (entry.size < (this.#options.filesFrom ?? 0)) return;
      this.#begin(entry);
      this.#write(entry, { inode });
      const counter = new BigInt64Array(progress);
      let read = 0;
      this.#stream.fill(entry.size, (room) => {
        const there = awaitMore(counter, read);
        const count = readSync(fd, room, 0, Math.min(room.length, there - read), read);
        if (count === 0) throw new NoArchive(`${entry.path} is shorter than its package says`);
        read += count;
        return count;
      });
    } finally {
      closeSync(fd);
    }
  }

  /** The package is over: its archive waits for the rest of the tree. */
  pause(): void {
    if (this.#written.length === 0) throw new NoArchive('nothing of it belongs in the chunk');
    this.#stream.pause();
  }

  /**
   * Adds what is missing of the chunk.
   *
   * @param entries of the tree, in the order of the archive
   * @param time of those without a time of their own, seconds
   * @throws NoArchive when it began otherwise; IngotError as packing does
   */
  finish(entries: readonly TreeEntry[], time: number, block: Buffer): LayerBlob {
    this.#stream.resume(block);
    for (const [index, written] of this.#written.entries()) {
      const tree = entries[index];
      if (tree === undefined) throw new NoArchive('the tree has less than the package');
      const { entry, source } = tree;
      if (!renderTreeEntry(tree, time).equals(written.header)) throw new NoArchive(`${entry.path} is another in the tree`);
      const isSame =
        written.sum === undefined
          ? written.inode === undefined || source?.inode === written.inode
          : source !== undefined && sumOf(readFileSync(source.absolute)) === written.sum;
      if (!isSame) throw new NoArchive(`${entry.path} has other contents in the tree`);
    }
    for (const entry of entries.slice(this.#written.length)) this.#stream.add(entry, time);
    this.#stream.end();
    return this.#writer.finish();
  }

  /** What has to stand before the entry. */
  #begin(entry: TarEntry): void {
    const { epoch, filesFrom } = this.#options;
    if (entry.mtime > epoch) throw new NoArchive(`${entry.path} is newer than the lock`);
    this.#time ??= entry.mtime;
    const folders = this.#folders;
    this.#folders = [];
    for (const folder of folders) {
      if (filesFrom === undefined || entry.path.startsWith(`${folder.path}/`)) this.#write(folder, {});
    }
  }

  #write(entry: TarEntry, about: Omit<Written, 'header'>): void {
    const header = renderTreeEntry({ entry, dated: entry.type !== 'directory' }, this.#time ?? 0);
    this.#written.push({ header, ...about });
    if (entry.type === 'file') this.#files.add(entry.path);
    this.#stream.append(header);
  }
}

function sumOf(contents: Buffer): string {
  return hash('sha256', contents);
}

/** How many bytes there are, once they are more than `known`. @throws NoArchive */
function awaitMore(counter: BigInt64Array, known: number): number {
  for (;;) {
    const there = Atomics.load(counter, 0);
    if (there < 0n) throw new NoArchive('it was not unpacked to its end');
    if (Number(there) > known) return Number(there);
    Atomics.wait(counter, 0, there, LOOK_AGAIN_MS);
  }
}
