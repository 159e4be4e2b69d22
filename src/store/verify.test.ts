import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { digestOf, digestOfJson, hexOf } from '../digest.ts';
import { hashTrees } from './hashing.ts';
import { Store } from './store.ts';
import { verifyStore } from './verify.ts';

let store: Store;
beforeEach(async () => {
  store = await Store.open(await mkdtemp(join(tmpdir(), 'ingot verify ä ')));
});
afterEach(async () => {
  await rm(store.root, { recursive: true });
});

async function write(path: string, content: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

const nameOf = (content: string): string => hexOf(digestOf(content));
const KEY = 'e'.repeat(64);

async function addBlob(content: string): Promise<string> {
  return write(store.blobPath(nameOf(content)), content);
}

async function addTree(): Promise<string> {
  const folder = store.path('trees', KEY);
  const root = join(folder, 'root');
  await write(join(root, 'usr/bin/program'), 'a program');
  await write(join(root, 'usr/grüße'), '');
  await symlink('usr/bin', join(root, 'bin'));
  const hash = (await hashTrees([root])).get(root);
  if (hash === undefined || !('hex' in hash)) throw new Error('no hash');
  const record = { step: 'base', boot: 'b', synced: true, contents: hash.hex };
  await writeFile(join(folder, 'record.json'), JSON.stringify(record));
  return root;
}

/** A whole store: a package, two blobs of a layer, its record and its tree, and a lock. */
async function fill(): Promise<{ package: string; blob: string; root: string }> {
  const item = await write(store.packagePath(nameOf('package')), 'package');
  const blob = await addBlob('layer');
  await addBlob('config');
  const claim = (text: string): object => ({
    digest: digestOf(text),
    size: text.length,
    diffId: digestOf('plain'),
  });
  await store.writeRecord('layers', KEY, { parts: [claim('layer'), claim('config')] });
  const lock = { name: 'node' };
  await store.writeRecord('locks', hexOf(digestOfJson(lock)), lock);
  return { package: item, blob, root: await addTree() };
}

async function problems(options: Parameters<typeof verifyStore>[1] = { trees: true }): Promise<string[]> {
  const verified = await verifyStore(store, options);
  return verified.problems.map(({ kind, name, problem }) => `${kind} ${name.slice(0, 6)} ${problem}`);
}

const short = (content: string): string => nameOf(content).slice(0, 6);

/** Another byte of the same size, and the time as it was: what a failing disk does. */
async function rot(path: string): Promise<void> {
  const { atime, mtime } = await stat(path);
  const bytes = await readFile(path);
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  await writeFile(path, bytes);
  await utimes(path, atime, mtime);
}

test('finds nothing wrong with a whole store, nor with an empty one', async () => {
  expect(await problems()).toEqual([]);
  await fill();
  const seen: [number, number][] = [];
  const verified = await verifyStore(store, { trees: true, onProgress: (...step) => seen.push(step) });
  expect(verified).toMatchObject({ problems: [], unknownTrees: 0 });
  expect(verified.checked.map(({ kind, entries }) => [kind, entries])).toEqual([
    ['packages', 1],
    ['blobs', 2],
    ['records', 2],
    ['trees', 1],
  ]);
  expect(seen.at(-1)?.[0]).toBe('package'.length + 'layer'.length + 'config'.length + 'a program'.length);
});

describe('one wrong byte', () => {
  test.each([
    ['package', 'packages', () => short('package')],
    ['blob', 'blobs', () => short('layer')],
  ] as const)('of a %s is found, and with repair the file goes', async (which, kind, name) => {
    const path = (await fill())[which];
    await rot(path);
    const complaint = `${kind} ${name()} has other content than its name says`;
    expect((await problems({}))[0]).toBe(complaint);
    expect((await problems({}))[0]).toBe(complaint);
    expect((await problems({ repair: true }))[0]).toBe(complaint);
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await problems({})).toEqual([]);
  });

  test('of a tree is found where trees are read, and with repair the tree goes', async () => {
    const { root } = await fill();
    await rot(join(root, 'usr/bin/program'));
    expect(await problems({})).toEqual([]);
    expect(await problems({ trees: true, repair: true })).toEqual([
      `trees ${KEY.slice(0, 6)} is not as it was made`,
    ]);
    expect(await readdir(store.path('trees'))).toEqual([]);
    expect(await readdir(store.path('tmp'))).toEqual([]);
  });
});

