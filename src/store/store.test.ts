import {
  copyFile,
  link,
  lstat,
  mkdtemp,
  readdir,
  realpath,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
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

it('knows its own blobs by other names, and none that was touched or only looks like one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ingot-store-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const store = await Store.open(join(folder, 'store'));
  const hex = hexOf(digestOf('a blob'));
  const blob = store.blobPath(hex);
  const linked = join(folder, 'linked');
  await writeFile(blob, 'a blob');
  await link(blob, linked);
  expect(await store.isSoundLink(linked, hex)).toBe(false); // never hashed
  await store.recordBlob(hex);
  expect(await store.isSoundLink(linked, hex)).toBe(true);
  const copied = join(folder, 'copied');
  await copyFile(blob, copied);
  const { atime, mtime } = await stat(blob);
  await utimes(copied, atime, mtime);
  expect(await store.isSoundLink(copied, hex)).toBe(false);
  expect(await store.isSoundLink(join(folder, 'nothing'), hex)).toBe(false);
  await writeFile(linked, 'b blob');
  expect(await store.isSoundLink(linked, hex)).toBe(false);
});
