/**
 * Runs a plan: every step whose blob is not in the store is built, independent steps side by side, and the image
 * is assembled from the blobs. Nothing has its final name before it is whole, so a build can be killed at any
 * time and started again.
 */
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';

import { hexOf, type Digest } from '../digest.ts';
import { IngotError, type Location } from '../errors.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { Descriptor } from '../oci/schema.ts';
import { fetchPackages } from '../packages/fetch.ts';
import type { Mirrors } from '../packages/mirror.ts';
import { INITRAMFS } from '../plan/plan-initramfs.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import { formatBytes, formatCount } from '../report/format.ts';
import type { Reporter, Stage } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import type { GrowingArchives } from './archive/growing-archives.ts';
import { packChunks, type PackedChunk } from './archive/pack.ts';
import { Packers } from './archive/packers.ts';
import { chunksByPath } from './debian/package-files.ts';
import { describeBaseLayers, fetchBaseLayers } from './image-base/base-tree.ts';
import { fillTree, imageOf, openerOf } from './fill-tree.ts';
import { assembleImage } from './image.ts';
import { packagesOf, stepsToMake } from './missing-steps.ts';
import { keepTrees, restoreTrees } from './cached-trees.ts';
import { findLayers, keepLayers, type LayerCaches } from './layer-cache.ts';
import { dateByLock } from './lagging-clock.ts';
import type { ModuleSigner } from './modules/signature.ts';
import { findPackedLayer, packedBytes, recordPackedLayer, type PackedLayer } from './packed-layer.ts';
import { RootFs } from './root-fs.ts';
import { rpmChunksByPath } from './rpm/package-files.ts';
import type { BelowTree } from './overlay.ts';
import { leftOutOf } from './steps.ts';
import { settleTimes } from './tree-times.ts';
import { Timeline, type PathPart } from './timeline.ts';
import { openTreeStore, type TreeStore } from './trees.ts';

export interface BuildOptions {
  readonly plan: Plan;
  readonly store: Store;
  /** Asked for only when a tree has to be made: finding out takes as long as a build of nothing. */
  readonly mirrors: () => Promise<Mirrors>;
  /** Where layers come from that the store lacks, and where they are kept. */
  readonly caches?: LayerCaches | undefined;
  /** Opens the image that a plan builds on, as the lock calls it; its blobs can be had as files. */
  readonly openBase?: ((reference: string) => Promise<ImageSource>) | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  /** How long a package script may say nothing before it counts as hanging. */
  readonly scriptSilenceMs?: number | undefined;
  /** Signs the kernel modules that the plan has for it. */
  readonly moduleSigner?: ModuleSigner | undefined;
  readonly locate?: ((path: readonly (string | number)[]) => Location) | undefined;
}

/** One layer of the image, as `build --json` prints it. */
export interface BuiltLayer {
  readonly name: string;
  readonly key: Digest;
  /** Its blobs, each an OCI layer of the image, in the order in which they are applied. */
  readonly chunks: readonly Pick<PackedChunk, 'name' | 'digest' | 'diffId' | 'size'>[];
  /** Bytes of all its blobs. */
  readonly size: number;
  readonly cached: boolean;
  /** The cache that it was fetched from, if it was. */
  readonly cache?: string;
  readonly seconds: number;
}

export interface BuiltImage {
  readonly digest: Digest;
  /** Of the manifest, whose blob and those it names are in the store. */
  readonly manifest: Descriptor;
  readonly layers: readonly BuiltLayer[];
  readonly cached: boolean;
  readonly seconds: number;
  /** What decided how long the steps took; empty when none was built. */
  readonly criticalPath: readonly PathPart[];
}

/**
 * Builds the plan's image into the store, which the caller holds in use.
 *
 * @throws IngotError BUILD_FAILED, LAYER_CONFLICT, LINT_FAILED, UNIT_UNKNOWN, PACKAGE_GONE, DIGEST_MISMATCH,
 *   DISK_FULL, NOT_ROOT, INTERRUPTED and what fetching packages throws.
 */
