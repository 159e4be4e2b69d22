/** Layers of a real image kept in Debian's registry, and fetched by a machine that has nothing. */
import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { packTree } from '../../src/build/archive/pack.ts';
import { findLayers } from '../../src/build/layer-cache.ts';
import type { PackedLayer } from '../../src/build/packed-layer.ts';
import type { TreeRemainder } from '../../src/build/tree-remainder.ts';
import { lockPathOf } from '../../src/cli/load-lock.ts';
import { digestOf } from '../../src/digest.ts';
import { RegistryAccess } from '../../src/oci/registry/access.ts';
import { TarParser } from '../../src/oci/tar-parser.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { RegistryLayerCache } from '../../src/publish/registry-layer-cache.ts';
import { createReporter } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import { builtImage } from '../support/built-image.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';

let scratch: string;
let registry: TestRegistry;
let env: Record<string, string>;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-cache-'));
  registry = await startRegistry();
  env = { HOME: scratch, CONTAINERS_REGISTRIES_CONF: join(scratch, 'none') };
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

test('a machine with nothing but the cache makes the same image, without a mirror', async () => {
  const built = await builtImage();
  const cache = `${registry.host}/ci/layers`;
  const output = join(scratch, 'layout');
  const build = ['build', built.declaration, '--output', output, '--insecure', registry.host];
  const passed = { ...env, HOME: process.env['HOME'] ?? '/root' };
  await ingotJson([...build, '--store', built.store, '--cache-to', cache], { env: passed });
  const elsewhere = [...build, '--store', join(scratch, 'store'), '--cache-from', cache];
  const unreachable = { ...passed, INGOT_MIRROR: 'http://127.0.0.1:1/debian' };
  const fetched = await ingotJson(elsewhere, { env: unreachable });
  expect(fetched['digest']).toBe(built.digest);
  const layers = fetched['layers'] as readonly { readonly cached: boolean; readonly cache?: string }[];
  expect(layers.map((layer) => [layer.cached, layer.cache])).toEqual(layers.map(() => [true, cache]));
  await ingotJson(['store', 'verify', '--store', join(scratch, 'store')], { env: passed });
  // Then it is the store that has them.
  const again = await ingotJson(elsewhere, { env: unreachable });
  expect(
    (again['layers'] as readonly { readonly cache?: string }[]).every(
      ({ cache: from }) => from === undefined,
    ),
  ).toBe(true);
});

test('where only the seal differs, only the seal is built, from no package, and no module is compiled', async () => {
  const built = await builtImage();
  const cache = `${registry.host}/ci/trees`;
  const folder = join(scratch, 'with-modules');
  await mkdir(join(folder, 'layers/addon'), { recursive: true });
  const addon = 'name: acpi-call\nkind: addon\nsummary: x\nmodules: { source: acpi-call-dkms }\n';
  await writeFile(join(folder, 'layers/addon/acpi-call.yaml'), addon);
  const passed = { ...env, HOME: process.env['HOME'] ?? '/root', INGOT_LAYERS: join(folder, 'layers') };
  const declaration = join(folder, 'debian-minimal.yaml');
  const text = (await readFile(built.declaration, 'utf8')).replace(
    /^addons: .*$/m,
    'addons: [ssh, acpi-call]',
  );
  await writeFile(declaration, text);
  await copyFile(lockPathOf(built.declaration), lockPathOf(declaration));
  await ingotJson(['--store', built.store, 'lock', declaration], { env: passed });
  const build = ['build', declaration, '--output', join(scratch, 'changed'), '--insecure', registry.host];
  const first = await ingotJson([...build, '--store', built.store, '--cache-to', cache], { env: passed });

  await writeFile(declaration, `${text}\nkernelArguments: [ingot.changed=yes]\n`);
  await ingotJson(['--store', built.store, 'lock', declaration], { env: passed });
  const elsewhere = join(scratch, 'sealed');
  const unreachable = { ...passed, INGOT_MIRROR: 'http://127.0.0.1:1/debian' };
  const fetching = [...build, '--store', elsewhere, '--cache-from', cache];
  const sealed = await ingotJson(fetching, { env: unreachable });

  const layers = sealed['layers'] as readonly { readonly name: string; readonly cached: boolean }[];
  expect(layers.map(({ name }) => name)).toContain('modules-acpi-call');
  expect(layers.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['seal']);
  // Neither a package nor the root that modules are compiled in: a tree for each layer, and the seal's.
  expect(await readdir(join(elsewhere, 'packages'))).toEqual([]);
  expect(await readdir(join(elsewhere, 'trees'))).toHaveLength(layers.length);
  expect(sealed['digest']).not.toBe(first['digest']);
  await ingotJson(['store', 'verify', '--trees', '--store', elsewhere], { env: passed });
  const ordinary = await ingotJson([...build, '--store', built.store], { env: passed });
  expect(sealed['digest']).toBe(ordinary['digest']);
});

