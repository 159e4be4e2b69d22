/** On a tree of files like those of the kernel and udev. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { findDisks, findMediums, type DeviceFolders } from './find-disks.ts';

let root: string;
let folders: DeviceFolders;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'disks-'));
  folders = { sys: join(root, 'sys'), dev: join(root, 'dev'), run: join(root, 'run') };
  await mkdir(join(folders.sys, 'block'), { recursive: true });
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function device(name: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries({ size: '2097152', ro: '0', removable: '0', ...files })) {
    const file = join(folders.sys, 'block', name, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `${text}\n`);
  }
}

test('disks are described by what kernel and udev say, and the rest is left out', async () => {
  await device('vda', { serial: 'VIRT', dev: '254:0', 'queue/logical_block_size': '512' });
  await device('nvme0n1', {
    dev: '259:0',
    'device/model': 'EXAMPLE 1TB   ',
    'device/serial': 'N1',
    'queue/logical_block_size': '4096',
  });
  await device('sda', { dev: '8:0', removable: '1' });
  await device('sdb', { dev: '8:16' });
  for (const other of ['loop0', 'zram0', 'sr0', 'dm-0', 'md127', 'fd0', 'mmcblk0boot0'])
    await device(other, {});
  await device('sdc', { ro: '1' });
  await device('sdd', { size: '0' });
  await device('nvme0c0n1', { hidden: '1' });
  await mkdir(join(folders.run, 'udev/data'), { recursive: true });
  await writeFile(
    join(folders.run, 'udev/data/b8:16'),
    'S:disk/by-id/x\nE:ID_BUS=usb\nE:ID_SERIAL_SHORT=U=1\n',
  );
  await mkdir(join(folders.dev, 'disk/by-id'), { recursive: true });
  await mkdir(join(folders.dev, 'disk/by-path/pci-0000:00:06.0-part/by-uuid'), { recursive: true });
  await symlink('../../nvme0n1', join(folders.dev, 'disk/by-id/nvme-EXAMPLE_N1'));

  expect(await findDisks(join(folders.dev, 'sda'), folders)).toEqual([
    {
      name: 'nvme0n1',
      paths: ['/dev/nvme0n1', '/dev/disk/by-id/nvme-EXAMPLE_N1'],
      size: 2 ** 30,
      sectorBytes: 4096,
      serial: 'N1',
      model: 'EXAMPLE 1TB',
      isRemovable: false,
      isMedium: false,
    },
    expect.objectContaining({ name: 'sda', isRemovable: true, isMedium: true }),
    expect.objectContaining({ name: 'sdb', isRemovable: true, serial: 'U=1' }),
    expect.objectContaining({ name: 'vda', serial: 'VIRT', isRemovable: false, sectorBytes: 512 }),
  ]);
});

test('a medium may be a CD', async () => {
  await device('sr0', {});
  await device('sda', {});
  await device('loop0', {});
  expect(await findMediums(folders)).toEqual([join(folders.dev, 'sda'), join(folders.dev, 'sr0')]);
});
