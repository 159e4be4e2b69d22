/**
 * Deltas beside an image, made by `ingot push` and used by a node that is real but for its kernel and init, with a
 * real registry. Needs root.
 */
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { DELTA_ARTIFACT_TYPE } from '../../src/delta/format.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { type Decide, startFaultProxy } from '../support/fault-proxy.ts';
import { addNextImage, type NextImage } from '../support/next-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { writeTree } from '../support/small-image.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const MIB = 1024 * 1024;
/** Of two releases of a driver. */
const FIRMWARE = randomBytes(6 * MIB);
const LIBRARY = randomBytes(MIB);
const FRESH = 100_000;

let machine: TestNode;
let registry: TestRegistry;
let old: NextImage;
let next: NextImage;
let env: Record<string, string>;

/** A release of a driver, as a layer has it. */
async function fillRelease(tree: string, release: string, firmware: Buffer): Promise<void> {
  const path = (name: string): string => join(tree, name);
  const files = {
    [`usr/lib/firmware/driver/${release}/gsp_ga10x.bin`]: firmware,
    [`usr/lib/x86_64-linux-gnu/libdriver.so.${release}`]: LIBRARY,
  };
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(path(name)), { recursive: true });
    await writeFile(path(name), content);
  }
  const library = path(`usr/lib/x86_64-linux-gnu/libdriver.so.${release}`);
  await chmod(library, 0o755);
  await link(library, path('usr/lib/x86_64-linux-gnu/libdriver-hard.so'));
  await symlink(`libdriver.so.${release}`, path('usr/lib/x86_64-linux-gnu/libdriver.so.1'));
  await writeTree(tree, { 'usr/share/doc/driver/changelog': `release ${release}\n`.repeat(500) });
}

beforeAll(async () => {
  registry = await startRegistry();
  machine = await startTestNode('deltas');
  const { base, layout, scratch, node } = machine;
  env = { INGOT_STORE: join(scratch, 'store'), COSIGN_PASSWORD: 'correct horse' };
  const changed = Buffer.concat([
    FIRMWARE.subarray(0, 5 * MIB),
    randomBytes(FRESH),
    FIRMWARE.subarray(6 * MIB),
  ]);
  old = await addNextImage(layout, base.version, scratch, {
    name: '20991231.1',
    fill: (tree) => fillRelease(tree, '535.261.03', FIRMWARE),
  });
  next = await addNextImage(layout, base.version, scratch, {
    name: '20991231.2',
    fill: (tree) => fillRelease(tree, '535.274.02', changed),
  });
  await ingotJson(['push', `oci:${layout}:${old.name}`, `${registry.host}/ai/node:old`, ...insecure()], {
    env,
  });
  await node.ingotJson(['node', 'switch', `${registry.host}/ai/node:old`, ...insecure()]);
  await node.reboot();
  await node.ingotJson(['node', 'bless']);
});
afterAll(async () => {
  await machine[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});
/** Nothing of the new image is there. */
beforeEach(async () => {
  if ('staged' in (await machine.node.ingotJson(['node', 'status']))) await forget();
});

async function forget(): Promise<void> {
  const undeployed = await machine.node.exec(['ostree', 'admin', 'undeploy', '0']);
  expect(undeployed.exitCode, undeployed.stderr).toBe(0);
  await machine.node.ingotJson(['node', 'gc']);
}

const insecure = (): string[] => ['--insecure', registry.host];

interface Pushed {
  readonly deltas: readonly { readonly bytes: number; readonly withoutBytes: number }[];
}

/** The next image, into a repository of its own, with a delta from the one that runs. */
async function push(repository: string, ...more: readonly string[]): Promise<Pushed> {
  const image = `oci:${machine.layout}:${next.name}`;
  const ref = `${registry.host}/${repository}:next`;
  const from = `${registry.host}/ai/node:old`;
  return (await ingotJson(['push', image, ref, '--delta-from', from, ...insecure(), ...more], {
    env,
  })) as unknown as Pushed;
}

const upgradeTo = (ref: string, ...more: readonly string[]): string[] => [
  ...['node', 'switch', ref, '--json', '--verbose', '--insecure', ref.split('/')[0] ?? '', ...more],
];

async function isWhole(): Promise<void> {
  const { node } = machine;
  expect(await node.exec(['ostree', 'fsck', '--quiet'])).toMatchObject({ exitCode: 0 });
  const left = await readdir(join(node.sysroot, 'ostree/ingot'));
  expect(left.filter((name) => name.startsWith('work-'))).toEqual([]);
}

/** Of the layer that is new, by all that ostree knows of it: contents, modes, owners, links. */
async function treeOfLayer(): Promise<string> {
  const ref = `ingot/layer/sha256-${next.layer.digest.slice(7)}`;
  const listed = await machine.node.exec(['ostree', 'ls', '--repo=/sysroot/ostree/repo', '-RXC', ref]);
  expect(listed.exitCode, listed.stderr).toBe(0);
  return listed.stdout;
}

test('a node pulls what differs inside of files, and gets the same layer', async () => {
  const { node } = machine;
  const repository = 'ai/same';
  // The same image by another name makes no second one.
  const { deltas } = await push(repository, '--delta-from', `oci:${machine.layout}:${old.name}`);
  const [delta, ...more] = deltas;
  expect(more).toEqual([]);
  expect(delta).toMatchObject({ layers: 1, missing: 1, withoutBytes: next.layer.size });
  expect(delta?.bytes).toBeLessThan(FRESH + 10_000);
  const { referrers } = await ingotJson(['inspect', `${registry.host}/${repository}:next`, ...insecure()], {
    env,
  });
  expect(referrers).toMatchObject([{ artifactType: DELTA_ARTIFACT_TYPE }]);

  const names = [`${registry.host}/ai/node:old`, `${registry.host}/${repository}:next`];
  const { pull } = await ingotJson(['diff', ...names, ...insecure()], { env });
  expect(pull).toMatchObject({ bytes: next.layer.size, byDeltas: { bytes: delta?.bytes, blobs: 1 } });
  await using proxy = await startFaultProxy(registry.host, () => undefined);
  const { exitCode, stdout, stderr } = await node.ingot(upgradeTo(`${proxy.host}/${repository}:next`));
  expect(exitCode, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    done: 'staged',
    pulled: { bytes: delta?.bytes, layers: 1, deltas: 1 },
  });
  expect(proxy.seen.filter(({ url }) => url.includes(next.layer.digest))).toEqual([]);
  await isWhole();
  const byDelta = await treeOfLayer();
  expect(byDelta).toContain('libdriver.so.535.274.02');

  // The same layer, as a whole.
  await forget();
  const ref = `${registry.host}/ai/whole:next`;
  await ingotJson(['copy', `oci:${machine.layout}:${next.name}`, ref, ...insecure()], { env });
  const whole = await node.ingot(upgradeTo(ref));
  expect(JSON.parse(whole.stdout)).toMatchObject({ pulled: { bytes: next.layer.size, deltas: 0 } });
  expect(await treeOfLayer()).toBe(byDelta);
});

