import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { withoutSyncing } from '../../src/build/unsynced.ts';
import { run } from '../../src/proc/run.ts';
import { Store } from '../../src/store/store.ts';
import { getfattrArgv } from '../../src/tools/getfattr.ts';

let folder: string;
let store: Store;
let root: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-unsynced-'));
  store = await Store.open(join(folder, 'store'));
  root = join(store.root, 'tmp/tree/root');
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(root, 'etc/before'), 'before');
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test('what is done through the mount is done to the directory, and nothing tells of the mount', async () => {
  await withoutSyncing(root, { store }, async ({ root: mounted, namespace, fs }) => {
    await namespace.run(['mkdir', join(mounted, 'opt')]);
    await namespace.run(['mv', join(mounted, 'etc'), join(mounted, 'opt/etc')]);
    await namespace.run(['mkdir', join(mounted, 'etc')]);
    await namespace.run(['ln', join(mounted, 'opt/etc/before'), join(mounted, 'etc/linked')]);
    await fs.writeFile('/opt/gone', 'gone');
    await fs.remove('/opt/gone');
    await fs.writeFile('/etc/after', 'after');
  });
  expect((await readdir(root, { recursive: true })).sort()).toEqual([
    'etc',
    'etc/after',
    'etc/linked',
    'opt',
    'opt/etc',
    'opt/etc/before',
  ]);
  expect(await readFile(join(root, 'etc/linked'), 'utf8')).toBe('before');
  expect((await run(getfattrArgv(root, '.'))).stdout).toBe('');
  expect(await readdir(join(store.root, 'tmp'))).toEqual(['tree']);
});

test('the mount takes no notice of syncing', async () => {
  await withoutSyncing(root, { store }, async ({ root: mounted, namespace }) => {
    const file = join(mounted, 'etc/before');
    const argv = ['findmnt', '--noheadings', '--output', 'FS-OPTIONS', '--target', file] as const;
    const { stdout } = await namespace.run(argv);
    expect(stdout).toMatch(/[,=]volatile\b/); // newer kernels say fsync=volatile
  });
});

test('a failure goes on, and leaves no folder behind', async () => {
  const failing = withoutSyncing(root, { store }, () => Promise.reject(new Error('on purpose')));
  await expect(failing).rejects.toThrow('on purpose');
  expect(await readdir(join(store.root, 'tmp'))).toEqual(['tree']);
});
