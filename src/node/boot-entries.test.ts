import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import {
  argumentValue,
  loadKernelArgumentsOfEntries,
  nextKernelArguments,
  parseEntryOptions,
} from './boot-entries.ts';

test('options are words, and quotes hold one together', () => {
  const text = 'title x\noptions root=UUID=1 dyndbg="file a.c +p" rw\noptions console=tty0\nlinux /v\n';
  expect(parseEntryOptions(text)).toEqual(['root=UUID=1', 'dyndbg="file a.c +p"', 'rw', 'console=tty0']);
  expect(parseEntryOptions('title options x\n')).toEqual([]);
});

test('entries are told by the deployment that they start', async () => {
  const root = await mkdtemp(join(tmpdir(), 'ingot-entries-'));
  await mkdir(join(root, 'boot/loader/entries'), { recursive: true });
  await mkdir(join(root, 'sysroot/ostree/boot.1/default/abc'), { recursive: true });
  await symlink('../../../deploy/default/deploy/c0ffee.1', join(root, 'sysroot/ostree/boot.1/default/abc/0'));
  const entry = (name: string, options: string): Promise<void> =>
    writeFile(join(root, 'boot/loader/entries', name), `title t\noptions ${options}\n`);
  await entry('ostree-1.conf', 'rw ostree=/ostree/boot.1/default/abc/0');
  await entry('ostree-2.conf', 'rw ostree=/ostree/boot.1/default/gone/0');
  await entry('other.conf', 'quiet');
  const found = await loadKernelArgumentsOfEntries(join(root, 'boot'), join(root, 'sysroot'));
  expect([...found]).toEqual([['c0ffee.1', ['rw', 'ostree=/ostree/boot.1/default/abc/0']]]);
  expect(await loadKernelArgumentsOfEntries(join(root, 'none'), root)).toEqual(new Map());
  await rm(root, { recursive: true });
});

test('the image’s arguments give way to those of the next one, and the owner’s stay', () => {
  const running = [
    ...['root=UUID=1', 'rw', 'console=tty0', 'console=ttyS0', 'iommu=pt', 'ingot.id=a-1', 'mine=1'],
    'ostree=/ostree/boot.1/default/abc/0',
  ];
  const next = nextKernelArguments(
    running,
    ['console=tty0', 'console=ttyS0', 'iommu=pt'],
    ['console=ttyS1'],
    'b-2',
  );
  expect(next).toEqual(['root=UUID=1', 'rw', 'console=ttyS1', 'mine=1', 'ingot.id=b-2']);
  expect(argumentValue(next, 'ingot.id')).toBe('b-2');
  // An argument that the owner took away stays away no longer than the image asks for it anew.
  expect(nextKernelArguments(['rw'], ['quiet'], ['quiet'], 'c')).toEqual(['rw', 'quiet', 'ingot.id=c']);
  // What the owner gave twice is the owner's once.
  expect(nextKernelArguments(['a', 'a'], ['a'], [], 'c')).toEqual(['a', 'ingot.id=c']);
});
