/** What the store has of a step: `records/layers/<key>.json` names the blobs that its tree was packed into. */
import * as z from 'zod';

import { DigestText, hexOf, type Digest } from '../digest.ts';
import { LAYER_MEDIA_TYPES } from '../oci/schema.ts';
import type { Store } from '../store/store.ts';
import type { PackedChunk } from './archive/pack.ts';

/** A blob of ours, or one of the layers of a base that is an image. */
export type PackedBlob = Omit<PackedChunk, 'mediaType'> & { readonly mediaType: string };

export interface PackedLayer {
  /** In the order in which they are applied; at least one. */
  readonly chunks: readonly PackedBlob[];
}

/** As the store and caches of layers write it down. */
export const PackedLayerRecord = z.object({
  chunks: z
    .array(
      z.object({
        name: z.string(),
        mediaType: z.enum([...LAYER_MEDIA_TYPES]),
        diffId: DigestText,
        digest: DigestText,
        size: z.int().nonnegative(),
        uncompressedSize: z.int().nonnegative(),
        entries: z.int().nonnegative(),
      }),
    )
    .min(1),
});

/** The blobs of the step with this key, when all of them are there with the sizes that its record says. */
export async function findPackedLayer(store: Store, key: Digest): Promise<PackedLayer | undefined> {
  const record = PackedLayerRecord.safeParse(await store.readRecord('layers', hexOf(key)));
  if (!record.success) return undefined;
  for (const { digest, size } of record.data.chunks) {
    if ((await store.blobSize(hexOf(digest))) !== size) return undefined;
  }
  return record.data;
}

export async function recordPackedLayer(store: Store, key: Digest, layer: PackedLayer): Promise<void> {
  await store.writeRecord('layers', hexOf(key), layer);
}

/** Bytes of all blobs. */
export function packedBytes({ chunks }: PackedLayer): number {
  return chunks.reduce((sum, { size }) => sum + size, 0);
}
