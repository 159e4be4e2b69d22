/**
 * Writes an archive into the store as a zstd blob: one pass from plain bytes to both digests.
 *
 * Each block of `FRAME_BYTES` becomes a zstd frame of its own, and the blob is their concatenation (RFC 8878,
 * section 3). So all cores compress at once while the bits depend only on the contents, the level and the zstd
 * version (`process.versions.zstd`), never on the number of cores. zstd's own workers would do the same inside
 * one frame, but Node's stream takes their pauses for the end of the data (it fails with
 * ERR_STREAM_PUSH_AFTER_EOF or truncates). The price is about one percent of size.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';

import { type Digest, digestOfHex } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import { type ScratchDirectory, type Store, syncDirectory } from '../../store/store.ts';
import type { BlockSink } from './tar-stream.ts';

/** A part of every blob's bits: changing it changes every digest. */
export const FRAME_BYTES = 4 * 1024 * 1024;

export interface LayerBlob {
  /** Of the plain archive. */
  readonly diffId: Digest;
  /** Of the compressed blob. */
  readonly digest: Digest;
  /** Bytes of the compressed blob. */
  readonly size: number;
  readonly uncompressedSize: number;
}

export interface LayerBlobOptions {
  readonly level: number;
  readonly signal?: AbortSignal | undefined;
  /** Told the plain bytes taken so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Blocks that nobody fills, for writers to share: a fresh one costs a page fault for every 4 KiB. */
  readonly idle?: Buffer[] | undefined;
}

const compress = promisify(zstdCompress);

export class LayerBlobWriter implements BlockSink, AsyncDisposable {
  readonly #store: Store;
  readonly #scratch: ScratchDirectory;
  readonly #file: FileHandle;
  readonly #options: LayerBlobOptions;
  readonly #plainHash = createHash('sha256');
  readonly #blobHash = createHash('sha256');
  readonly #idle: Buffer[];
  /** Frames being compressed, in order. */
  readonly #frames: { readonly block: Buffer; readonly result: Promise<Buffer> }[] = [];
  /** Node's thread pool has four threads unless told otherwise. */
  readonly #parallel = Math.max(1, Math.min(4, availableParallelism()));
  #plainBytes = 0;
  #blobBytes = 0;

  private constructor(store: Store, scratch: ScratchDirectory, file: FileHandle, options: LayerBlobOptions) {
    this.#store = store;
    this.#scratch = scratch;
    this.#file = file;
    this.#options = options;
    this.#idle = options.idle ?? [];
  }

  static async create(store: Store, options: LayerBlobOptions): Promise<LayerBlobWriter> {
    await using cleanup = new AsyncDisposableStack();
    const scratch = cleanup.use(await store.scratch('layer'));
    const file = await open(join(scratch.path, 'blob'), 'wx', 0o644);
    cleanup.move();
    return new LayerBlobWriter(store, scratch, file, options);
  }

  /** A block to fill. */
  firstBlock(): Buffer {
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(FRAME_BYTES);
  }

  async exchange(block: Buffer, length: number): Promise<Buffer> {
    if (this.#options.signal?.aborted === true) {
      throw new IngotError('INTERRUPTED', 'interrupted while packing a layer');
    }
    const plain = block.subarray(0, length);
    this.#plainHash.update(plain);
    this.#plainBytes += length;
    this.#options.onProgress?.(this.#plainBytes);
    const result = compress(plain, {
      chunkSize: length + Math.ceil(length / 64) + 1024, // holds any frame whole
      params: {
        [constants.ZSTD_c_compressionLevel]: this.#options.level,
        [constants.ZSTD_c_checksumFlag]: 1,
      },
    });
    // Awaited in order below; an earlier failure must not leave a later one unhandled.
    result.catch(() => undefined);
    this.#frames.push({ block, result });
    while (this.#frames.length > this.#parallel + 1) await this.#writeOldest();
    return this.firstBlock();
  }

  /** Completes the blob under its final name in the store. */
  async finish(): Promise<LayerBlob> {
    while (this.#frames.length > 0) await this.#writeOldest();
    const hex = this.#blobHash.digest('hex');
    await this.#saying(() => this.#file.sync());
    const target = this.#store.blobPath(hex);
    // The same bits may be there already, hard-linked into layouts: keep that inode.
    if ((await this.#store.blobSize(hex)) !== this.#blobBytes) {
      await rename(join(this.#scratch.path, 'blob'), target);
      await syncDirectory(dirname(target));
      await this.#store.recordBlob(hex);
    }
    return {
      diffId: digestOfHex(this.#plainHash.digest('hex')),
      digest: digestOfHex(hex),
      size: this.#blobBytes,
      uncompressedSize: this.#plainBytes,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#frames.map((frame) => frame.result));
    await this.#file.close();
    await this.#scratch[Symbol.asyncDispose]();
  }

  async #writeOldest(): Promise<void> {
    const frame = this.#frames.shift();
    if (frame === undefined) return;
    const bytes = await frame.result;
    this.#idle.push(frame.block);
    this.#blobHash.update(bytes);
    this.#blobBytes += bytes.length;
    await this.#saying(() => this.#file.appendFile(bytes));
  }

  async #saying(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      const code = errnoOf(error);
      if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
      throw new IngotError('DISK_FULL', `no space left in the store ${this.#store.root}`, {
        hint: '`ingot store gc` frees what no build uses; --store moves the store',
        cause: error,
      });
    }
  }
}
