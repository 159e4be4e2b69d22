/**
 * Caches that lie: what they give is whole by its digests, and is not what was kept. Each lie is warned of, and what it
 * was told of is built instead.
 */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type BuiltLayer, buildImage } from '../../src/build/build-image.ts';
import { findPackedLayer, type PackedLayer } from '../../src/build/packed-layer.ts';
import { findRemainder, type TreeRemainder } from '../../src/build/tree-remainder.ts';
import { canonicalJson, type Digest, digestOf, hexOf } from '../../src/digest.ts';
import { RegistryAccess } from '../../src/oci/registry/access.ts';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import type { Plan, PlanStep } from '../../src/plan/plan.ts';
import { LAYER_ARTIFACT, RegistryLayerCache, TREE_ARTIFACT } from '../../src/publish/registry-layer-cache.ts';
import { createReporter } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { linkBase, smallPlan } from '../support/small-plan.ts';
import { storeWithPackages } from '../support/thin-store.ts';

let image: BuiltImage;
let folder: string;
let registry: TestRegistry;
let registries: RegistryAccess;
/** Has all that honest caches give. */
let full: Store;
/** `three` stands on `one`. */
let plan: Plan;
let honest: Built;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/lies-'));
  registry = await startRegistry();
  const env = { HOME: folder, CONTAINERS_REGISTRIES_CONF: join(folder, 'none') };
  registries = await RegistryAccess.open({ env, insecure: [registry.host], pace: 0.01 });
  full = await Store.open(storeWithPackages(image, join(folder, 'full')));
  plan = await smallPlan(image, full, { one: [], two: [], three: ['one'] });
  linkBase(plan, image.store, full);
  honest = await build(full, { to: [RegistryLayerCache.open(`${registry.host}/honest`, registries, full)] });
});
afterAll(async () => {
  await registries[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Built {
  readonly digest: Digest;
  readonly layers: readonly BuiltLayer[];
  readonly warnings: readonly string[];
}

async function build(
  store: Store,
  { from = [], to = [] }: { from?: RegistryLayerCache[]; to?: RegistryLayerCache[] },
): Promise<Built> {
  const warnings: string[] = [];
  const reporter = createReporter([
    (event) => {
      if (event.type === 'log' && event.level === 'warning') warnings.push(event.message);
    },
  ]);
  const mirrors = (): ReturnType<typeof loadMirrors> => loadMirrors(process.env);
  const { digest, layers } = await buildImage({ plan, store, mirrors, reporter, caches: { from, to } });
  return { digest, layers, warnings };
}

/** Builds in a store that has packages and the base, from a cache that `fill` fills. */
async function buildFrom(fill: (name: string) => Promise<void>): Promise<Built> {
  const name = `${registry.host}/cache-${randomUUID()}`;
  await fill(name);
  const store = await Store.open(
    storeWithPackages({ ...image, store: full.root }, join(folder, randomUUID())),
  );
  linkBase(plan, image.store, store);
  const built = await build(store, { from: [RegistryLayerCache.open(name, registries, store)] });
  expect(execFileSync('find', [folder, '-name', 'escaped'], { encoding: 'utf8' })).toBe('');
  rmSync(store.root, { recursive: true });
  return built;
}

function stepOf(name: string): PlanStep {
  const step = plan.steps.find((each) => each.name === name);
  if (step === undefined) throw new Error(`no step ${name}`);
  return step;
}

async function layerOf(name: string): Promise<PackedLayer> {
  const layer = await findPackedLayer(full, stepOf(name).key);
  if (layer === undefined) throw new Error(`no layer ${name}`);
  return layer;
}

async function treeOf(name: string): Promise<TreeRemainder> {
  const remainder = await findRemainder(full, stepOf(name).key, await layerOf(name));
  if (remainder === undefined) throw new Error(`no tree of ${name}`);
  return remainder;
}

/** Keeps layers as they are. */
async function keep(cache: string, ...names: readonly string[]): Promise<void> {
  const target = RegistryLayerCache.open(cache, registries, full);
  for (const name of names) await target.keep(stepOf(name).key, await layerOf(name), {});
}

/** An entry that says what it is told to, with blobs out of `full`. */
async function lie(
  cache: string,
  kind: 'layer' | 'tree',
  config: { readonly key: Digest },
  blobs: readonly Descriptor[],
): Promise<void> {
  const target = registries.target({
    registry: registry.host,
    repository: cache.slice(cache.indexOf('/') + 1),
  });
  const put = async (bytes: Buffer, mediaType: string): Promise<Descriptor> => {
    const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
    const open = async function* (offset: number): AsyncGenerator<Buffer> {
      yield await Promise.resolve(bytes.subarray(offset));
    };
    await target.putBlob(descriptor, { open }, {});
    return descriptor;
  };
  for (const { digest, mediaType } of blobs) await put(readFileSync(full.blobPath(hexOf(digest))), mediaType);
  const artifactType = kind === 'layer' ? LAYER_ARTIFACT : TREE_ARTIFACT;
  const text = Buffer.from(canonicalJson(config));
  const described = await put(text, `application/vnd.ingot.${kind}.config.v1+json`);
  const layers = blobs.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }));
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType,
    config: described,
    layers,
  };
  const bytes = Buffer.from(canonicalJson(manifest));
  const descriptor = { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length };
  await target.putManifest({ descriptor, bytes }, [`${kind}-${hexOf(config.key)}`], {});
}

