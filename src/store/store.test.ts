import { lstat, mkdtemp, readdir, realpath, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

import { Store, writeFileAtomically } from './store.ts';

it('lies where a link to it leads', async () => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'ingot-store-')));
  onTestFinished(() => rm(folder, { recursive: true }));
  const real = await Store.open(join(folder, 'big disk/store'));
  await symlink(join(folder, 'big disk'), join(folder, 'cache'));
  const linked = await Store.open(join(folder, 'cache/store'));
  expect(linked.root).toBe(real.root);
  expect(linked.path('trees')).toBe(join(folder, 'big disk/store/trees'));
});

it('writes to a device, and puts no file in its place', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ingot-store-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const output = join(folder, 'output');
  await symlink('/dev/null', output);
  await writeFileAtomically(output, 'text');
  expect((await lstat(output)).isSymbolicLink()).toBe(true);
  expect(await readdir(folder)).toEqual(['output']);
});
