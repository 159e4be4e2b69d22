/** Whether an image's kernel can read what its installer was started from, where that is a stick or such. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

/** Of the controllers of today's machines, and of sticks and of drives that management controllers emulate. */
const DRIVERS = ['xhci-pci', 'usb-storage'] as const;
/** A module's name in files and in `modules.builtin`. */
const MODULE = /^([\w-]+)\.ko(?:\.(?:gz|xz|zst))?$/;

/**
 * @param modules of the image's one kernel, such as `/usr/lib/modules/6.12.48+deb13-cloud-amd64`
 * @returns names of modules that it lacks
 */
export async function missingUsbDrivers(modules: string): Promise<readonly string[]> {
  const files = await readdir(join(modules, 'kernel/drivers/usb'), { recursive: true }).catch(() => []);
  const builtin = await readFile(join(modules, 'modules.builtin'), 'utf8').catch(() => '');
  const there = new Set(
    [...files, ...builtin.split('\n')].map((path) => MODULE.exec(basename(path))?.[1]?.replaceAll('_', '-')),
  );
  return DRIVERS.filter((name) => !there.has(name));
}
