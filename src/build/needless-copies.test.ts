import { chmod, link, lstat, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { run } from '../proc/run.ts';
import { dropNeedlessCopies } from './needless-copies.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot copies-'));
  for (const name of ['base', 'kernel', 'seal']) await mkdir(join(folder, name));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function write(tree: string, path: string, text: string, time = 1000): Promise<void> {
  const absolute = join(folder, tree, path);
  await mkdir(dirname(absolute), { recursive: true });
  await writeFile(absolute, text);
  await utimes(absolute, time, time);
}

const isThere = async (path: string): Promise<boolean> =>
  lstat(join(folder, 'seal', path)).then(
    () => true,
    () => false,
  );

const drop = (isChain = false): Promise<void> =>
  dropNeedlessCopies(join(folder, 'seal'), [join(folder, 'base'), join(folder, 'kernel')], {
    isLeftOut: (path) => path === 'left-out',
    isChain,
  });

describe('dropNeedlessCopies', () => {
  it('removes a kernel that was only linked to, and leaves the link', async () => {
    await write('kernel', 'usr/lib/modules/6/vmlinuz', 'kernel');
    await write('seal', 'usr/lib/modules/6/vmlinuz', 'kernel');
    await mkdir(join(folder, 'seal/boot'));
    await link(join(folder, 'seal/usr/lib/modules/6/vmlinuz'), join(folder, 'seal/boot/vmlinuz-6'));
    await drop();
    expect(await isThere('usr/lib/modules/6/vmlinuz')).toBe(false);
    expect(await isThere('boot/vmlinuz-6')).toBe(true);
  });

  it('keeps what differs in contents, time, mode or kind from what shows below', async () => {
    for (const path of ['contents', 'time', 'mode', 'kind', 'same']) await write('base', path, 'one');
    await write('seal', 'contents', 'two');
    await write('seal', 'time', 'one', 2000);
    await write('seal', 'mode', 'one');
    await chmod(join(folder, 'seal/mode'), 0o600);
    await symlink('one', join(folder, 'seal/kind'));
    await write('seal', 'new', 'one');
    await write('seal', 'same', 'one');
    await write('base', 'left-out', 'one');
    await write('seal', 'left-out', 'one');
    // The base's shows no more: the layer above has another.
    await write('base', 'covered', 'one');
    await write('kernel', 'covered', 'two');
    await write('seal', 'covered', 'one');
    await drop();
    for (const path of ['contents', 'time', 'mode', 'kind', 'new', 'covered', 'left-out']) {
      expect(await isThere(path), path).toBe(true);
    }
    expect(await isThere('same')).toBe(false);
  });

  it('keeps what a layer between has hidden, where one was made on the other', async () => {
    for (const path of ['opaque/file', 'now-a-file/file', 'shown/file']) {
      await write('base', path, 'one');
      await write('seal', path, 'one');
    }
    await write('kernel', 'now-a-file', 'x');
    await write('kernel', 'shown/other', 'x');
    await write('kernel', 'opaque/other', 'x');
    const opaque = join(folder, 'kernel/opaque');
    await run(['setfattr', '--name=user.overlay.opaque', '--value=y', opaque], {});
    await drop(true);
    expect(await isThere('opaque/file')).toBe(true);
    expect(await isThere('now-a-file/file')).toBe(true);
    expect(await isThere('shown/file')).toBe(false);
  });

  it('keeps what an opaque directory hides below it', async () => {
    await write('base', 'etc/opaque/deep/file', 'one');
    await write('seal', 'etc/opaque/deep/file', 'one');
    const opaque = join(folder, 'seal/etc/opaque');
    await run(['setfattr', '--name=user.overlay.opaque', '--value=y', opaque], {});
    await drop();
    expect(await isThere('etc/opaque/deep/file')).toBe(true);
  });
});
