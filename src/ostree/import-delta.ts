/** A layer into an ostree repository, from its delta and the files of layers that are there. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { applyDelta, type WantedArchive } from '../delta/apply-delta.ts';
import { hexOf } from '../digest.ts';
import { type Descriptor, MEDIA_TYPES } from '../oci/schema.ts';
import { asDiskFailure, type OstreeTools } from './disk-tools.ts';
import { type ImportPlace, importLayer } from './import-image.ts';
import { LayerFiles } from './layer-files.ts';
import type { LayerDirectories } from './tar-directories.ts';

export interface DeltaAtHand {
  /** Of the blob that it stands for: the layer's name in the repository. */
  readonly descriptor: Descriptor;
  /** Of the delta. */
  readonly path: string;
  /** The layer's archive, by what the image says. */
  readonly archive: WantedArchive;
}

/** @throws IngotError as `applyDelta` and `importLayer` */
export async function importDelta(
  { descriptor, path, archive }: DeltaAtHand,
  place: ImportPlace,
  tools: OstreeTools,
): Promise<LayerDirectories> {
  const plain = join(place.folder, `${hexOf(descriptor.digest)}.tar`);
  const files = new LayerFiles(place.repo);
  await asDiskFailure(
    applyDelta(path, archive, plain, {
      openFile: (layer, name) => files.open(layer, name),
      signal: tools.signal,
    }),
  );
  try {
    const content = { mediaType: MEDIA_TYPES.layer, ...archive };
    return await importLayer({ descriptor, path: plain, content }, place, tools);
  } finally {
    await rm(plain, { force: true });
  }
}
