/**
 * Trees out of layers that are there, for what is built on them, and what caches need for that. A tree counts when its
 * digest is that of the tree which was packed; one that does not come out so is made from its packages, as if nothing
 * had been there.
 */
import { statfs } from 'node:fs/promises';
import pLimit from 'p-limit';

import { hexOf } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { layerContents } from '../oci/layer-contents.ts';
import { TreeExtractor } from '../oci/extract-tree.ts';
import { TarParser, type ContentSink, type TarMember } from '../oci/tar-parser.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import { formatBytes } from '../report/format.ts';
import type { Reporter, Stage } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import { type LayerCaches, warnOrThrow } from './layer-cache.ts';
import { packedBytes, type PackedLayer } from './packed-layer.ts';
import {
  contentsOf,
  findRemainder,
  isRemainderOf,
  packRemainder,
  recordRemainder,
  TREE_PREFIX,
  type TreeRemainder,
  UNDATED,
} from './tree-remainder.ts';
import { undatedTime } from './tree-times.ts';
import type { TreeStore } from './trees.ts';

interface CachedTreesOptions {
  readonly plan: Plan;
  readonly store: Store;
  readonly caches?: LayerCaches | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

const SIDE_BY_SIDE = 2;

/** @param found what need not be built, by step name */
export async function restoreTrees(
  trees: TreeStore,
  found: ReadonlyMap<string, PackedLayer>,
  options: CachedTreesOptions,
): Promise<void> {
  const { plan } = options;
  const wanted = new Set(plan.steps.filter(({ name }) => !found.has(name)).flatMap(({ needs }) => needs));
  const limit = pLimit(SIDE_BY_SIDE);
  const results = await Promise.allSettled(
    plan.steps.map((step) =>
      limit(async () => {
        const layer = found.get(step.name);
        if (layer === undefined || !wanted.has(step.name) || !isOurs(step)) return;
        if ((await trees.find(step.treeKey)) !== undefined) return;
        await restoreTree(step, layer, trees, options);
      }),
    ),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** Gives the caches what the trees have that others stand on. One that fails is warned of. */
export async function keepTrees(
  layers: readonly { readonly step: PlanStep; readonly layer: PackedLayer }[],
  trees: TreeStore,
  { plan, caches, reporter, signal, store }: CachedTreesOptions,
): Promise<void> {
  if (caches === undefined || caches.to.length === 0) return;
  const below = new Set(plan.steps.flatMap(({ needs }) => needs));
  const kept = layers.filter(({ step }) => below.has(step.name) && isOurs(step));
  await reporter.stage('Keep trees', async (stage) => {
    for (const [at, { step, layer }] of kept.entries()) {
      stage.progress(at, kept.length, 'items', step.name);
      try {
        const remainder = await ensureRemainder(step, layer, trees, { plan, store, signal });
        if (remainder === undefined) continue;
        for (const cache of caches.to) await cache.keepTree(step.key, remainder, { signal });
      } catch (error) {
        warnOrThrow(error, reporter, `the tree of ${step.name} could not be kept`);
      }
    }
  });
}

/** A base that is an image is unpacked from its own layers, which hold all of it. */
function isOurs({ kind }: PlanStep): boolean {
  return kind !== 'image-base';
}

/** Undefined where the store has neither it nor the tree: the layer was fetched, and nothing was built on it. */
async function ensureRemainder(
  step: PlanStep,
  layer: PackedLayer,
  trees: TreeStore,
  { plan, store, signal }: Pick<CachedTreesOptions, 'plan' | 'store' | 'signal'>,
): Promise<TreeRemainder | undefined> {
  const known = await findRemainder(store, step.key, layer);
  if (known !== undefined) return known;
  const root = await trees.find(step.treeKey);
  if (root === undefined) return undefined;
  const contents = await trees.contents(step.treeKey);
  const level = plan.compressionLevel;
  const remainder = await packRemainder(store, root, { step, layer, contents, level, signal });
  if (remainder !== undefined) await recordRemainder(store, step.key, remainder);
  return remainder;
}

async function restoreTree(
  step: PlanStep,
  layer: PackedLayer,
  trees: TreeStore,
  options: CachedTreesOptions,
): Promise<void> {
  const { store, reporter, signal } = options;
  const instead = `the tree of ${step.name} is made from its packages instead`;
  const remainder = await fetchRemainder(step, layer, options, instead);
  if (remainder === undefined) return;
  try {
    await reporter.stage(`Restore ${step.name}`, async (stage) => {
      let bytes = 0;
      const onWait = (): void => {
        reporter.info(`waiting for another build of ${step.name}`);
      };
      await trees.ensure(
        step.treeKey,
        step.name,
        async (root) => {
          bytes = await fillTree(root, { step, layer, remainder, store, stage, signal });
        },
        { signal, onWait, contents: remainder.contents },
      );
      stage.detail(formatBytes(bytes));
    });
  } catch (error) {
    warnOrThrow(error, reporter, instead);
  }
}

/** From the store, or the first cache that has it. */
async function fetchRemainder(
  step: PlanStep,
  layer: PackedLayer,
  { store, caches, reporter, signal }: CachedTreesOptions,
  instead: string,
): Promise<TreeRemainder | undefined> {
  const known = await findRemainder(store, step.key, layer);
  if (known !== undefined) return known;
  for (const cache of caches?.from ?? []) {
    try {
      const remainder = await cache.fetchTree(step.key, { signal });
      if (remainder === undefined) continue;
      if (!isRemainderOf(remainder, layer)) {
        throw new IngotError('IMAGE_INVALID', `${cache.shown} has the tree of another layer than ${step.name}`);
      }
      await recordRemainder(store, step.key, remainder);
      return remainder;
    } catch (error) {
      warnOrThrow(error, reporter, instead);
    }
  }
  return undefined;
}

interface FillOptions {
  readonly step: PlanStep;
  readonly layer: PackedLayer;
  readonly remainder: TreeRemainder;
  readonly store: Store;
  readonly stage: Stage;
  readonly signal?: AbortSignal | undefined;
}

/** Gives the bytes of all archives. @throws IngotError IMAGE_INVALID, DIGEST_MISMATCH, DISK_FULL, INTERRUPTED */
async function fillTree(root: string, options: FillOptions): Promise<number> {
  const { step, layer, remainder, store, stage, signal } = options;
  const { archive, contents } = remainder;
  const total = layer.chunks.reduce((sum, chunk) => sum + chunk.uncompressedSize, archive.uncompressedSize);
  await requireRoom(total, store);
  using extractor = new TreeExtractor(root, {
    entries: layer.chunks.reduce((sum, chunk) => sum + chunk.entries, archive.entries),
    bytes: total,
  });
  const remains = new RemainderReader(extractor);
  let done = 0;
  try {
    for (const { see, blob } of [
      ...layer.chunks.map((chunk) => ({ see: (member: TarMember) => extractor.see(member), blob: chunk })),
      { see: (member: TarMember) => remains.see(member), blob: archive },
    ]) {
      const parser = new TarParser(see);
      const { digest, mediaType, size } = blob;
      for await (const part of layerContents(store.blobPath(hexOf(digest)), { digest, mediaType, size })) {
        if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while restoring a tree');
        parser.write(part);
        done += part.length;
        stage.progress(done, total, 'bytes', step.name);
      }
      parser.end();
    }
    await extractor.finish(remains.undated(), undatedTime(step.epoch), signal);
  } catch (error) {
    throw explain(error, step, store);
  }
  if ((await contentsOf(root, signal)) === contents) return packedBytes(layer) + archive.size;
  throw new IngotError('DIGEST_MISMATCH', `${step.name} was restored to another tree than its digest says`);
}

/** Sizes are what the cache says; the blobs hold no more. */
async function requireRoom(total: number, store: Store): Promise<void> {
  const { bavail, bsize } = await statfs(store.root);
  if (total <= bavail * bsize) return;
  throw new IngotError('IMAGE_INVALID', `a tree of ${formatBytes(total)} does not fit into ${store.root}`);
}

/** Takes the archive of a remainder apart. */
class RemainderReader {
  readonly #extractor: TreeExtractor;
  readonly #list: Buffer[] = [];

  constructor(extractor: TreeExtractor) {
    this.#extractor = extractor;
  }

  see(member: TarMember): ContentSink | undefined {
    const { path, type, target } = member;
    if (path === UNDATED && type === 'file') {
      return {
        write: (bytes) => {
          this.#list.push(Buffer.from(bytes));
        },
        end: () => undefined,
      };
    }
    if (`${path}/` === TREE_PREFIX && type === 'directory') return undefined;
    if (!path.startsWith(TREE_PREFIX)) throw new Error(`/${path} is not of a tree`);
    const isInside = type !== 'hardlink' || target?.startsWith(TREE_PREFIX) === true;
    if (!isInside) throw new Error(`/${path} is a link to ${JSON.stringify(target)}, outside of the tree`);
    return this.#extractor.see({
      ...member,
      path: path.slice(TREE_PREFIX.length),
      target: type === 'hardlink' ? target?.slice(TREE_PREFIX.length) : target,
    });
  }

  undated(): readonly string[] {
    return Buffer.concat(this.#list)
      .toString()
      .split('\0')
      .filter((path) => path !== '');
  }
}

function explain(error: unknown, step: PlanStep, store: Store): unknown {
  if (error instanceof IngotError) return error;
  if (errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT') {
    return new IngotError('DISK_FULL', `no space left in the store ${store.root}`, {
      hint: '`ingot store gc` frees what no build uses; --store moves the store',
      cause: error,
    });
  }
  const what = error instanceof Error ? error.message : String(error);
  return new IngotError('IMAGE_INVALID', `${step.name} cannot be restored: ${what}`, { cause: error });
}