test.each([
  ['another mode', (root: string) => chmod(join(root, 'usr/bin/program'), 0o4755)],
  ['another time', (root: string) => utimes(join(root, 'usr/bin/program'), 1, 1)],
  ['one file more', (root: string) => writeFile(join(root, 'usr/more'), '')],
  ['one file less', (root: string) => rm(join(root, 'usr/grüße'))],
  [
    'a link elsewhere',
    async (root: string) => {
      await rm(join(root, 'bin'));
      await symlink('usr/sbin', join(root, 'bin'));
    },
  ],
  [
    'contents moved to a neighbour',
    async (root: string) => {
      await rm(join(root, 'usr/bin/program'));
      await writeFile(join(root, 'usr/bin/a'), ' program');
    },
  ],
])('a tree with %s is not as it was made', async (_what, change) => {
  const { root } = await fill();
  await change(root);
  expect(await problems()).toEqual([`trees ${KEY.slice(0, 6)} is not as it was made`]);
});

test('a tree that nothing is known about is counted, and one without a record is wrong', async () => {
  await fill();
  const record = store.path('trees', KEY, 'record.json');
  await writeFile(record, JSON.stringify({ step: 'base', boot: 'b', synced: false }));
  expect(await verifyStore(store, { trees: true })).toMatchObject({ unknownTrees: 1, problems: [] });
  await writeFile(record, '{"step":');
  expect(await problems({ repair: true })).toEqual([
    `trees ${KEY.slice(0, 6)} has no record that can be read`,
  ]);
  expect(await readdir(store.path('trees'))).toEqual([]);
});

test('records that name what is not there, or are none, are wrong, and go', async () => {
  const { blob } = await fill();
  expect(await store.blobSize(nameOf('layer'))).toBe('layer'.length); // which makes a record of it
  await rm(blob);
  await write(store.path('records/locks', `${'a'.repeat(64)}.json`), '{"name": "another"}');
  await write(store.path('records/boots', `${'b'.repeat(64)}.json`), '{');
  const found = (await problems({ repair: true })).sort();
  expect(found).toEqual(
    [
      `records ${short('layer')} is about a blob that is not there`,
      'records aaaaaa has other content than its name says',
      'records bbbbbb is not JSON',
      `records ${KEY.slice(0, 6)} names the blob ${nameOf('layer')}, which the store does not have whole`,
    ].sort(),
  );
  expect(await problems({})).toEqual([]);
  expect(await store.readRecord('layers', KEY)).toBeUndefined();
});

test('what has no name of its kind does not belong there', async () => {
  await fill();
  const strange = [
    await write(store.blobPath('notes.txt'), 'x'),
    await write(store.path('packages/zz', `${nameOf('package')}.deb`), 'package'),
  ];
  expect(await problems({ repair: true })).toHaveLength(2);
  for (const path of strange) await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a repair waits for builds, a look does not', async () => {
  await rot((await fill()).package);
  {
    await using _use = await store.use();
    expect(await problems({})).toHaveLength(1);
    const signal = AbortSignal.timeout(200);
    await expect(verifyStore(store, { repair: true, signal })).rejects.toMatchObject({ code: 'INTERRUPTED' });
  }
  expect(await problems({})).toHaveLength(1);
});

describe('a blob that a build asks for', () => {
  test('is hashed when it was written to, and removed when that damaged it', async () => {
    const path = await addBlob('a layer');
    const name = nameOf('a layer');
    expect(await store.blobSize(name)).toBe(7);
    await writeFile(path, 'a layer');
    expect(await store.blobSize(name)).toBe(7);
    await writeFile(path, 'A layer');
    expect(await store.blobSize(name)).toBeUndefined();
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('is not hashed when it looks as it did: bits that a disk has lost are found by verifying', async () => {
    const path = await addBlob('a layer');
    const name = nameOf('a layer');
    await utimes(path, 1_700_000_000, 1_700_000_000);
    expect(await store.blobSize(name)).toBe(7);
    await rot(path);
    expect(await store.blobSize(name)).toBe(7);
    expect(await problems({ repair: true })).toHaveLength(1);
    expect(await store.blobSize(name)).toBeUndefined();
  });

  test('is hashed once where nothing says what it looked like, or something unreadable does', async () => {
    const path = await addBlob('a layer');
    const record = store.path('records/blobs', `${nameOf('a layer')}.json`);
    await write(record, '{"size":');
    expect(await store.blobSize(nameOf('a layer'))).toBe(7);
    expect(JSON.parse(await readFile(record, 'utf8'))).toMatchObject({ size: '7' });
    await rm(record);
    await writeFile(path, 'A layer');
    expect(await store.blobSize(nameOf('a layer'))).toBeUndefined();
  });
});
