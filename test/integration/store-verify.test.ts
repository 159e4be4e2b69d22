/** A real store, damaged on purpose: the next build gives the digest that it gave before. */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { loadLock } from '../../src/cli/load-lock.ts';
import { verifyLayout } from '../../src/oci/layout.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { packageFile, packageOf, storeWithPackages } from '../support/thin-store.ts';

interface Layer {
  readonly name: string;
  readonly key: string;
  readonly chunks: readonly { readonly digest: string }[];
  readonly cached: boolean;
}

let image: BuiltImage;
let folder: string;
let store: string;
let layout: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/verify-'));
  store = join(folder, 'store');
  layout = join(folder, 'layout');
  storeWithPackages(image, store);
  await build();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function build(): Promise<{ digest: string; layers: Layer[] }> {
  const built = await ingotJson(['--store', store, 'build', image.declaration, '--output', layout]);
  return { digest: String(built['digest']), layers: built['layers'] as Layer[] };
}

async function verify(
  ...options: string[]
): Promise<{ exitCode: number; problems: string[]; unknown: number }> {
  const { exitCode, stdout, stderr } = await ingot([
    '--store',
    store,
    'store',
    'verify',
    ...options,
    '--json',
  ]);
  if (exitCode > 1) throw new Error(stderr);
  const { problems, unknownTrees } = JSON.parse(stdout) as {
    problems: { kind: string; problem: string }[];
    unknownTrees: number;
  };
  return {
    exitCode,
    problems: problems.map(({ kind, problem }) => `${kind} ${problem}`),
    unknown: unknownTrees,
  };
}

/** One other byte in the middle; the time stays, as when a disk forgets. */
function flipByte(path: string): void {
  const { atime, mtime } = statSync(path);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
  writeFileSync(path, bytes);
  utimesSync(path, atime, mtime);
}

/** The first of a layer's blobs. */
const blobOf = (layer: Layer | undefined): string =>
  join(store, 'blobs/sha256', hexOf(layer?.chunks[0]?.digest ?? ''));

const hexOf = (digest: string): string => digest.slice('sha256:'.length);

test('a sound store is found sound, trees included', async () => {
  expect(await verify('--trees')).toEqual({ exitCode: 0, problems: [], unknown: 0 });
});

test('a spoilt blob is found, taken out, and made again', async () => {
  const before = await build();
  const seal = before.layers.at(-1);
  const blob = blobOf(seal);
  flipByte(blob);
  expect(await verify()).toMatchObject({
    exitCode: 1,
    problems: [
      'blobs has other content than its name says',
      expect.stringContaining('records names the blob'),
    ],
  });
  expect((await verify('--repair')).exitCode).toBe(1);
  expect((await verify()).exitCode).toBe(0);

  const after = await build();
  expect(after.digest).toBe(image.digest);
  expect(after.layers.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['seal']);
  // The layout shared the spoilt file.
  expect((await verifyLayout(layout)).size).toBeGreaterThan(4);
});

test('a blob that something wrote to is made again by the build alone', async () => {
  const kernel = (await build()).layers.find(({ name }) => name === 'kernel');
  const blob = blobOf(kernel);
  flipByte(blob);
  utimesSync(blob, new Date(), new Date());
  const after = await build();
  expect(after.digest).toBe(image.digest);
  expect(after.layers.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['kernel']);
  await verifyLayout(layout);
});

test('a tree that was changed is found where trees are read, and is made again, from packages that are hashed first', async () => {
  const { layers } = await build();
  const ssh = layers.find(({ name }) => name === 'addon-ssh');
  const name = readdirSync(join(store, 'trees')).find((key) =>
    readFileSync(join(store, 'trees', key, 'record.json'), 'utf8').includes('"addon-ssh"'),
  );
  const tree = join(store, 'trees', name ?? '');
  const sshd = join(tree, 'root/usr/sbin/sshd');
  flipByte(sshd);
  expect((await verify()).exitCode).toBe(0);
  expect(await verify('--trees', '--repair')).toMatchObject({
    exitCode: 1,
    problems: ['trees is not as it was made'],
  });
  expect(readdirSync(join(store, 'trees'))).not.toContain(name);

  // Whoever needs the tree makes it from the packages, one of which is spoilt as well. The mirror has it still.
  const spoilt = packageFile(
    store,
    packageOf(await loadLock(image.declaration.replace('.yaml', '.lock.yaml')), 'openssh-server'),
  );
  const copy = `${spoilt}.copy`;
  cpSync(spoilt, copy); // the shared store links the same file
  rmSync(spoilt);
  cpSync(copy, spoilt);
  rmSync(copy);
  flipByte(spoilt);
  rmSync(join(store, 'records/layers', `${hexOf(ssh?.key ?? '')}.json`));
  expect((await verify()).problems).toEqual(['packages has other content than its name says']);
  const after = await build();
  expect(after.digest).toBe(image.digest);
  expect(after.layers.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['addon-ssh']);
  expect(await verify('--trees')).toEqual({ exitCode: 0, problems: [], unknown: 0 });
});

test('df says what gc would free, and gc what it freed, and a size that is none is refused', async () => {
  const usage = await ingotJson(['--store', store, 'store', 'df']);
  expect(usage).toMatchObject({ collectable: 0 });
  const freed = await ingotJson(['--store', store, 'store', 'gc', '--keep', '0']);
  expect(Number(freed['keptBytes'])).toBeLessThan(1e6);
  expect((await verify()).exitCode).toBe(0);
  expect((await ingot(['--store', store, 'store', 'gc', '--keep', '10 gigs'])).exitCode).toBe(2);
  expect((await ingot(['--store', store, 'store', 'gc', '--keep-days', '-1'])).exitCode).toBe(2);
});
