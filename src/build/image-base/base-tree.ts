/** The image that others are built on: its layers in the store, and unpacked. */
import { createHash } from 'node:crypto';
import { copyFile, open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { digestOfHex, hexOf } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import type { ImageSource } from '../../oci/image-transfer.ts';
import { layerContents } from '../../oci/layer-contents.ts';
import type { Descriptor } from '../../oci/schema.ts';
import { TarParser } from '../../oci/tar-parser.ts';
import type { PlannedImage } from '../../plan/plan.ts';
import { run } from '../../proc/run.ts';
import type { Stage } from '../../report/events.ts';
import { type Store, syncDirectory } from '../../store/store.ts';
import { setfattrArgv } from '../../tools/setfattr.ts';
import type { PackedLayer } from '../packed-layer.ts';
import { LayerUnpacker } from './unpack-layer.ts';

export interface BaseTreeOptions {
  readonly store: Store;
  /** Opens what the lock calls it; its blobs are verified. */
  readonly openBase: (reference: string) => Promise<ImageSource>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Brings the layers that are missing into the store, each checked against its digest.
 *
 * @throws IngotError NOT_FOUND, DIGEST_MISMATCH, DISK_FULL, and what registries throw
 */
export async function fetchBaseLayers(
  { reference, layers }: PlannedImage,
  { store, openBase, signal }: BaseTreeOptions,
  stage?: Stage,
): Promise<void> {
  const missing: Descriptor[] = [];
  for (const layer of layers) {
    if ((await store.blobSize(hexOf(layer.digest))) !== layer.size) missing.push(layer);
  }
  if (missing.length === 0) return;
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  await using source = await openBase(reference);
  for (const layer of missing) {
    const path = await source.blobFile?.(layer, {
      signal,
      onProgress: (bytes) => stage?.progress(done + bytes, total, 'bytes', 'fetching'),
    });
    if (path === undefined) throw new TypeError(`${source.shown} gives no files`);
    await takeOver(store, layer, path);
    done += layer.size;
  }
}

/** A copy, since the file may be another's to change. */
async function takeOver(store: Store, { digest }: Descriptor, path: string): Promise<void> {
  const hex = hexOf(digest);
  const target = store.blobPath(hex);
  if (path === target) return;
  await using scratch = await store.scratch('base');
  const copy = join(scratch.path, hex);
  await copyFile(path, copy);
  const file = await open(copy, 'r+');
  await file.sync();
  await file.close();
  await rename(copy, target);
  await syncDirectory(dirname(target));
}

/** What the layers are, as those of a build are known: read once, so that the digests of the plain archives hold. */
export async function describeBaseLayers(
  { reference, layers }: PlannedImage,
  { store, signal }: BaseTreeOptions,
): Promise<PackedLayer> {
  const chunks: PackedLayer['chunks'][number][] = [];
  for (const [index, layer] of layers.entries()) {
    let entries = 0;
    let bytes = 0;
    const hash = createHash('sha256');
    const parser = new TarParser(() => {
      entries += 1;
      return undefined;
    });
    await eachChunk(store, reference, layer, signal, (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
      parser.write(chunk);
    });
    if (digestOfHex(hash.digest('hex')) !== layer.diffId) {
      throw new IngotError('DIGEST_MISMATCH', `${reference}: ${layer.digest} unpacks to something else than its image says`, {
        hint: 'this is nothing that a tool writes: do not trust it',
      });
    }
    const { mediaType, diffId, digest, size } = layer;
    chunks.push({ name: String(index), mediaType, diffId, digest, size, uncompressedSize: bytes, entries });
  }
  return { chunks };
}

/** @throws IngotError BUILD_FAILED for layers that cannot be unpacked */
export async function unpackBase(root: string, image: PlannedImage, options: BaseTreeOptions): Promise<void> {
  const { store, signal } = options;
  await fetchBaseLayers(image, options);
  for (const layer of image.layers) {
    const unpacker = new LayerUnpacker(root);
    const parser = new TarParser((member) => unpacker.see(member));
    await eachChunk(store, image.reference, layer, signal, (chunk) => {
      parser.write(chunk);
    });
    for (const { path, attributes } of unpacker.finish()) {
      for (const [name, value] of attributes) await run(setfattrArgv(name, value, path), { signal });
    }
  }
}

async function eachChunk(
  store: Store,
  reference: string,
  layer: Descriptor,
  signal: AbortSignal | undefined,
  take: (chunk: Buffer) => void,
): Promise<void> {
  try {
    for await (const chunk of layerContents(store.blobPath(hexOf(layer.digest)), layer)) {
      if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while unpacking the base');
      take(chunk);
    }
  } catch (error) {
    if (error instanceof IngotError) throw error;
    if (errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT') {
      throw new IngotError('DISK_FULL', `no space left in the store ${store.root}`, {
        hint: '`ingot store gc` frees what no build uses; --store moves the store',
        cause: error,
      });
    }
    const what = error instanceof Error ? error.message : String(error);
    throw new IngotError('BUILD_FAILED', `${reference}: the layer ${layer.digest} cannot be unpacked: ${what}`, {
      hint: 'take another base, or tell who made it',
      cause: error,
    });
  }
}
