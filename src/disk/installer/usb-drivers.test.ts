import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { findUsbDrivers } from './usb-drivers.ts';

let modules: string;

beforeEach(async () => {
  modules = await mkdtemp(join(tmpdir(), 'ingot-'));
});

afterEach(async () => {
  await rm(modules, { recursive: true });
});

const KERNEL = '6.12.1-amd64';

async function put(path: string, text = ''): Promise<void> {
  await mkdir(dirname(join(modules, KERNEL, path)), { recursive: true });
  await writeFile(join(modules, KERNEL, path), text);
}

test('drivers are modules, compressed or not, or in the kernel itself', async () => {
  await put('vmlinuz');
  await put('kernel/drivers/usb/storage/usb-storage.ko.xz');
  await put('kernel/drivers/usb/host/xhci-pci.ko');
  expect(await findUsbDrivers(modules)).toEqual({ kernel: KERNEL, missing: [] });
  await rm(join(modules, KERNEL, 'kernel/drivers/usb/host'), { recursive: true });
  expect((await findUsbDrivers(modules)).missing).toEqual(['xhci-pci']);
  await put('modules.builtin', 'kernel/fs/ext4.ko\nkernel/drivers/usb/host/xhci_pci.ko\n');
  expect((await findUsbDrivers(modules)).missing).toEqual([]);
});

test('a kernel without drivers for USB lacks them all, whatever lies beside it', async () => {
  await put('vmlinuz');
  await put('kernel/drivers/usb/storage/usb-storage.txt');
  for (const path of ['host/xhci-pci.ko', 'storage/usb-storage.ko'])
    await put(join('..', '6.1.0-left', 'kernel/drivers/usb', path));
  expect(await findUsbDrivers(modules)).toEqual({ kernel: KERNEL, missing: ['xhci-pci', 'usb-storage'] });
});
