/**
 * Deltas of an image: what a node pulls that has the layers of another one. Made where the image is published, and put
 * beside it like any other artifact; who knows nothing of them pulls the layers.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import {
  annotationsOf,
  DELTA_ANNOTATIONS,
  DELTA_ARTIFACT_TYPE,
  LAYER_DELTA_MEDIA_TYPE,
} from '../delta/format.ts';
import { makeDelta, OldLayers } from '../delta/make-delta.ts';
import { type PlainArchive, unpackArchive } from '../delta/plain-archive.ts';
import { type Digest, hexOf } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { decompressLayer } from '../oci/layer-contents.ts';
import type { Descriptor, ImageConfig } from '../oci/schema.ts';
import type { Stage } from '../report/events.ts';
import type { Artifact, ArtifactLayer } from './attach.ts';

/** An image whose layers can be read. */
export interface DeltaSide {
  /** As messages name it. */
  readonly shown: string;
  readonly digest: Digest;
  readonly config: ImageConfig;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
  /** The bytes of a blob; the last step throws when they are not what the descriptor says. */
  blob(descriptor: Descriptor): AsyncIterable<Buffer>;
}

export interface ImageDelta {
  /** Undefined when no layer is smaller as a delta. */
  readonly artifact: Artifact | undefined;
  /** Bytes of the layers that a node lacks which has the other image, and how many they are. */
  readonly withoutBytes: number;
  readonly missing: number;
  /** Bytes that it pulls with these deltas, and for how many layers there is one. */
  readonly bytes: number;
  readonly layers: number;
}

export interface MakeDeltasOptions {
  /** An empty folder of the caller's, for archives while they are read and for the deltas. */
  readonly folder: string;
  readonly stage?: Stage | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A layer that is smaller costs about as much as its delta. */
const LEAST_BYTES = 16 * 1024;
/** A delta that saves less is not worth a node's time. */
const MOST_OF_LAYER = 0.75;

/**
 * The deltas of the layers that `to` alone has, from files of the layers that `from` alone has.
 *
 * @throws IngotError IMAGE_INVALID when a layer is not the archive that its image says, NOT_FOUND, DIGEST_MISMATCH,
 *   DISK_FULL, INTERRUPTED
 */
export async function makeImageDelta(
  from: DeltaSide,
  to: DeltaSide,
  options: MakeDeltasOptions,
): Promise<ImageDelta> {
  return withRoom(options.folder, () => makeAll(from, to, options));
}

async function makeAll(
  from: DeltaSide,
  to: DeltaSide,
  { folder, stage, signal }: MakeDeltasOptions,
): Promise<ImageDelta> {
  const missing = layersOfOneAlone(to, from);
  const withoutBytes = bytesOf(missing);
  const large = missing.filter(({ size }) => size >= LEAST_BYTES);
  const others = layersOfOneAlone(from, to);
  const total = bytesOf([...large, ...(large.length === 0 ? [] : others)]);
  let done = 0;
  const unpack = async (side: DeltaSide, layer: Descriptor): Promise<PlainArchive> => {
    const archive = await unpackLayer(side, layer, join(folder, `${hexOf(layer.digest)}.tar`), signal);
    done += layer.size;
    stage?.progress(done, total, 'bytes');
    return archive;
  };
  const old = new OldLayers();
  const oldPaths: string[] = [];
  const made: ArtifactLayer[] = [];
  let bytes = withoutBytes;
  try {
    for (const layer of large.length === 0 ? [] : others) {
      const archive = await unpack(from, layer);
      oldPaths.push(archive.path);
      old.add(layer.digest, archive);
    }
    for (const layer of large) {
      const archive = await unpack(to, layer);
      try {
        const path = join(folder, `${made.length}.delta`);
        const maxBytes = Math.floor(layer.size * MOST_OF_LAYER);
        const delta = await makeDelta(archive, old, path, { maxBytes, signal });
        if (delta === undefined) continue;
        const { size } = archive;
        made.push({
          mediaType: LAYER_DELTA_MEDIA_TYPE,
          content: delta,
          annotations: annotationsOf({ layer: layer.digest, sources: delta.sources, size }),
        });
        bytes += delta.size - layer.size;
      } finally {
        await rm(archive.path);
      }
    }
  } finally {
    for (const path of oldPaths) await rm(path);
  }
  const artifact = {
    artifactType: DELTA_ARTIFACT_TYPE,
    layers: made,
    annotations: { [DELTA_ANNOTATIONS.fromImage]: from.digest },
  };
  return {
    artifact: made.length === 0 ? undefined : artifact,
    withoutBytes,
    missing: missing.length,
    bytes,
    layers: made.length,
  };
}

function layersOfOneAlone(one: DeltaSide, other: DeltaSide): readonly Descriptor[] {
  const shared = new Set(other.layers.map(({ digest }) => digest));
  const own = one.layers.filter(({ digest }) => !shared.has(digest));
  return [...new Map(own.map((layer) => [layer.digest, layer])).values()];
}

async function unpackLayer(
  side: DeltaSide,
  layer: Descriptor,
  path: string,
  signal: AbortSignal | undefined,
): Promise<PlainArchive> {
  const diffId = side.config.rootfs.diff_ids[side.layers.findIndex(({ digest }) => digest === layer.digest)];
  const contents = decompressLayer(side.blob(layer), layer.mediaType);
  const archive = await unpackArchive(contents, path, signal).catch(async (cause: unknown) => {
    await rm(path, { force: true });
    // What the file system says is about the folder, and an end that was asked for about nothing.
    const isElse = cause instanceof Error && ('syscall' in cause || cause.name === 'AbortError');
    if (cause instanceof IngotError || isElse) throw cause;
    throw new IngotError('IMAGE_INVALID', `${side.shown}: the layer ${layer.digest} cannot be read`, {
      cause,
    });
  });
  if (archive.digest === diffId) return archive;
  await rm(path, { force: true });
  throw new IngotError(
    'IMAGE_INVALID',
    `${side.shown}: the layer ${layer.digest} is ${archive.digest}, and its image says ${diffId}`,
  );
}

/** @throws IngotError DISK_FULL for what a full disk has thrown */
async function withRoom<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!['ENOSPC', 'EDQUOT'].includes(errnoOf(cause) ?? '')) throw cause;
    throw new IngotError('DISK_FULL', `${folder} has no room for the layers that are compared`, {
      hint: 'layers lie there unpacked meanwhile: free some space, or set INGOT_STORE to a larger file system',
      cause,
    });
  }
}

function bytesOf(layers: readonly Descriptor[]): number {
  return layers.reduce((sum, { size }) => sum + size, 0);
}