test.each(['--cache-from', '--cache-to'])('%s takes a repository', async (option) => {
  const built = await builtImage();
  const result = await ingot(
    ['build', built.declaration, '--store', built.store, option, `${registry.host}/x:tag`],
    { env },
  );
  expect(result.exitCode).toBe(2);
});

describe('a cache entry', () => {
  const key = digestOf('a key');
  let layer: PackedLayer;
  let full: Store;
  let count = 0;

  beforeAll(async () => {
    full = await Store.open(join(scratch, 'full'));
    const chunk = await packTree(full, import.meta.dirname, { epoch: 1_700_000_000 });
    layer = { chunks: [{ ...chunk, name: 'rest' }] };
  });

  /** What a fresh store finds through a proxy, and the warnings. */
  async function find(
    kept: PackedLayer,
    change: (bytes: Buffer, url: string) => Buffer = (bytes) => bytes,
  ): Promise<{ readonly found: boolean; readonly warnings: readonly string[]; readonly left: unknown }> {
    count += 1;
    await using proxy = await startFaultProxy(registry.host, ({ method, url }) =>
      method === 'GET' ? { change: (bytes) => change(bytes, url) } : undefined,
    );
    await using registries = await RegistryAccess.open({
      env,
      insecure: [registry.host, proxy.host],
      pace: 0.01,
    });
    const fresh = await Store.open(join(scratch, `fresh-${count}`));
    const writer = RegistryLayerCache.open(`${registry.host}/cache-${count}`, registries, full);
    await writer.keep(key, kept, {});
    const cache = RegistryLayerCache.open(`${proxy.host}/cache-${count}`, registries, fresh);
    const warnings: string[] = [];
    const reporter = createReporter([
      (event) => {
        if (event.type === 'log' && event.level === 'warning') warnings.push(event.message);
      },
    ]);
    const step = { name: 'base', kind: 'settle', key, chunks: [{ name: 'rest', packages: [] }] };
    const plan = { steps: [step] } as unknown as Plan;
    const found = await findLayers({ plan, store: fresh, reporter, caches: { from: [cache], to: [] } });
    return { found: found.has('base'), warnings, left: await fresh.readRecord('layers', key.slice(7)) };
  }

  test('is found again', async () => {
    expect(await find(layer)).toEqual({ found: true, warnings: [], left: layer });
  });

  const [other] = ['b'].map((text) => digestOf(text));
  test.each<
    readonly [string, () => PackedLayer, ((bytes: Buffer, url: string) => Buffer) | undefined, RegExp]
  >([
    [
      'of other contents than it says',
      () => ({ chunks: layer.chunks.map((chunk) => ({ ...chunk, diffId: other ?? key })) }),
      undefined,
      /other contents/,
    ],
    [
      'that unpacks to more than it says',
      () => ({ chunks: layer.chunks.map((chunk) => ({ ...chunk, uncompressedSize: 1000 })) }),
      undefined,
      /other contents/,
    ],
    [
      'of other chunks',
      () => ({ chunks: layer.chunks.map((chunk) => ({ ...chunk, name: 'other' })) }),
      undefined,
      /other chunks/,
    ],
    [
      'with a damaged blob',
      () => layer,
      (bytes, url) =>
        url.includes(`/blobs/${layer.chunks[0]?.digest ?? ''}`)
          ? Buffer.from(bytes.map((byte) => byte ^ 1))
          : bytes,
      /other content/,
    ],
    [
      'that was replaced',
      () => layer,
      (bytes, url) => (url.includes('/manifests/') ? Buffer.from('{"schemaVersion":2}') : bytes),
      /is sha256|not that of a layer/,
    ],
  ])('%s is warned of, and the layer is to be built', async (_name, kept, change, warning) => {
    const result = await find(kept(), change);
    expect(result).toMatchObject({ found: false, left: undefined });
    expect(result.warnings).toEqual([expect.stringMatching(warning)]);
    expect(result.warnings[0]).toMatch(/the layer base is built instead$/);
  });

  test('that is another key’s is not taken for this one’s', async () => {
    await find(layer);
    await using registries = await RegistryAccess.open({ env, insecure: [registry.host], pace: 0.01 });
    const store = await Store.open(join(scratch, 'swapped'));
    const target = registries.target({ registry: registry.host, repository: `cache-${count}` });
    const source = registries.source({ registry: registry.host, repository: `cache-${count}` });
    const tag = (of: string): string => `layer-${of.slice(7)}`;
    await target.putManifest(await source.manifest(tag(key)), [tag(digestOf('other key'))]);
    const cache = RegistryLayerCache.open(`${registry.host}/cache-${count}`, registries, store);
    const stage = { id: '', progress: () => undefined, cached: () => undefined, detail: () => undefined };
    const reader = (): TarParser => new TarParser(() => undefined);
    await expect(cache.fetch(digestOf('other key'), { stage, reader })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    });
    expect(await cache.fetch(digestOf('a third key'), { stage, reader })).toBeUndefined();
  });
});

