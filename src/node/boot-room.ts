/**
 * Room in /boot for the kernel and initramfs of a staged deployment. libostree copies them when the system goes down,
 * when nobody looks any more: without room the update would be gone, and the old system start again without a word.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../errors.ts';
import { formatBytes } from '../report/format.ts';

export interface BootRoom {
  readonly boot: string;
  /** The staged deployment's folder, and its stateroot. */
  readonly deployment: string;
  readonly stateroot: string;
  /** Folders below `boot` whose deployments stay, such as `ostree/default-…`. All others make room. */
  readonly kept: ReadonlySet<string>;
  /** In `boot`. Default: as its file system says. */
  readonly freeBytes?: number;
}

/** Directories, boot entries and the menu. */
const SPARE_BYTES = 1024 * 1024;

/** @throws IngotError DISK_FULL */
export async function requireBootRoom(room: BootRoom): Promise<void> {
  const { boot, deployment, stateroot, kept } = room;
  const files = await bootFiles(deployment);
  const sizes = await Promise.all(files.map(async (path) => (await stat(path)).size));
  const needed = sizes.reduce((sum, size) => sum + size, SPARE_BYTES);
  const freeBytes = room.freeBytes ?? (await freeIn(boot));
  // Whether they are there already need not be known then, and takes reading both.
  if (needed <= freeBytes) return;
  const folder = `ostree/${stateroot}-${await checksumOf(files)}`;
  const there = await foldersOf(boot);
  // A kernel that is there already is not copied again.
  if (there.includes(folder)) return;
  const leaving = await Promise.all(
    there.filter((one) => !kept.has(one)).map((one) => bytesIn(join(boot, one))),
  );
  const free = leaving.reduce((sum, bytes) => sum + bytes, freeBytes);
  if (needed <= free) return;
  throw new IngotError(
    'DISK_FULL',
    `the update’s kernel and initramfs take ${formatBytes(needed)} in ${boot}, and ${formatBytes(free)} are free`,
    { hint: 'every pinned deployment keeps its own there: `ingot node unpin` lets one go' },
  );
}

async function freeIn(boot: string): Promise<number> {
  const { bavail, bsize } = await statfs(boot);
  return bavail * bsize;
}

/** As libostree finds them, in the order in which it takes their checksum. */
async function bootFiles(deployment: string): Promise<readonly string[]> {
  const modules = join(deployment, 'usr/lib/modules');
  for (const release of await readdir(modules).catch(() => [])) {
    const kernel = join(modules, release, 'vmlinuz');
    if ((await stat(kernel).catch(() => undefined)) === undefined) continue;
    const initramfs = join(modules, release, 'initramfs.img');
    return (await stat(initramfs).catch(() => undefined)) === undefined ? [kernel] : [kernel, initramfs];
  }
  return [];
}

async function checksumOf(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of files) for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function foldersOf(boot: string): Promise<readonly string[]> {
  const names = await readdir(join(boot, 'ostree')).catch(() => []);
  return names.map((name) => `ostree/${name}`);
}

async function bytesIn(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
