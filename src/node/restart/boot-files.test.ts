import { link, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { compareBootFiles } from './boot-files.ts';

const KERNEL = 'usr/lib/modules/6.12.1';
let folder: string;
let from: string;
let to: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-boot-files-'));
  [from, to] = [join(folder, 'from'), join(folder, 'to')];
  for (const root of [from, to]) await mkdir(join(root, KERNEL, 'kernel'), { recursive: true });
  await writeFile(join(from, KERNEL, 'vmlinuz'), 'kernel');
  await link(join(from, KERNEL, 'vmlinuz'), join(to, KERNEL, 'vmlinuz'));
  for (const root of [from, to]) await writeFile(join(root, KERNEL, 'initramfs.img'), 'initramfs');
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

test('links to one file, and files of the same bytes, do not differ', async () => {
  expect(await compareBootFiles(from, to)).toEqual([]);
});

test('other bytes of the same length, new and missing files do', async () => {
  await writeFile(join(to, KERNEL, 'initramfs.img'), 'initramfz');
  await writeFile(join(to, KERNEL, 'kernel/new.ko'), '');
  await writeFile(join(from, KERNEL, 'kernel/old.ko.xz'), '');
  expect(await compareBootFiles(from, to)).toEqual(
    expect.arrayContaining([
      { path: `${KERNEL}/initramfs.img`, change: 'changed', what: ['content'] },
      { path: `${KERNEL}/kernel/new.ko`, change: 'added' },
      { path: `${KERNEL}/kernel/old.ko.xz`, change: 'removed' },
    ]),
  );
});

test('a deployment without modules has none', async () => {
  await rm(join(from, 'usr'), { recursive: true });
  expect((await compareBootFiles(from, to)).map(({ change }) => change)).toEqual(['added', 'added']);
});
