/** Packs a directory tree into image layers in the store. */
import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { hexOf, type Digest } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import { syncDirectory, type Store } from '../../store/store.ts';
import { divideEntries, type ChunkEntries, type Division, undivided } from './divide.ts';
import type { GrowingArchives } from './growing-archives.ts';
import type { LayerBlob } from './layer-blob.ts';
import { Packers, type PackJob, type PackJobOptions } from './packers.ts';
import { walkTree } from './tree-walk.ts';
import { readTreeAttributes } from './xattrs.ts';

export const LAYER_MEDIA_TYPE = 'application/vnd.oci.image.layer.v1.tar+zstd';

/** zstd's own default: the best ratio of bytes to pull and seconds to build. */
export const DEFAULT_LEVEL = 3;

export interface PackedChunk {
  readonly name: string;
  readonly mediaType: typeof LAYER_MEDIA_TYPE;
  /** Of the plain archive. */
  readonly diffId: Digest;
  /** Of the blob, which is in the store. */
  readonly digest: Digest;
  /** Bytes of the blob. */
  readonly size: number;
  readonly uncompressedSize: number;
  /** Files, directories, links and removals in the archive. */
  readonly entries: number;
}

export interface PackOptions {
  /** SOURCE_DATE_EPOCH, seconds. */
  readonly epoch: number;
  readonly level?: number | undefined;
  /** True leaves a path out, with everything below it. Relative to the tree, no trailing slash. */
  readonly drop?: ((path: string) => boolean) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told the plain bytes packed so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /** Default: threads of its own. */
  readonly packers?: Packers | undefined;
  /** Blobs of chunks that were begun before the tree was there. */
  readonly growing?: GrowingArchives | undefined;
  /** Told what came of those. */
  readonly onGrown?: ((chunk: string, result: 'taken' | { readonly why: string }) => void) | undefined;
}

/**
 * Packs `tree`, a directory or the upper directory of an overlay mount, into one blob for each chunk that has
 * something in it. Equal trees give equal digests, in whatever order and at whatever time after `epoch` they were
 * made.
 *
 * @throws IngotError BUILD_FAILED for what a layer cannot hold or a tree that changes meanwhile, DISK_FULL,
 *   INTERRUPTED.
 */
export async function packChunks(
  store: Store,
  tree: string,
  division: Division,
  options: PackOptions,
): Promise<PackedChunk[]> {
  const attributes = await readTreeAttributes(tree, options.signal);
  const { epoch, drop } = options;
  const chunks = divideEntries(walkTree(tree, { epoch, attributes, drop }), division);
  const filled = chunks.filter(({ entries }) => entries.length > 0);
  // An image layer even of an empty tree.
  const wanted = filled.length > 0 ? filled : chunks.slice(0, 1);
  const failure = new AbortController();
  const signal =
    options.signal === undefined ? failure.signal : AbortSignal.any([options.signal, failure.signal]);
  await using own = options.packers === undefined ? new Packers() : undefined;
  const packers = options.packers ?? own;
  if (packers === undefined) throw new TypeError('nobody packs');
  let total = 0;
  const results = await Promise.allSettled(
    wanted.map(async (chunk) => {
      let before = 0;
      const onProgress = (bytes: number): void => {
        total += bytes - before;
        before = bytes;
        options.onProgress?.(total);
      };
      try {
        const whole = { ...chunk, level: chunk.level ?? options.level };
        const grown = await takeGrown(store, whole, { ...options, signal });
        if (grown === undefined) return await packChunk(store, whole, packers, { signal, onProgress });
        onProgress(grown.uncompressedSize);
        return grown;
      } catch (error) {
        failure.abort(error); // the first one's reason stays
        throw error;
      }
    }),
  );
  if (failure.signal.aborted) throw failure.signal.reason;
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

async function takeGrown(
  store: Store,
  chunk: ChunkEntries,
  { growing, onGrown, signal }: PackOptions,
): Promise<PackedChunk | undefined> {
  const { name, entries } = chunk;
  const onNone = (why: string): void => {
    onGrown?.(name, { why });
  };
  const finished = await growing?.finish(chunk, { signal, onNone });
  if (finished === undefined) return undefined;
  const { blob, path } = finished;
  await keepBlob(store, path, hexOf(blob.digest), blob.size);
  onGrown?.(name, 'taken');
  return { name, mediaType: LAYER_MEDIA_TYPE, ...blob, entries: entries.length };
}

/** Packs all of `tree` into one blob. */
export async function packTree(store: Store, tree: string, options: PackOptions): Promise<PackedChunk> {
  const [whole] = await packChunks(store, tree, undivided(options.epoch), options);
  if (whole === undefined) throw new TypeError('a tree packs into at least one chunk');
  return whole;
}

async function packChunk(
  store: Store,
  { name, entries, time, level = DEFAULT_LEVEL }: ChunkEntries,
  packers: Packers,
  options: PackJobOptions,
): Promise<PackedChunk> {
  const blob = await packEntries(store, { entries, time, level }, packers, options);
  return { name, mediaType: LAYER_MEDIA_TYPE, ...blob, entries: entries.length };
}

/**
 * Packs one archive into a blob in the store.
 *
 * @throws IngotError BUILD_FAILED, DISK_FULL, INTERRUPTED
 */
export async function packEntries(
  store: Store,
  job: Omit<PackJob, 'path'>,
  packers: Packers,
  options: PackJobOptions = {},
): Promise<LayerBlob> {
  await using scratch = await store.scratch('layer');
  const path = join(scratch.path, 'blob');
  try {
    const blob = await packers.pack({ ...job, path }, options);
    await keepBlob(store, path, hexOf(blob.digest), blob.size);
    return blob;
  } catch (error) {
    const code = errnoOf(error);
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    throw new IngotError('DISK_FULL', `no space left in the store ${store.root}`, {
      hint: '`ingot store gc` frees what no build uses; --store moves the store',
      cause: error,
    });
  }
}

/** Gives a whole blob its final name in the store. */
async function keepBlob(store: Store, path: string, hex: string, size: number): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  // The same bits may be there already, hard-linked into layouts: keep that inode.
  if ((await store.blobSize(hex)) === size) return;
  const target = store.blobPath(hex);
  await rename(path, target);
  await syncDirectory(dirname(target));
  await store.recordBlob(hex);
}
