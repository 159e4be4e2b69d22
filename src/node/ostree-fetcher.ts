/** Brings images into the node's repository: what is missing, what it takes, and the pulling itself. */
import { mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';

import { type Digest, hexOf } from '../digest.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { Descriptor } from '../oci/schema.ts';
import {
  describeImage,
  type ImageLayer,
  importImage,
  importLayer,
  importsAtOnce,
} from '../ostree/import-image.ts';
import { hasBranch, imageRef, type LayerRecords, readLayerRecords } from '../ostree/layer-record.ts';
import type { OstreeTools } from '../ostree/disk-tools.ts';
import type { LayerDirectories } from '../ostree/tar-directories.ts';
import { StoredSource } from '../publish/stored-source.ts';
import type { Store } from '../store/store.ts';
import { DeltaImporter } from './delta-importer.ts';
import type { Fetched, FetchOptions, FetchPlan, OfferedImage } from './engine.ts';
import type { OfferedDelta } from './find-deltas.ts';
import { asNodeFailure } from './host-tools.ts';
import { openWritableSysroot } from './writable-sysroot.ts';

export interface OstreeFetcherOptions {
  /** For blobs on their way into the repository. Asked for when there are some. */
  readonly openStore: () => Promise<Store>;
  readonly signal?: AbortSignal | undefined;
}

/** Of what is imported, against its compressed size: 3.1 for Debian's packages at zstd -19, and small files cost more. */
const UNPACKED_FACTOR = 4;
/** Left for logs and the merge of /etc. */
const SPARE_BYTES = 128 * 1024 * 1024;

interface Planned {
  readonly image: Digest;
  readonly records: LayerRecords;
  readonly bytes: number;
  readonly deltas: readonly OfferedDelta[];
}

export class OstreeFetcher {
  readonly #sysroot: string;
  readonly #repo: string;
  readonly #tools: OstreeTools;
  readonly #options: OstreeFetcherOptions;
  /** What was last found to be missing. It stays so: whoever changes the repository has the node's lock. */
  #planned: Planned | undefined;

  constructor(sysroot: string, tools: OstreeTools, options: OstreeFetcherOptions) {
    this.#sysroot = sysroot;
    this.#repo = join(sysroot, 'ostree/repo');
    this.#tools = tools;
    this.#options = options;
  }

  forgetPlan(): void {
    this.#planned = undefined;
  }

  async plan(image: OfferedImage, offered: readonly OfferedDelta[] = []): Promise<FetchPlan> {
    const { bavail, bsize } = await statfs(this.#repo);
    const freeBytes = bavail * bsize;
    if (await hasBranch(this.#repo, imageRef(image.digest))) {
      return { missing: [], bytes: 0, deltas: [], neededBytes: 0, freeBytes };
    }
    const records = await readLayerRecords(this.#repo, image.manifest.layers);
    const missing = new Map(
      image.manifest.layers
        .filter(({ digest }) => !records.has(digest))
        .map((layer) => [layer.digest, layer]),
    );
    const blobs = [...missing.values()];
    const blobBytes = bytesOf(blobs);
    // Blobs go when they are imported, so no more lie there at once than are imported.
    const neededForBlobs =
      blobBytes * UNPACKED_FACTOR + largestAtOnce(blobs.map(({ size }) => size)) + SPARE_BYTES;
    // What a delta makes lies there whole while it is imported, and the blob may be needed all the same.
    const neededForArchives = largestAtOnce(offered.map(({ size }) => size));
    const hasRoom = neededForBlobs + neededForArchives <= freeBytes;
    const deltas = hasRoom ? offered : [];
    const neededBytes = neededForBlobs + (hasRoom ? neededForArchives : 0);
    const saved = deltas.reduce(
      (sum, { blob, layer }) => sum + (missing.get(layer)?.size ?? 0) - blob.size,
      0,
    );
    const bytes = blobBytes - saved;
    this.#planned = { image: image.digest, records, bytes, deltas };
    return { missing: blobs, bytes, deltas, neededBytes, freeBytes };
  }

  /** Those of these layers that are wholly in the repository. */
  async layersHere(layers: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const records = await readLayerRecords(
      this.#repo,
      layers.map((digest) => ({ digest })),
    );
    return new Set(records.keys());
  }

  async fetch(image: OfferedImage, source: ImageSource, { stage, warn }: FetchOptions): Promise<Fetched> {
    const { openStore, signal } = this.#options;
    const store = await openStore();
    if (this.#planned?.image !== image.digest) await this.plan(image);
    const { bytes = 0, records, deltas = [] } = this.#planned ?? {};
    const stored = new StoredSource(source, store);
    await using sysroot = await openWritableSysroot(this.#sysroot, signal);
    const folder = join(sysroot.path, 'ostree/ingot');
    await mkdir(folder, { recursive: true });
    // What an earlier one left when the power went.
    for (const name of await readdir(folder)) {
      if (name.startsWith('work-')) await rm(join(folder, name), { recursive: true, force: true });
    }
    const work = await mkdtemp(join(folder, 'work-'));
    const place = { folder: work, repo: join(sysroot.path, 'ostree/repo'), isDurable: true };
    const described = describeImage({ ...image, name: image.reference }, () => undefined);
    const byDelta = new DeltaImporter(image, deltas, place, this.#tools);
    const unplanned: Descriptor[] = [];
    const moved = new Map<Digest, number>();
    const pull = async (blob: Descriptor, stillWanted: AbortSignal): Promise<string> =>
      await stored.blobFile(blob, {
        signal: stillWanted,
        onProgress: (count) => {
          moved.set(blob.digest, count);
          const done = moved.values().reduce((sum, one) => sum + one);
          stage.progress(done, bytes + bytesOf(unplanned), 'bytes');
        },
      });
    /** From the store, where it was on its way alone. A layout's own blob stays where it is. */
    const drop = (blob: Descriptor): Promise<void> => rm(store.blobPath(hexOf(blob.digest)), { force: true });
    const importOne = async (
      { descriptor }: ImageLayer,
      stillWanted: AbortSignal,
    ): Promise<LayerDirectories> => {
      const delta = byDelta.deltaOf(descriptor);
      if (delta !== undefined) {
        const made = await byDelta.tryImport(descriptor, () => pull(delta.blob, stillWanted), warn);
        await drop(delta.blob);
        if (made !== undefined) return made;
        unplanned.push(descriptor);
      }
      const imported = await importLayer(
        { descriptor, path: await pull(descriptor, stillWanted) },
        place,
        this.#tools,
      );
      await drop(descriptor);
      return imported;
    };
    try {
      await asNodeFailure(importImage(described, place, this.#tools, { records, importOne }));
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    return { unplanned };
  }
}

function bytesOf(blobs: readonly Descriptor[]): number {
  return blobs.reduce((sum, { size }) => sum + size, 0);
}

/** Of as many as are imported side by side, at worst. */
function largestAtOnce(sizes: readonly number[]): number {
  const sorted = [...sizes].sort((one, other) => other - one);
  return sorted.slice(0, importsAtOnce()).reduce((sum, size) => sum + size, 0);
}