export async function buildImage(options: BuildOptions): Promise<BuiltImage> {
  const started = performance.now();
  const { plan, store } = options;
  const trees = await openTreeStore(store);
  const timeline = new Timeline();
  const layers = await buildSteps(plan, trees, timeline, options);
  await trees.sync(options.signal);
  const built = plan.steps.map((step, index) => {
    const layer = layers[index]?.layer;
    if (layer === undefined) throw new TypeError(`no layer for step ${step.name}`);
    return { step, layer };
  });
  // The seal's own takes the place of the one that was made for any such image.
  const isSuperseded = built.some(
    ({ step, layer }) => step.kind === 'seal' && layer.chunks.some(({ name }) => name === INITRAMFS),
  );
  const inImage = ({ name }: { readonly name: string }): boolean => !isSuperseded || name !== INITRAMFS;
  const manifest = await assembleImage(store, {
    plan,
    layers: built.filter(({ step }) => inImage(step)),
  });
  await keepLayers(built, options);
  await keepTrees(built, trees, options);
  return {
    digest: manifest.digest,
    manifest,
    layers: layers.map(({ report }) => report).filter(inImage),
    cached: layers.every(({ report }) => report.cached),
    seconds: (performance.now() - started) / 1000,
    criticalPath: timeline.criticalPath(),
  };
}

interface BuiltStep {
  readonly layer: PackedLayer;
  readonly report: BuiltLayer;
}

