import { chmod, cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { TreeRepository } from '../../../test/support/tree-repository.ts';
import type { FileChange } from '../../compare/stack-layers.ts';
import { compareBootFiles } from './boot-files.ts';

const KERNEL = 'usr/lib/modules/6.12.1';
let folder: string;
let from: string;
let to: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-boot-files-'));
  [from, to] = [join(folder, 'from'), join(folder, 'to')];
  await mkdir(join(from, KERNEL, 'kernel/net'), { recursive: true });
  await writeFile(join(from, KERNEL, 'vmlinuz'), 'kernel');
  await writeFile(join(from, KERNEL, 'initramfs.img'), 'initramfs');
  await writeFile(join(from, KERNEL, 'kernel/net/tcp.ko'), 'tcp');
  await cp(from, to, { recursive: true });
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function compare(): Promise<FileChange[]> {
  const repository = new TreeRepository(join(folder, 'repo'));
  return compareBootFiles(repository.path, repository.add(from).commit, repository.add(to).commit);
}

test('the same, whatever else differs', async () => {
  await writeFile(join(to, 'usr/other'), '');
  expect(await compare()).toEqual([]);
});

test('the same bytes with another mode, and links, do not differ', async () => {
  await chmod(join(to, KERNEL, 'kernel/net/tcp.ko'), 0o755);
  await symlink('/usr/src/linux', join(to, KERNEL, 'build'));
  expect(await compare()).toEqual([]);
});

test('other bytes of the same length, new and missing files do', async () => {
  await writeFile(join(to, KERNEL, 'initramfs.img'), 'initramfz');
  await writeFile(join(to, KERNEL, 'kernel/new.ko'), '');
  await rm(join(to, KERNEL, 'kernel/net'), { recursive: true });
  await symlink('vmlinuz-1', join(to, KERNEL, 'vmlinuz-link'));
  await rm(join(to, KERNEL, 'vmlinuz'));
  await symlink('vmlinuz-1', join(to, KERNEL, 'vmlinuz'));
  expect(await compare()).toEqual([
    { path: `${KERNEL}/initramfs.img`, change: 'changed', what: ['content'] },
    { path: `${KERNEL}/vmlinuz`, change: 'removed' },
    { path: `${KERNEL}/kernel/new.ko`, change: 'added' },
    { path: `${KERNEL}/kernel/net/tcp.ko`, change: 'removed' },
  ]);
});

test('a commit without modules has none', async () => {
  await rm(join(from, 'usr'), { recursive: true });
  expect((await compare()).map(({ change }) => change)).toEqual(['added', 'added', 'added']);
});

test('a damaged repository says so', async () => {
  const repository = new TreeRepository(join(folder, 'repo'));
  const { commit } = repository.add(from);
  await rm(join(folder, 'repo/objects', commit.slice(0, 2)), { recursive: true });
  await expect(compareBootFiles(repository.path, commit, commit)).rejects.toMatchObject({
    code: 'NODE_FAILED',
    message: expect.stringMatching(/\.commit of the repository cannot be read/) as string,
  });
});
