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
import {
  hasBranch,
  hasLayer,
  imageRef,
  type LayerRecords,
  readLayerRecords,
} from '../ostree/layer-record.ts';
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
    // Asked for a second time, now that deltas are known.
    const before = offered.length > 0 && this.#planned?.image === image.digest ? this.#planned : undefined;
    const records = before?.records ?? (await readLayerRecords(this.#repo, image.manifest.layers));
    const missing = new Map(
      image.manifest.layers
        .filter(({ digest }) => !records.has(digest))
        .map((layer) => [layer.digest, layer]),
    );
    const blobs = [...missing.values()];
    const blobBytes = bytesOf(blobs);
    // Blobs go when they are imported, so no more lie there at once than are imported: at worst the largest of them.
    const sizes = blobs.map(({ size }) => size).sort((one, other) => other - one);
    const atOnce = sizes.slice(0, importsAtOnce()).reduce((sum, size) => sum + size, 0);
    const neededBytes = blobBytes * UNPACKED_FACTOR + atOnce + SPARE_BYTES;
    // The archive that a delta becomes lies there besides, one at a time. Where that is too much, the layer is pulled.
    const deltas = offered.filter(({ size }) => neededBytes + size <= freeBytes);
    const saved = deltas.reduce(
      (sum, { blob, layer }) => sum + (missing.get(layer)?.size ?? 0) - blob.size,
      0,
    );
    const bytes = blobBytes - saved;
    this.#planned = { image: image.digest, records, bytes, deltas };
    return { missing: blobs, bytes, deltas, neededBytes, freeBytes };
  }

  /** Those of these layers that are in the repository. */
  async layersHere(layers: readonly Digest[]): Promise<ReadonlySet<Digest>> {
    const here = new Set<Digest>();
    for (const digest of new Set(layers)) if (await hasLayer(this.#repo, digest)) here.add(digest);
    return here;
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
    const importByDelta = async (
      descriptor: Descriptor,
      delta: OfferedDelta,
      stillWanted: AbortSignal,
    ): Promise<LayerDirectories | undefined> => {
      const hex = hexOf(delta.blob.digest);
      // What somebody else put into the store is theirs, whatever a manifest says that it is.
      const wasThere = (await store.blobSize(hex)) !== undefined;
      const made = await byDelta.tryImport(descriptor, {
        pull: () => pull(delta.blob, stillWanted),
        warn,
        signal: stillWanted,
      });
      if (made !== undefined || !wasThere) await rm(store.blobPath(hex), { force: true });
      return made;
    };
    const importOne = async (
      { descriptor }: ImageLayer,
      stillWanted: AbortSignal,
    ): Promise<LayerDirectories> => {
      const delta = byDelta.deltaOf(descriptor);
      if (delta !== undefined) {
        const made = await importByDelta(descriptor, delta, stillWanted);
        if (made !== undefined) return made;
        unplanned.push(descriptor);
      }
      const path = await pull(descriptor, stillWanted);
      const imported = await importLayer({ descriptor, path }, place, this.#tools);
      // In the store it was on its way alone. A layout's own blob stays where it is.
      await rm(store.blobPath(hexOf(descriptor.digest)), { force: true });
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
