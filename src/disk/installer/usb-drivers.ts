/** Whether an image's kernel can read what its installer was started from, where that is a stick or such. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Of the controllers of today's machines, and of sticks and of drives that management controllers emulate. */
const DRIVERS = ['xhci-pci', 'usb-storage'] as const;
/** A module's name in files and in `modules.builtin`. */
const MODULE = /^([\w-]+)\.ko(?:\.(?:gz|xz|zst))?$/;

export interface UsbDrivers {
  /** The release of the kernel that starts. */
  readonly kernel: string;
  /** Names of modules that it lacks. */
  readonly missing: readonly string[];
}

/** @param modules `/usr/lib/modules` of an image that can be deployed, where one release alone has a kernel */
export async function findUsbDrivers(modules: string): Promise<UsbDrivers> {
  const releases = await readdir(modules);
  const kernel = releases.find((release) => existsSync(join(modules, release, 'vmlinuz'))) ?? '';
  const files = await readdir(join(modules, kernel, 'kernel/drivers/usb'), { recursive: true }).catch(
    () => [],
  );
  const builtin = await readFile(join(modules, kernel, 'modules.builtin'), 'utf8').catch(() => '');
  const there = new Set(
    [...files, ...builtin.split('\n')].map((path) => MODULE.exec(basename(path))?.[1]?.replaceAll('_', '-')),
  );
  return { kernel, missing: DRIVERS.filter((name) => !there.has(name)) };
}
