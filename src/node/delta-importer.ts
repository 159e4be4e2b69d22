/** Imports layers of an image by their deltas, where there are some that can be used. */
import pLimit from 'p-limit';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { Descriptor } from '../oci/schema.ts';
import { importDelta } from '../ostree/import-delta.ts';
import type { ImportPlace } from '../ostree/import-image.ts';
import type { OstreeTools } from '../ostree/disk-tools.ts';
import type { LayerDirectories } from '../ostree/tar-directories.ts';
import type { OfferedImage } from './engine.ts';
import type { OfferedDelta } from './find-deltas.ts';

/** What ends an update however its layers come. */
const FATAL: ReadonlySet<string> = new Set(['INTERRUPTED', 'DISK_FULL', 'REGISTRY_UNREACHABLE']);

export class DeltaImporter {
  readonly #deltas: ReadonlyMap<Digest, OfferedDelta>;
  /** What the image says that each archive is. */
  readonly #diffIds: ReadonlyMap<Digest, Digest | undefined>;
  readonly #place: ImportPlace;
  readonly #tools: OstreeTools;
  /** One at a time: each takes the memory of a piece and its dictionary. */
  readonly #limit = pLimit(1);

  constructor(
    { manifest, config }: Pick<OfferedImage, 'manifest' | 'config'>,
    deltas: readonly OfferedDelta[],
    place: ImportPlace,
    tools: OstreeTools,
  ) {
    this.#deltas = new Map(deltas.map((delta) => [delta.layer, delta]));
    this.#diffIds = new Map(
      manifest.layers.map(({ digest }, index) => [digest, config.rootfs.diff_ids[index]]),
    );
    this.#place = place;
    this.#tools = tools;
  }

  deltaOf({ digest }: Descriptor): OfferedDelta | undefined {
    return this.#deltas.get(digest);
  }

  /**
   * @param pull brings the layer's delta; gives its path
   * @returns undefined when the layer itself has to be pulled; `warn` was told why
   * @throws IngotError for what ends an update however its layers come
   */
  async tryImport(
    descriptor: Descriptor,
    pull: () => Promise<string>,
    warn: (message: string) => void,
  ): Promise<LayerDirectories | undefined> {
    const delta = this.#deltas.get(descriptor.digest);
    const diffId = this.#diffIds.get(descriptor.digest);
    if (delta === undefined || diffId === undefined) return undefined;
    const archive = { digest: diffId, size: delta.size };
    try {
      const path = await pull();
      return await this.#limit(() => importDelta({ descriptor, path, archive }, this.#place, this.#tools));
    } catch (error) {
      if (!(error instanceof IngotError) || FATAL.has(error.code)) throw error;
      warn(`the whole layer ${descriptor.digest} is pulled: ${error.message}`);
      return undefined;
    }
  }
}
