import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { missingUsbDrivers } from './usb-drivers.ts';

let modules: string;

beforeEach(async () => {
  modules = await mkdtemp(join(tmpdir(), 'ingot-'));
});

afterEach(async () => {
  await rm(modules, { recursive: true });
});

async function put(path: string, text = ''): Promise<void> {
  await mkdir(dirname(join(modules, path)), { recursive: true });
  await writeFile(join(modules, path), text);
}

test('drivers are modules, compressed or not, or in the kernel itself', async () => {
  await put('kernel/drivers/usb/storage/usb-storage.ko.xz');
  await put('kernel/drivers/usb/host/xhci-pci.ko');
  expect(await missingUsbDrivers(modules)).toEqual([]);
  await rm(join(modules, 'kernel/drivers/usb/host'), { recursive: true });
  expect(await missingUsbDrivers(modules)).toEqual(['xhci-pci']);
  await put('modules.builtin', 'kernel/fs/ext4.ko\nkernel/drivers/usb/host/xhci_pci.ko\n');
  expect(await missingUsbDrivers(modules)).toEqual([]);
});

test('a kernel without drivers for USB lacks them all', async () => {
  await put('kernel/drivers/usb/storage/usb-storage.txt');
  expect(await missingUsbDrivers(modules)).toEqual(['xhci-pci', 'usb-storage']);
  expect(await missingUsbDrivers(join(modules, 'none'))).toEqual(['xhci-pci', 'usb-storage']);
});
