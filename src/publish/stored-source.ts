/**
 * A source whose blobs come into the store first: what was fetched once is not fetched again, and a blob that was cut
 * short, by the network or by `kill -9`, goes on where it ended.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';

import { type Digest, hexOf } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { verifiedChunks } from '../oci/blob.ts';
import type {
  BlobHash,
  BlobOptions,
  ImageSource,
  ManifestDocument,
  PutBlobOptions,
  TransferOptions,
} from '../oci/image-transfer.ts';
import type { Descriptor } from '../oci/schema.ts';
import { type FollowedFile, FollowingHasher } from '../store/following-hasher.ts';
import type { Store } from '../store/store.ts';

/** Smaller blobs are hashed before a thread is told of them. */
const FOLLOWED_BYTES = 4 * 1024 * 1024;

export class StoredSource implements ImageSource {
  readonly shown: string;
  readonly #inner: ImageSource;
  readonly #store: Store;
  /** With one core, a thread of its own would only read all once more. */
  readonly #hasher = availableParallelism() > 1 ? new FollowingHasher() : undefined;
  /** Blobs whose locks are held already. */
  readonly #locked = new Set<string>();

  constructor(inner: ImageSource, store: Store) {
    this.#inner = inner;
    this.#store = store;
    this.shown = inner.shown;
  }

  manifest(reference: string | Descriptor | undefined, options?: TransferOptions): Promise<ManifestDocument> {
    return this.#inner.manifest(reference, options);
  }

  referrers(subject: Digest, options?: TransferOptions): Promise<readonly Descriptor[]> {
    return this.#inner.referrers(subject, options);
  }

  async *blob(descriptor: Descriptor, options: BlobOptions = {}): AsyncGenerator<Buffer> {
    yield* verifiedChunks(await this.blobFile(descriptor, options), descriptor, options.resume);
  }

  /** Takes the locks of what is missing, all at once. */
  readonly expect = async (
    blobs: readonly Descriptor[],
    { signal }: TransferOptions = {},
  ): Promise<AsyncDisposable> => {
    const missing: string[] = [];
    for (const { digest, size } of this.#inner.blobFile === undefined ? blobs : []) {
      const hex = hexOf(digest);
      if ((await this.#store.blobSize(hex)) !== size) missing.push(hex);
    }
    const held = await this.#store.lockBlobs(missing, signal);
    for (const hex of missing) this.#locked.add(hex);
    return {
      [Symbol.asyncDispose]: async () => {
        for (const hex of missing) this.#locked.delete(hex);
        await held[Symbol.asyncDispose]();
      },
    };
  };

  readonly blobFile = async (descriptor: Descriptor, options: PutBlobOptions = {}): Promise<string> => {
    if (this.#inner.blobFile !== undefined) return this.#inner.blobFile(descriptor, options);
    const { signal } = options;
    const hex = hexOf(descriptor.digest);
    const path = this.#store.blobPath(hex);
    if ((await this.#store.blobSize(hex)) === descriptor.size) return path;
    await using _lock = this.#locked.has(hex) ? undefined : await this.#store.lockBlobs([hex], signal);
    if ((await this.#store.blobSize(hex)) === descriptor.size) return path; // by whom we waited for
    try {
      await this.#fetch(descriptor, options);
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'DIGEST_MISMATCH') throw error;
      // What was here before may have been damaged, or a mirror gave it: once more, from the beginning.
      await rm(this.#store.partialBlobPath(hex), { force: true });
      try {
        await this.#fetch(descriptor, options);
      } catch (again) {
        if (again instanceof IngotError && again.code === 'DIGEST_MISMATCH') {
          await rm(this.#store.partialBlobPath(hex), { force: true });
        }
        throw again;
      }
    }
    return path;
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]();
  }

  async #fetch(descriptor: Descriptor, { signal, onProgress }: PutBlobOptions): Promise<void> {
    const hex = hexOf(descriptor.digest);
    const partial = this.#store.partialBlobPath(hex);
    await mkdir(dirname(partial), { recursive: true });
    const file = await open(partial, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
    try {
      const offset = await takeUp(file, descriptor.size);
      await using followed =
        descriptor.size < FOLLOWED_BYTES ? undefined : this.#hasher?.follow(partial, { signal });
      const hash = followed === undefined ? await hashOfFirst(file, offset) : followedHash(followed);
      let at = offset;
      onProgress?.(at);
      await followed?.grown(at);
      for await (const batch of batchesOf(this.#inner, descriptor, { signal, resume: { offset, hash } })) {
        at += await writeBatch(file, batch, at);
        onProgress?.(at);
        await followed?.grown(at);
      }
    } catch (error) {
      throw isDiskFull(error) ? diskFull(this.#store.root, error) : error;
    } finally {
      await file.close();
    }
    // Neither is synced: what a power loss takes is fetched again. File systems know of a file's bytes before they know
    // that it is longer, so one that lost some is shorter than its record says, and is hashed.
    await rename(partial, this.#store.blobPath(hex));
    await this.#store.recordBlob(hex);
  }
}

async function* batchesOf(
  source: ImageSource,
  descriptor: Descriptor,
  options: BlobOptions,
): AsyncGenerator<readonly Buffer[]> {
  if (source.blobBatches !== undefined) yield* source.blobBatches(descriptor, options);
  else for await (const chunk of source.blob(descriptor, options)) yield [chunk];
}

/** @returns the bytes written: all there are */
async function writeBatch(file: FileHandle, batch: readonly Buffer[], at: number): Promise<number> {
  const bytes = batch.reduce((sum, { length }) => sum + length, 0);
  const { bytesWritten } = await file.writev(batch, at);
  // A write may end early; what is left of a batch is small enough to be put together.
  const rest = bytesWritten < bytes ? Buffer.concat(batch).subarray(bytesWritten) : Buffer.alloc(0);
  for (let done = 0; done < rest.length;) {
    done += (await file.write(rest, done, rest.length - done, at + bytesWritten + done)).bytesWritten;
  }
  return bytes;
}

/** The bytes that are there of a blob already. */
async function takeUp(file: FileHandle, size: number): Promise<number> {
  const { size: there } = await file.stat();
  if (there <= size) return there;
  await file.truncate(0);
  return 0;
}

async function hashOfFirst(file: FileHandle, bytes: number): Promise<Hash> {
  const hash = createHash('sha256');
  if (bytes === 0) return hash;
  const first = file.createReadStream({
    start: 0,
    end: bytes - 1,
    autoClose: false,
    highWaterMark: 1024 * 1024,
  });
  for await (const chunk of first) hash.update(chunk as Buffer);
  return hash;
}

/** What is written is hashed, not what comes by. */
function followedHash(file: FollowedFile): BlobHash {
  return { update: () => undefined, digest: () => file.digest() };
}

function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
}

function diskFull(root: string, cause: unknown): IngotError {
  return new IngotError('DISK_FULL', `the store ${root} is full`, {
    hint: 'free some space, run `ingot store gc`, or set INGOT_STORE to a larger file system',
    cause,
  });
}