/** An archive that tar(1) makes of files below a folder, in `full`: what a record would say of it. */
function archiveOf(
  files: Readonly<Record<string, string>>,
  ...options: readonly string[]
): Omit<PackedLayer['chunks'][0], 'name'> & { readonly mediaType: typeof MEDIA_TYPES.layerZstd } {
  const tree = join(folder, randomUUID());
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(tree, path, '..'), { recursive: true });
    writeFileSync(join(tree, path), content);
  }
  const names = Object.keys(files);
  const tar = execFileSync('tar', ['--create', '--format=pax', '-P', '-C', tree, ...options, ...names]);
  rmSync(tree, { recursive: true });
  const blob = zstdCompressSync(tar);
  writeFileSync(full.blobPath(hexOf(digestOf(blob))), blob);
  const sizes = { size: blob.length, uncompressedSize: tar.length, entries: names.length };
  return { mediaType: MEDIA_TYPES.layerZstd, digest: digestOf(blob), diffId: digestOf(tar), ...sizes };
}

test('what is not a lie is taken', async () => {
  const built = await buildFrom((cache) => keep(cache, 'one', 'two', 'three'));
  expect(built.warnings).toEqual([]);
  expect(built.digest).toBe(honest.digest);
  expect(built.layers.map(({ cached }) => cached)).toEqual([true, true, true, true]);
});

test.each<readonly [string, (one: PackedLayer) => Promise<PackedLayer> | PackedLayer, RegExp]>([
  [
    'has another layer’s contents',
    async () => {
      const { chunks } = await layerOf('two');
      return { chunks: chunks.map((chunk) => ({ ...chunk, name: chunk.name.replace('two', 'one') })) };
    },
    /an archive without the package one-1/,
  ],
  [
    'lacks a package',
    ({ chunks }) => ({ chunks: chunks.filter(({ name }) => name === 'rest') }),
    /not that of a layer|an archive without the package one-1/,
  ],
  [
    'says that its blobs are larger',
    ({ chunks }) => ({ chunks: chunks.map((chunk) => ({ ...chunk, size: chunk.size + 1 })) }),
    /bytes|size|content/,
  ],
  [
    'says that its blobs are smaller',
    ({ chunks }) => ({ chunks: chunks.map((chunk) => ({ ...chunk, size: chunk.size - 1 })) }),
    /bytes|size|content/,
  ],
  [
    'says that it unpacks to less',
    ({ chunks }) => ({ chunks: chunks.map((chunk) => ({ ...chunk, uncompressedSize: 512 })) }),
    /other contents/,
  ],
  [
    'has more entries than it says',
    ({ chunks }) => ({ chunks: chunks.map((chunk) => ({ ...chunk, entries: 1 })) }),
    /entries instead of 1/,
  ],
  [
    'has an entry outside of its root',
    ({ chunks }) => {
      const outside = archiveOf({ 'a/escaped': 'x' }, '--transform=s#^a#..#');
      return { chunks: [{ ...outside, name: 'rest' }, ...chunks.filter(({ name }) => name !== 'rest')] };
    },
    /outside of its root/,
  ],
])('a layer that %s is built instead', async (_what, change, warning) => {
  const changed = await change(await layerOf('one'));
  const built = await buildFrom(async (cache) => {
    await keep(cache, 'two', 'three');
    await lie(cache, 'layer', { key: stepOf('one').key, ...changed }, changed.chunks);
  });
  expect(built.warnings).toEqual([expect.stringMatching(warning)]);
  expect(built.warnings[0]).toMatch(/; the layer one is built instead$/);
  expect(built.digest).toBe(honest.digest);
  expect(built.layers.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['one']);
});

test('what is not a lie of a tree is taken', async () => {
  const built = await buildFrom(async (cache) => {
    await keep(cache, 'one', 'two');
    const { archive, ...rest } = await treeOf('one');
    await lie(cache, 'tree', { key: stepOf('one').key, ...rest, ...{ archive } }, [archive]);
  });
  expect(built.warnings).toEqual([]);
  expect(built.digest).toBe(honest.digest);
});

test.each<readonly [string, (tree: TreeRemainder) => TreeRemainder, RegExp]>([
  [
    'is not the tree that it says',
    (tree) => ({ ...tree, contents: hexOf(digestOf('x')) }),
    /another tree than its digest/,
  ],
  [
    'adds a program',
    (tree) => ({ ...tree, archive: archiveOf({ undated: '', 'tree/usr/share/one/evil': 'x' }) }),
    /cannot be restored|another tree than its digest/,
  ],
  [
    'leads out of its root',
    (tree) => ({
      ...tree,
      archive: archiveOf({ undated: '', 'a/escaped': 'x' }, '--transform=s#^a#tree/../..#'),
    }),
    /outside of its root/,
  ],
  [
    'dates a file that is not there',
    (tree) => ({ ...tree, archive: archiveOf({ undated: '../../escaped\0' }) }),
    /cannot be restored/,
  ],
])('a tree that %s is made from its packages', async (_what, change, warning) => {
  const { archive, ...rest } = change(await treeOf('one'));
  const built = await buildFrom(async (cache) => {
    await keep(cache, 'one', 'two');
    await lie(cache, 'tree', { key: stepOf('one').key, ...rest, ...{ archive } }, [archive]);
  });
  expect(built.warnings).toEqual([expect.stringMatching(warning)]);
  expect(built.warnings[0]).toMatch(/; the tree of one is made from its packages instead$/);
  expect(built.digest).toBe(honest.digest);
});
