/** Packs a directory tree into an image layer in the store. */
import type { Digest } from '../../digest.ts';
import type { Store } from '../../store/store.ts';
import { LayerBlobWriter } from './layer-blob.ts';
import { streamTree } from './tar-stream.ts';
import { readTreeAttributes } from './xattrs.ts';

export const LAYER_MEDIA_TYPE = 'application/vnd.oci.image.layer.v1.tar+zstd';

/** zstd's own default: the best ratio of bytes to pull and seconds to build. */
export const DEFAULT_LEVEL = 3;

export interface PackedLayer {
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
 * Packs `tree`, a directory or the upper directory of an overlay mount. Equal trees give equal digests, in
 * whatever order and at whatever time after `epoch` they were made.
 *
 * @throws IngotError BUILD_FAILED for what a layer cannot hold or a tree that changes meanwhile, DISK_FULL,
 *   INTERRUPTED.
 */
export async function packTree(store: Store, tree: string, options: PackOptions): Promise<PackedLayer> {
  const attributes = await readTreeAttributes(tree, options.signal);
  await using writer = await LayerBlobWriter.create(store, {
    level: options.level ?? DEFAULT_LEVEL,
    signal: options.signal,
    onProgress: options.onProgress,
  });
  const entries = await streamTree(
    tree,
    { epoch: options.epoch, attributes, drop: options.drop },
    writer.firstBlock(),
    writer,
  );
  return { mediaType: LAYER_MEDIA_TYPE, ...(await writer.finish()), entries };
}
