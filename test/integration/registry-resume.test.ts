/** What is sent, and what is fetched, when a transfer does not go through at once: counted in bytes. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';

import { hexOf } from '../../src/digest.ts';
import { layoutBlobPath } from '../../src/oci/blob.ts';
import { verifyLayout } from '../../src/oci/layout.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { LayoutTarget } from '../../src/oci/layout-target.ts';
import { parseImageReference } from '../../src/oci/reference.ts';
import { RegistryAccess } from '../../src/oci/registry/access.ts';
import type { Descriptor } from '../../src/oci/schema.ts';
import { run } from '../../src/proc/run.ts';
import { copyImage } from '../../src/publish/copy-image.ts';
import { StoredSource } from '../../src/publish/stored-source.ts';
import { silentReporter } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import { type Decide, type FaultProxy, type SeenRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { makeTestImage, type TestImage } from '../support/test-image.ts';

const MIB = 1024 * 1024;
/** How long a server may be silent. */
const IDLE_MS = 4000;
let scratch: string;
let registry: TestRegistry;
let image: TestImage;
let layer: Descriptor;
let other: Descriptor;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-resume-'));
  registry = await startRegistry();
  image = await makeTestImage(join(scratch, 'image'), [10 * MIB, 300_000]);
  [layer = expect.unreachable(), other = expect.unreachable()] = image.layers;
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

function accessTo(host: string, idleMs?: number): Promise<RegistryAccess> {
  const env = { HOME: scratch, CONTAINERS_REGISTRIES_CONF: join(scratch, 'none') };
  return RegistryAccess.open({
    env,
    insecure: [host],
    pace: 0.01,
    partBytes: 4 * MIB,
    ...(idleMs !== undefined && { idleMs }),
  });
}

async function push(proxy: FaultProxy, repository: string): Promise<void> {
  await using registries = await accessTo(proxy.host);
  await using source = await LayoutSource.open(image.layout);
  await using target = registries.target(parseImageReference(`${proxy.host}/${repository}`));
  await copyImage({ source, reference: '1.0', target, names: ['1'], reporter: silentReporter });
}

async function pull(proxy: FaultProxy, store: Store, directory: string, idleMs?: number): Promise<void> {
  await using registries = await accessTo(proxy.host, idleMs);
  await using far = registries.source(parseImageReference(`${proxy.host}/whole:1`));
  await using source = new StoredSource(far, store);
  await using target = await LayoutTarget.open(directory, scratch);
  await copyImage({ source, reference: '1', target, names: ['1'], reporter: silentReporter });
}

const isPart = ({ method }: SeenRequest): boolean => method === 'PATCH';
const isLayer = ({ method, url }: SeenRequest): boolean => method === 'GET' && url.includes(layer.digest);
/** Bytes of blobs, however they were sent. */
const sum = (requests: readonly SeenRequest[]): number =>
  requests
    .filter(({ url }) => url.includes('/blobs/uploads/'))
    .reduce((total, { received }) => total + received, 0);

const second =
  (fault: ReturnType<Decide>): Decide =>
  (request, earlier) =>
    isPart(request) && earlier.filter(isPart).length === 1 ? fault : undefined;

test('a push goes on in the middle of a part, where the registry keeps what came', async () => {
  await using proxy = await startFaultProxy(registry.host, second({ keepRequest: 1.5 * MIB }));
  await push(proxy, 'kept');
  // The proxy may have had a little more in hand than it passed on, and the configuration is sent too.
  const whole = layer.size + other.size;
  expect(sum(proxy.seen)).toBeGreaterThanOrEqual(whole);
  expect(sum(proxy.seen) - whole).toBeLessThan(MIB);
  const starts = proxy.seen.filter(isPart).map(({ headers }) => headers['content-range']);
  expect(starts).toContainEqual(expect.stringMatching(new RegExp(`^${5.5 * MIB}-`)));
});

test('a push sends a blob again to a registry that forgets it, and no other', async () => {
  await using proxy = await startFaultProxy(registry.host, second({ cutRequestAfter: 1.5 * MIB }));
  await push(proxy, 'forgotten');
  // What had been sent, one part and the beginning of the next, is lost; and what came after, when that is found late.
  const again = sum(proxy.seen) - layer.size - other.size;
  expect(again).toBeGreaterThanOrEqual(5.5 * MIB);
  expect(again).toBeLessThan(layer.size + 2 * MIB);
  const ends = proxy.seen.filter(
    ({ method, url }) => method === 'PUT' && url.includes(other.digest.slice(7)),
  );
  expect(ends).toHaveLength(1);
});

test('a pull waits for a link that is slow, and not for one that is dead', async () => {
  await using open = await startFaultProxy(registry.host, () => undefined);
  await push(open, 'whole');
  // 64 KiB every 40 ms: it takes longer than a server may be silent, and is never silent for so long.
  await using slow = await startFaultProxy(registry.host, (request) =>
    isLayer(request) ? { slowAnswer: 64 * 1024, pauseMs: 40 } : undefined,
  );
  const started = performance.now();
  await pull(slow, await Store.open(join(scratch, 'slow')), join(scratch, 'by-slow'), IDLE_MS);
  expect(performance.now() - started).toBeGreaterThan(IDLE_MS);
  expect(slow.seen.filter(isLayer)).toHaveLength(1);
  await using dead = await startFaultProxy(registry.host, (request) =>
    isLayer(request) ? { stallAnswerAfter: 0 } : undefined,
  );
  await expect(
    pull(dead, await Store.open(join(scratch, 'dead')), join(scratch, 'by-dead'), 1000),
  ).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' });
});

test('a pull into a store that is full says so, and goes on where it was when there is room', async () => {
  const full = join(scratch, 'full');
  await mkdir(full);
  await run(['mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', full]);
  onTestFinished(async () => {
    await run(['umount', full]);
  });
  await using proxy = await startFaultProxy(registry.host, () => undefined);
  const store = await Store.open(full);
  const output = join(scratch, 'from-full');
  await expect(pull(proxy, store, output)).rejects.toMatchObject({ code: 'DISK_FULL' });
  await expect(stat(output)).rejects.toMatchObject({ code: 'ENOENT' });
  const kept = (await stat(store.partialBlobPath(hexOf(layer.digest)))).size;
  expect(kept).toBeGreaterThan(3 * MIB);
  await run(['mount', '-o', 'remount,size=64m', full]);
  await pull(proxy, store, output);
  expect((await verifyLayout(output)).size).toBe(4);
  expect(proxy.seen.filter(isLayer).at(-1)?.headers.range).toBe(`bytes=${kept}-${layer.size - 1}`);
  expect(await readdir(store.path('blobs/partial'))).toEqual([]);
});

test('what was kept of a blob and was damaged meanwhile is fetched once more', async () => {
  await using proxy = await startFaultProxy(registry.host, () => undefined);
  const store = await Store.open(join(scratch, 'damaged'));
  const kept = await readFile(layoutBlobPath(image.layout, layer.digest));
  const partial = store.partialBlobPath(hexOf(layer.digest));
  await mkdir(dirname(partial), { recursive: true });
  await writeFile(partial, kept.subarray(0, 5 * MIB).fill(0, MIB, MIB + 1));
  const output = join(scratch, 'from-damaged');
  await pull(proxy, store, output);
  expect((await verifyLayout(output)).size).toBe(4);
  expect(proxy.seen.filter(isLayer).map(({ headers }) => headers.range)).toEqual([
    `bytes=${5 * MIB}-${layer.size - 1}`,
    undefined,
  ]);
});