describe('the rest of a tree', () => {
  const key = digestOf('a key with a tree');
  let full: Store;
  let kept: TreeRemainder;

  beforeAll(async () => {
    full = await Store.open(join(scratch, 'full-trees'));
    const { name: _name, ...archive } = await packTree(full, import.meta.dirname, { epoch: 1_700_000_000 });
    kept = { contents: key.slice(7), layer: [digestOf('a layer')], archive };
  });

  /** Keeps it under the key, and gives what a fresh store fetches under another one. */
  async function fetchTree(remainder: TreeRemainder, asked = key): Promise<TreeRemainder | undefined> {
    await using registries = await RegistryAccess.open({ env, insecure: [registry.host], pace: 0.01 });
    const name = `${registry.host}/trees-${randomUUID()}`;
    await RegistryLayerCache.open(name, registries, full).keepTree(key, remainder, {});
    const fresh = await Store.open(join(scratch, `fresh-${randomUUID()}`));
    const fetched = await RegistryLayerCache.open(name, registries, fresh).fetchTree(asked, {});
    if (fetched !== undefined) {
      expect(await fresh.blobSize(fetched.archive.digest.slice(7))).toBe(fetched.archive.size);
    }
    return fetched;
  }

  test('is found again under its key alone', async () => {
    expect(await fetchTree(kept)).toEqual(kept);
    expect(await fetchTree(kept, digestOf('another key'))).toBeUndefined();
  });

  test.each<readonly [string, (archive: TreeRemainder['archive']) => object, string]>([
    ['is not what it says', () => ({ diffId: digestOf('x') }), 'DIGEST_MISMATCH'],
    ['unpacks to more than it says', () => ({ uncompressedSize: 1000 }), 'DIGEST_MISMATCH'],
    ['says to be huge', () => ({ uncompressedSize: 2 ** 40 }), 'IMAGE_INVALID'],
  ])('that %s is refused', async (_name, change, code) => {
    const archive = { ...kept.archive, ...change(kept.archive) };
    await expect(fetchTree({ ...kept, archive })).rejects.toMatchObject({ code });
  });
});
