/** The disks of this machine, as the kernel and udev describe them. */
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { errnoOf } from '../../errors.ts';
import type { Disk } from './target.ts';

export interface DeviceFolders {
  readonly sys: string;
  readonly dev: string;
  readonly run: string;
}

export const MACHINE: DeviceFolders = { sys: '/sys', dev: '/dev', run: '/run' };

/** What is no disk to install to: RAM, loops, drives for CDs and floppies, and what is made of other disks. */
const OTHER_DEVICES = /^(?:loop|ram|zram|sr|fd|dm-|md|nbd|mmcblk\d+(?:boot|rpmb))/;

/** Every disk that can be written, in the order of their names. @param medium device node of the medium */
export async function findDisks(medium: string | undefined, folders = MACHINE): Promise<Disk[]> {
  const names = (await readdir(join(folders.sys, 'block'))).sort();
  const links = await linksByDevice(folders.dev);
  const disks: Disk[] = [];
  for (const name of names) {
    if (OTHER_DEVICES.test(name)) continue;
    const disk = await readDisk(name, links.get(name) ?? [], medium, folders);
    if (disk !== undefined) disks.push(disk);
  }
  return disks;
}

/** Block devices that an installer may lie on, CDs among them. */
export async function findMediums(folders = MACHINE): Promise<string[]> {
  const names = (await readdir(join(folders.sys, 'block'))).sort();
  return names
    .filter((name) => !/^(?:loop|ram|zram|dm-|md)/.test(name))
    .map((name) => join(folders.dev, name));
}

async function readDisk(
  name: string,
  links: readonly string[],
  medium: string | undefined,
  folders: DeviceFolders,
): Promise<Disk | undefined> {
  const attribute = (path: string): Promise<string | undefined> =>
    readLine(join(folders.sys, 'block', name, path));
  const sectors = Number(await attribute('size'));
  // A path of a disk that is reached in several ways is hidden behind the disk itself.
  const isUsable = (await attribute('ro')) !== '1' && (await attribute('hidden')) !== '1';
  if (!(sectors > 0) || !isUsable) return undefined;
  const properties = await udevProperties((await attribute('dev')) ?? '', folders.run);
  const serial =
    properties.get('ID_SERIAL_SHORT') ?? (await attribute('serial')) ?? (await attribute('device/serial'));
  const model = (await attribute('device/model')) ?? properties.get('ID_MODEL');
  return {
    name,
    paths: [join('/dev', name), ...links],
    size: sectors * 512,
    sectorBytes: Number((await attribute('queue/logical_block_size')) ?? 512),
    ...(serial !== undefined && serial !== '' && { serial }),
    ...(model !== undefined && model !== '' && { model }),
    isRemovable: (await attribute('removable')) === '1' || properties.get('ID_BUS') === 'usb',
    isMedium: medium !== undefined && basename(medium) === name,
  };
}

/** Links below /dev/disk that lead to a device, by its name. */
async function linksByDevice(dev: string): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const kind of ['by-id', 'by-path']) {
    for (const name of (await listIfThere(join(dev, 'disk', kind))).sort()) {
      const target = await linkedName(join(dev, 'disk', kind, name));
      if (target === undefined) continue;
      const link = join('/dev/disk', kind, name);
      found.set(target, [...(found.get(target) ?? []), link]);
    }
  }
  return found;
}

/** udev has folders between its links too, and takes links away while we look. */
async function linkedName(path: string): Promise<string | undefined> {
  try {
    return basename(await readlink(path));
  } catch (error) {
    if (!['EINVAL', 'ENOENT'].includes(errnoOf(error) ?? '')) throw error;
    return undefined;
  }
}

/** udev's database; its format is that of `E:KEY=VALUE` lines. */
async function udevProperties(number: string, run: string): Promise<Map<string, string>> {
  const text = await readIfThere(join(run, 'udev/data', `b${number}`));
  const lines = (text ?? '').split('\n').flatMap((line) => {
    const [, key, value] = /^E:([^=]+)=(.*)$/.exec(line) ?? [];
    return key === undefined || value === undefined ? [] : [[key, value] as const];
  });
  return new Map(lines);
}

async function readLine(path: string): Promise<string | undefined> {
  return (await readIfThere(path))?.trim();
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return (await stat(path)).isFile() ? await readFile(path, 'utf8') : undefined;
  } catch (error) {
    // A device answers with others too when it is on its way out.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

async function listIfThere(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
