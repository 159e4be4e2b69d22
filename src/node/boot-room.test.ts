import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { requireBootRoom } from './boot-room.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-boot-room-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function file(path: string, bytes: number): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), '');
  await truncate(join(folder, path), bytes);
}
const check = (freeBytes?: number): Promise<void> =>
  requireBootRoom({
    boot: join(folder, 'boot'),
    deployment: join(folder, 'next'),
    stateroot: 'default',
    kept: new Set(),
    ...(freeBytes !== undefined && { freeBytes }),
  });

test('a kernel that fits is fine, and so is a system without one', async () => {
  await file('boot/ostree/default-00/vmlinuz', 10);
  await check();
  await file('next/usr/lib/modules/6.1/vmlinuz', 10);
  await file('next/usr/lib/modules/6.1/initramfs.img', 10);
  await check();
});

test('nothing is read when there is room for all of it', async () => {
  await mkdir(join(folder, 'boot'));
  await mkdir(join(folder, 'next/usr/lib/modules/6.1'), { recursive: true });
  // Who reads it waits for somebody to write.
  await run(['mkfifo', join(folder, 'next/usr/lib/modules/6.1/vmlinuz')]);
  await check();
});

test('one that is there already takes no room', async () => {
  const [kernel, initramfs] = [Buffer.from('kernel'), Buffer.from('initramfs')];
  await mkdir(join(folder, 'next/usr/lib/modules/6.1'), { recursive: true });
  await writeFile(join(folder, 'next/usr/lib/modules/6.1/vmlinuz'), kernel);
  await writeFile(join(folder, 'next/usr/lib/modules/6.1/initramfs.img'), initramfs);
  const checksum = createHash('sha256').update(kernel).update(initramfs).digest('hex');
  await expect(check(0)).rejects.toMatchObject({ code: 'DISK_FULL' });
  await file(`boot/ostree/default-${checksum}/vmlinuz`, 1);
  await check(0);
});

test('one that does not fit is refused before it is too late', async () => {
  await file('next/usr/lib/modules/6.1/vmlinuz', 8 * 2 ** 20);
  // A file system without a free block.
  const boot = '/proc';
  await expect(
    requireBootRoom({ boot, deployment: join(folder, 'next'), stateroot: 'default', kept: new Set() }),
  ).rejects.toMatchObject({
    code: 'DISK_FULL',
    message: 'the update’s kernel and initramfs take 9.0 MiB in /proc, and 0 B are free',
  });
});
