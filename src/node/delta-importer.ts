/** Imports layers of an image by their deltas, where there are some that can be used. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';

import { applyDelta } from '../delta/apply-delta.ts';
import { type Digest, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { type Descriptor, MEDIA_TYPES } from '../oci/schema.ts';
import type { OstreeTools } from '../ostree/disk-tools.ts';
import { type ImportPlace, importLayer } from '../ostree/import-image.ts';
import { LayerFiles } from '../ostree/layer-files.ts';
import type { LayerDirectories } from '../ostree/tar-directories.ts';
import type { OfferedImage } from './engine.ts';
import type { OfferedDelta } from './find-deltas.ts';

/** What ends an update however its layers come. */
const FATAL: ReadonlySet<string> = new Set(['INTERRUPTED', 'DISK_FULL', 'REGISTRY_UNREACHABLE']);

export interface TryImportOptions {
  /** Brings the layer's delta; gives its path. */
  readonly pull: () => Promise<string>;
  /** Told why the layer itself has to be pulled. */
  readonly warn: (message: string) => void;
  readonly signal: AbortSignal;
}

export class DeltaImporter {
  readonly #deltas: ReadonlyMap<Digest, OfferedDelta>;
  /** What the image says that each archive is. */
  readonly #diffIds: ReadonlyMap<Digest, Digest | undefined>;
  readonly #place: ImportPlace;
  readonly #tools: OstreeTools;
  readonly #files: LayerFiles;
  /** One at a time: each takes the memory of a piece and its dictionary, and the room of an archive. */
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
    this.#files = new LayerFiles(place.repo);
  }

  deltaOf({ digest }: Descriptor): OfferedDelta | undefined {
    return this.#deltas.get(digest);
  }

  /**
   * @returns undefined when the layer itself has to be pulled
   * @throws IngotError for what ends an update however its layers come
   */
  async tryImport(descriptor: Descriptor, options: TryImportOptions): Promise<LayerDirectories | undefined> {
    const delta = this.#deltas.get(descriptor.digest);
    const digest = this.#diffIds.get(descriptor.digest);
    if (delta === undefined || digest === undefined) return undefined;
    const { pull, warn } = options;
    const isPulled = (error: unknown): void => {
      warn(`the whole layer ${descriptor.digest} is pulled: ${messageOf(error)}`);
    };
    let path: string;
    try {
      path = await pull();
    } catch (error) {
      if (!(error instanceof IngotError) || FATAL.has(error.code)) throw error;
      isPulled(error);
      return undefined;
    }
    const archive = { mediaType: MEDIA_TYPES.layer, digest, size: delta.size };
    return await this.#limit(() => this.#makeAndImport(descriptor, path, archive, options.signal, isPulled));
  }

  /** @param archive what the image says that the delta becomes */
  async #makeAndImport(
    descriptor: Descriptor,
    path: string,
    archive: Descriptor,
    signal: AbortSignal,
    isPulled: (error: unknown) => void,
  ): Promise<LayerDirectories | undefined> {
    const plain = join(this.#place.folder, `${hexOf(descriptor.digest)}.tar`);
    try {
      await applyDelta(path, archive, plain, {
        openFile: (layer, name) => this.#files.open(layer, name),
        signal,
      });
    } catch (error) {
      // Even a full disk: without the archive, there may be room for the layer. Or a bad sector under an old file.
      if (error instanceof IngotError && error.code === 'INTERRUPTED') throw error;
      isPulled(error);
      return undefined;
    }
    try {
      return await importLayer({ descriptor, path: plain, content: archive }, this.#place, this.#tools);
    } finally {
      await rm(plain, { force: true });
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
