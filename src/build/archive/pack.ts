/** Packs a directory tree into image layers in the store. */
import pLimit from 'p-limit';

import type { Digest } from '../../digest.ts';
import type { Store } from '../../store/store.ts';
import { divideEntries, type ChunkEntries, type Division, undivided } from './divide.ts';
import { LayerBlobWriter, type LayerBlobOptions } from './layer-blob.ts';
import { streamEntries } from './tar-stream.ts';
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
  // While the last blocks of one are compressed and written, the next is read.
  const limit = pLimit(SIDE_BY_SIDE);
  const idle: Buffer[] = [];
  let total = 0;
  const results = await Promise.allSettled(
    wanted.map((chunk) =>
      limit(async () => {
        let before = 0;
        try {
          return await packChunk(store, chunk, {
            level: chunk.level ?? options.level ?? DEFAULT_LEVEL,
            signal,
            idle,
            onProgress: (bytes) => {
              total += bytes - before;
              before = bytes;
              options.onProgress?.(total);
            },
          });
        } catch (error) {
          failure.abort(error); // the first one's reason stays
          throw error;
        }
      }),
    ),
  );
  if (failure.signal.aborted) throw failure.signal.reason;
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

/** Packs all of `tree` into one blob. */
export async function packTree(store: Store, tree: string, options: PackOptions): Promise<PackedChunk> {
  const [whole] = await packChunks(store, tree, undivided(options.epoch), options);
  if (whole === undefined) throw new TypeError('a tree packs into at least one chunk');
  return whole;
}

const SIDE_BY_SIDE = 2;

async function packChunk(
  store: Store,
  { name, entries, time }: ChunkEntries,
  options: LayerBlobOptions,
): Promise<PackedChunk> {
  await using writer = await LayerBlobWriter.create(store, options);
  await streamEntries(entries, time, writer.firstBlock(), writer);
  return { name, mediaType: LAYER_MEDIA_TYPE, ...(await writer.finish()), entries: entries.length };
}