test('what it will pull is said before', async () => {
  const { node, layout } = machine;
  const ref = `${registry.host}/ai/node`;
  const { deltas } = await push('ai/node');
  const [{ bytes, withoutBytes } = { bytes: 0, withoutBytes: 0 }] = deltas;
  await ingotJson(['copy', `${ref}:next`, `${ref}:old`, ...insecure()], { env });
  try {
    const args = ['node', 'upgrade', '--check', ...insecure()];
    const { stdout } = await node.ingot(args);
    expect(stdout).toMatch(/Pull +\d+ KiB, by 1 delta instead of 6\.\d MiB; /);
    expect(stdout).toMatch(
      /20991231\.2 is there: \d+ KiB to pull in 1 layer, by 1 delta instead of 6\.\d MiB/,
    );
    expect(await node.ingotJson(args)).toMatchObject({ pull: { bytes, withoutBytes, layers: 1, deltas: 1 } });
  } finally {
    await ingotJson(['copy', `oci:${layout}:${old.name}`, `${ref}:old`, ...insecure()], { env });
  }
});

/** Takes the image from `repository` through a proxy, by whatever it takes. */
async function takenAllTheSame(repository: string, decide: Decide): Promise<string> {
  await using proxy = await startFaultProxy(registry.host, decide);
  const { exitCode, stdout, stderr } = await machine.node.ingot(
    upgradeTo(`${proxy.host}/${repository}:next`),
  );
  expect(exitCode, stderr).toBe(0);
  const { done, pulled } = JSON.parse(stdout) as { done: string; pulled: { bytes: number } };
  expect({ done, pulled }).toMatchObject({ done: 'staged', pulled: { layers: 1, deltas: 0 } });
  expect(pulled.bytes).toBeGreaterThanOrEqual(next.layer.size);
  await isWhole();
  expect(await treeOfLayer()).toContain('libdriver.so.535.274.02');
  return stderr;
}

/** Of the delta beside the image. */
async function deltaBlob(repository: string): Promise<string> {
  const ref = `${registry.host}/${repository}`;
  const { referrers } = await ingotJson(['inspect', `${ref}:next`, ...insecure()], { env });
  const [one] = referrers as { digest: string }[];
  const answer = await fetch(`http://${registry.host}/v2/${repository}/manifests/${one?.digest ?? ''}`, {
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
  });
  const { layers } = (await answer.json()) as { layers: { digest: string }[] };
  return layers[0]?.digest ?? 'none';
}

