/**
 * Layers by key from elsewhere than the store. A key covers everything that decides a layer's bits, but says nothing
 * of the bits themselves: whoever can write to a cache decides what is built from it. So only caches that a person
 * names are asked, and what they give is checked for being whole and for being of the layer (layer-inspection.ts),
 * which finds mistakes and not forgeries.
 */
import pLimit from 'p-limit';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import { formatBytes } from '../report/format.ts';
import type { Reporter, Stage } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import { type ArchiveReader, LayerInspection } from './layer-inspection.ts';
import { findPackedLayer, packedBytes, recordPackedLayer, type PackedLayer } from './packed-layer.ts';
import type { TreeRemainder } from './tree-remainder.ts';

export interface LayerCache {
  /** As messages name it. */
  readonly shown: string;
  /**
   * Brings the layer's blobs into the store, verified. Undefined when the cache does not have it.
   *
   * @throws IngotError when the cache cannot be asked, or what it has is no such layer
   */
  fetch(
    key: Digest,
    options: {
      readonly stage: Stage;
      readonly signal?: AbortSignal | undefined;
      /** Is given the plain archive of each blob, by the name of its chunk. */
      readonly reader: (chunk: string) => ArchiveReader;
    },
  ): Promise<PackedLayer | undefined>;
  /** Keeps a layer of the store. */
  keep(key: Digest, layer: PackedLayer, options: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  /**
   * Brings what the layer's tree has beyond it into the store, verified. Undefined when the cache does not have it.
   *
   * @throws IngotError like `fetch`
   */
  fetchTree(
    key: Digest,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<TreeRemainder | undefined>;
  /** Keeps what is in the store of the layer's tree. */
  keepTree(
    key: Digest,
    remainder: TreeRemainder,
    options: { readonly signal?: AbortSignal | undefined },
  ): Promise<void>;
}

export interface LayerCaches {
  /** Asked in this order for what the store lacks. */
  readonly from: readonly LayerCache[];
  /** Given every layer of the image. */
  readonly to: readonly LayerCache[];
}

interface CacheOptions {
  readonly plan: Plan;
  readonly store: Store;
  readonly caches?: LayerCaches | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface FoundLayer {
  readonly layer: PackedLayer;
  /** The cache that it came from; undefined for the store. */
  readonly cache: string | undefined;
}

const SIDE_BY_SIDE = 3;

/** The plan's layers that need not be built, by step name. A cache that fails is warned of and goes without saying. */
export async function findLayers(options: CacheOptions): Promise<ReadonlyMap<string, FoundLayer>> {
  const { plan, store, caches } = options;
  const found = new Map<string, FoundLayer>();
  const missing: PlanStep[] = [];
  for (const step of plan.steps) {
    const layer = await findPackedLayer(store, step.key);
    // The layers of a base that is an image have a registry of their own.
    if (layer === undefined && step.kind !== 'image-base') missing.push(step);
    if (layer !== undefined) found.set(step.name, { layer, cache: undefined });
  }
  if (caches === undefined || caches.from.length === 0) return found;
  const limit = pLimit(SIDE_BY_SIDE);
  const results = await Promise.allSettled(
    missing.map((step) =>
      limit(async () => {
        const layer = await fetchLayer(step, caches.from, options);
        if (layer !== undefined) found.set(step.name, layer);
      }),
    ),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return found;
}

/** Gives the layers of a built image to the caches. One that fails is warned of: the image is built all the same. */
export async function keepLayers(
  layers: readonly { readonly step: PlanStep; readonly layer: PackedLayer }[],
  { caches, reporter, signal }: CacheOptions,
): Promise<void> {
  const ours = layers.filter(({ step }) => step.kind !== 'image-base');
  for (const cache of caches?.to ?? []) {
    try {
      await reporter.stage(`Keep layers in ${cache.shown}`, async (stage) => {
        for (const [at, { step, layer }] of ours.entries()) {
          stage.progress(at, ours.length, 'items', step.name);
          await cache.keep(step.key, layer, { signal });
        }
      });
    } catch (error) {
      warnOrThrow(error, reporter, 'layers could not be kept');
    }
  }
}

async function fetchLayer(
  step: PlanStep,
  from: readonly LayerCache[],
  { plan, store, reporter, signal }: CacheOptions,
): Promise<FoundLayer | undefined> {
  for (const cache of from) {
    try {
      const layer = await reporter.stage(`Fetch ${step.name} from ${cache.shown}`, async (stage) => {
        const inspection = new LayerInspection(step);
        const reader = (chunk: string): ArchiveReader => inspection.reader(chunk);
        const fetched = await cache.fetch(step.key, { stage, signal, reader });
        if (fetched !== undefined) {
          requireChunksOf(step, fetched, cache);
          inspection.finish(fetched, plan.steps, cache.shown);
        }
        stage.detail(fetched === undefined ? 'not there' : formatBytes(packedBytes(fetched)));
        return fetched;
      });
      if (layer === undefined) continue;
      await recordPackedLayer(store, step.key, layer);
      return { layer, cache: cache.shown };
    } catch (error) {
      warnOrThrow(error, reporter, `the layer ${step.name} is built instead`);
    }
  }
  return undefined;
}

/** Chunks without contents are left out of a layer; the others keep their names and their order. */
function requireChunksOf(step: PlanStep, { chunks }: PackedLayer, { shown }: LayerCache): void {
  const names = step.chunks.map(({ name }) => name);
  const positions = chunks.map(({ name }) => names.indexOf(name));
  if (positions.every((position, at) => position > (positions[at - 1] ?? -1))) return;
  throw new IngotError('IMAGE_INVALID', `${shown} has a layer of other chunks than ${step.name} has`);
}

/** Of a cache that fails: the build goes on without. */
export function warnOrThrow(error: unknown, reporter: Reporter, then: string): void {
  const isFinal = !(error instanceof IngotError) || ['INTERRUPTED', 'DISK_FULL'].includes(error.code);
  if (isFinal) throw error;
  reporter.warning(`${error.message}; ${then}`);
}