async function buildSteps(
  plan: Plan,
  trees: TreeStore,
  timeline: Timeline,
  options: BuildOptions,
): Promise<BuiltStep[]> {
  const { reporter } = options;
  const available = await findLayers(options);
  const found = new Map([...available].map(([name, { layer }]) => [name, layer]));
  if (found.size < plan.steps.length && process.getuid?.() !== 0) {
    throw new IngotError('NOT_ROOT', 'building an image takes root: package scripts set owners and make users', {
      hint: 'run the same command as root, for example with sudo',
    });
  }
  await restoreTrees(trees, found, options);
  await fetchWhatIsMissing(plan, trees, found, options);
  // One step's failure ends the others; all of them are waited for before the error goes on.
  const failure = new AbortController();
  const signal =
    options.signal === undefined ? failure.signal : AbortSignal.any([options.signal, failure.signal]);
  await using packers = new Packers();
  const begun = new Map<string, GrowingArchives>();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(async () => {
    for (const archives of begun.values()) await archives[Symbol.asyncDispose]();
  });
  const run: StepRun = {
    ...options,
    signal,
    trees,
    timeline,
    steps: new Map(plan.steps.map((step) => [step.name, step])),
    filling: pLimit(Math.max(2, availableParallelism())),
    packers,
    making: new Map(),
    found,
    begun,
  };
  const results = await Promise.allSettled(
    plan.steps.map(async (step): Promise<BuiltStep> => {
      const began = performance.now();
      try {
        const existing = found.get(step.name);
        const layer =
          existing ??
          (await reporter.stage(`Build ${step.name}`, (stage) => buildLayer(step, stage, run)));
        if (existing !== undefined) {
          await reporter.stage(`Build ${step.name}`, (stage) => {
            stage.cached(formatBytes(packedBytes(existing)));
            return Promise.resolve();
          });
        }
        const chunks = layer.chunks.map(({ name, digest, diffId, size }) => ({ name, digest, diffId, size }));
        const seconds = (performance.now() - began) / 1000;
        const cached = existing !== undefined;
        const { name, key } = step;
        const cache = available.get(name)?.cache;
        const size = packedBytes(layer);
        return {
          layer,
          report: { name, key, chunks, size, cached, ...(cache !== undefined && { cache }), seconds },
        };
      } catch (error) {
        failure.abort(error); // the first one's reason stays
        throw error;
      }
    }),
  );
  // A tree whose own layer is in the store already is waited for by nobody but those above it.
  await Promise.allSettled(run.making.values());
  if (failure.signal.aborted) throw failure.signal.reason;
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

export interface StepRun extends BuildOptions {
  readonly trees: TreeStore;
  readonly timeline: Timeline;
  readonly steps: ReadonlyMap<string, PlanStep>;
  /** Bounds how many trees are filled at once. */
  readonly filling: <T>(work: () => Promise<T>) => Promise<T>;
  /** Pack all layers, each as soon as its tree is there. */
  readonly packers: Packers;
  /** Trees under way in this build, by step name. */
  readonly making: Map<string, Promise<string>>;
  /** Steps whose blobs the store has. */
  readonly found: ReadonlyMap<string, PackedLayer>;
  /** What was begun of a step's blobs while its tree was made, by step name. */
  readonly begun: Map<string, GrowingArchives>;
}

async function buildLayer(step: PlanStep, stage: Stage, run: StepRun): Promise<PackedLayer> {
  const { store, plan, signal } = run;
  // Others may be building the same layer: one packs, the others find its record.
  await using _lock = await store.lock(`layer-${hexOf(step.key)}`, signal, () => {
    run.reporter.info(`waiting for another build of ${step.name}`);
  });
  const made = await findPackedLayer(store, step.key);
  if (made !== undefined) {
    stage.cached(formatBytes(packedBytes(made)));
    return made;
  }
  if (step.kind === 'image-base') return await takeBaseLayers(step, stage, run);
  const tree = await ensureTree(step, run);
  const base = run.steps.get('base');
  const baseTree = base?.kind === 'image-base' && step.kind === 'seal' ? await ensureTree(base, run) : undefined;
  const about = { step: step.name, part: 'blobs', after: [step.name] } as const;
  const division = { chunks: step.chunks, chunksOf: await chunksOf(step, tree) };
  const chunks = await run.timeline.measure(about, () =>
    packChunks(
    store,
    tree,
    division,
    {
      epoch: step.epoch,
      level: plan.compressionLevel,
      drop: leftOutOf(step, tree, baseTree),
      signal,
      packers: run.packers,
      growing: run.begun.get(step.name),
      onGrown: (chunk, result) => {
        run.reporter.debug(
          result === 'taken'
            ? `${step.name}: ${chunk} was archived while it was unpacked`
            : `${step.name}: ${chunk} is packed from the tree: ${result.why}`,
        );
      },
      onProgress: (bytes) => {
        stage.progress(bytes, undefined, 'bytes', 'packing');
      },
    }),
  );
  await run.begun.get(step.name)?.[Symbol.asyncDispose]();
  run.begun.delete(step.name);
  const layer = { chunks };
  await recordPackedLayer(store, step.key, layer);
  const entries = chunks.reduce((sum, chunk) => sum + chunk.entries, 0);
  stage.detail(
    `${formatBytes(packedBytes(layer))}, ${formatCount(entries, 'entry', 'entries')}, ${formatCount(chunks.length, 'chunk')}`,
  );
  return layer;
}

function chunksOf({ chunks, rpm }: PlanStep, tree: string): ReturnType<typeof chunksByPath> {
  return rpm === undefined ? chunksByPath(new RootFs(tree), chunks) : rpmChunksByPath(tree, rpm, chunks);
}

/** The layers of an image are those of its registry, and only described. */
async function takeBaseLayers(step: PlanStep, stage: Stage, run: StepRun): Promise<PackedLayer> {
  const image = imageOf(step);
  const options = { ...run, openBase: openerOf(run) };
  await fetchBaseLayers(image, options, stage);
  const layer = await describeBaseLayers(image, options);
  await recordPackedLayer(run.store, step.key, layer);
  stage.detail(`${formatBytes(packedBytes(layer))}, ${formatCount(layer.chunks.length, 'layer')}`);
  return layer;
}

/** The step's tree, made once in this build however many ask. */
async function ensureTree(step: PlanStep, run: StepRun): Promise<string> {
  const underway = run.making.get(step.name);
  if (underway !== undefined) return underway;
  const promise = makeTree(step, run);
  run.making.set(step.name, promise);
  return promise;
}

async function makeTree(step: PlanStep, run: StepRun): Promise<string> {
  const { trees, reporter, signal } = run;
  const existing = await trees.find(step.treeKey);
  if (existing !== undefined) return existing;
  const below: BelowTree[] = await Promise.all(
    step.needs.map(async (name) => {
      const needed = run.steps.get(name);
      if (needed === undefined) throw new TypeError(`step ${step.name} needs ${name}, which the plan lacks`);
      return { name, root: await ensureTree(needed, run), needs: needed.needs };
    }),
  );
  return run.filling(() =>
    trees.ensure(
      step.treeKey,
      step.name,
      async (root) => {
        const started = Date.now();
        const about = { step: step.name, part: 'tree', after: step.needs } as const;
        await run.timeline.measure(about, () => fillTree(root, step, below, run));
        // The times in a base that is an image are that image's own.
        if (step.kind === 'image-base') return;
        dateByLock(root, started, step.epoch);
        settleTimes(root, step.epoch);
      },
      {
        signal,
        onWait: () => {
          reporter.info(`waiting for another build of ${step.name}`);
        },
      },
    ),
  );
}

/** Packages of every tree that has to be made, in one go and before any work. */
async function fetchWhatIsMissing(
  plan: Plan,
  trees: TreeStore,
  found: ReadonlyMap<string, PackedLayer>,
  options: BuildOptions,
): Promise<void> {
  const packages = packagesOf(await stepsToMake(plan, trees, found));
  if (packages.length === 0) return;
  const { store, mirrors, signal } = options;
  await options.reporter.stage('Fetch packages', async (stage) => {
    const created = new Date(plan.epoch * 1000);
    const { fetched, fetchedBytes, present } = await fetchPackages(packages, {
      store,
      mirrors: await mirrors(),
      created,
      stage,
      signal,
    });
    if (fetched === 0) stage.cached(`${present} packages`);
    else stage.detail(`${fetched} packages, ${formatBytes(fetchedBytes)}`);
  });
}