test('whatever is wrong with a delta, the layer is pulled', async () => {
  const repository = 'ai/wrong';
  await push(repository);
  const blob = await deltaBlob(repository);
  const damaged = await takenAllTheSame(repository, ({ url }) =>
    url.includes(blob) ? { change: (bytes) => Buffer.from(bytes).fill(7, 100, 200) } : undefined,
  );
  expect(damaged).toMatch(
    /the whole layer sha256:\w+ is pulled: .*is not what its digest says|other content/,
  );
  await forget();
  const gone = await takenAllTheSame(repository, ({ url }) =>
    url.includes(blob) ? { answer: 404 } : undefined,
  );
  expect(gone).toMatch(/the whole layer sha256:\w+ is pulled: /);
  await forget();
  const secret = await takenAllTheSame(repository, ({ url }) =>
    /referrers|manifests\/sha256-/.test(url) ? { answer: 403 } : undefined,
  );
  expect(secret).toMatch(/whole layers are pulled, since deltas cannot be found: /);
});

test('an old file that is not what it was is noticed, and the layer is pulled', async () => {
  const repository = 'ai/other';
  await push(repository);
  const file = machine.node.path('/usr/lib/firmware/driver/535.261.03/gsp_ga10x.bin');
  await writeFile(file, FIRMWARE.subarray(0, MIB));
  try {
    await using proxy = await startFaultProxy(registry.host, () => undefined);
    const shorter = await machine.node.ingot(upgradeTo(`${proxy.host}/${repository}:next`));
    expect(shorter.stderr).toMatch(
      /is pulled: .*gsp_ga10x\.bin of the layer sha256:\w+ is not what the delta takes/,
    );
    await forget();
    await writeFile(file, randomBytes(FIRMWARE.length));
    const other = await machine.node.ingot(upgradeTo(`${proxy.host}/${repository}:next`));
    expect(other.stderr).toMatch(/is pulled: the delta .* does not make sha256:/);
    expect(JSON.parse(other.stdout)).toMatchObject({ done: 'staged' });
  } finally {
    await writeFile(file, FIRMWARE);
  }
  await isWhole();
});

test('where this node asks for signatures, only signed deltas of signed images are taken', async () => {
  const { node, scratch } = machine;
  await ingotJson(['key', 'new', 'node'], { env, cwd: scratch });
  const key = ['--key', join(scratch, 'node.key'), '--no-provenance'];
  const trust = node.path('/usr/lib/ingot/trust');
  await writeTree(trust, {
    'trust.yaml': JSON.stringify({
      default: 'reject',
      repositories: {
        [`${registry.host}/ai/signed/*`]: { keys: ['node.pub'] },
        [`${registry.host}/ai/free`]: 'accept',
      },
    }),
    'node.pub': await readFile(join(scratch, 'node.pub'), 'utf8'),
  });
  try {
    const pulledFrom = async (repository: string): Promise<unknown> => {
      const { exitCode, stdout, stderr } = await node.ingot(upgradeTo(`${registry.host}/${repository}:next`));
      expect(exitCode, stderr).toBe(0);
      await forget();
      return (JSON.parse(stdout) as { pulled: unknown }).pulled;
    };
    const whole = { bytes: next.layer.size, deltas: 0 };
    await push('ai/signed/both', ...key);
    expect(await pulledFrom('ai/signed/both')).toMatchObject({ deltas: 1 });
    // The image is signed, and the delta that somebody put there later is not.
    const image = [`oci:${machine.layout}:${next.name}`, `${registry.host}/ai/signed/alone:next`];
    await ingotJson(['push', ...image, ...key, ...insecure()], { env });
    await push('ai/signed/alone');
    expect(await pulledFrom('ai/signed/alone')).toMatchObject(whole);
    // It would be taken where no signature counts at all.
    await push('ai/free');
    expect(await pulledFrom('ai/free')).toMatchObject(whole);
  } finally {
    await rm(trust, { recursive: true });
  }
});

test('a delta from an image without that architecture is a mistake of who asks for it', async () => {
  const { layout, scratch, base } = machine;
  await addNextImage(layout, base.version, scratch, {
    name: 'foreign',
    architecture: 'arm64',
    fill: (tree) => writeTree(tree, { 'usr/share/foreign': 'yes' }),
  });
  const args = ['push', `oci:${layout}:${next.name}`, `${registry.host}/ai/none:1`, ...insecure()];
  const foreign = await ingot([...args, '--delta-from', `oci:${layout}:foreign`], { env });
  expect(foreign.exitCode).toBe(1);
  expect(foreign.stderr).toMatch(
    /error\[NOT_FOUND\]: oci:.*:foreign has no image for linux\/amd64: linux\/arm64/,
  );
  const missing = await ingot([...args, '--delta-from', `${registry.host}/ai/nothing:1`], { env });
  expect(missing).toMatchObject({ exitCode: 1 });
  const sent = await fetch(`http://${registry.host}/v2/ai/none/tags/list`);
  expect(sent.status).toBe(404); // nothing was sent
});
