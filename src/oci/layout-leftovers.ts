/**
 * What writers of layouts that were killed have left: folders beside the place of a layout that was not there yet,
 * and unfinished files in one that was.
 *
 * Who makes a layout holds its parent's lock, shared, before there is anything of it; who holds that lock alone knows
 * that nobody is making one there, and that what looks so was left. Locks end with their owner, and hold across
 * containers, where process ids say nothing.
 */
import type { Dirent } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { acquireFileLock, type FileLock, type FileLockOptions } from '../proc/file-lock.ts';

const UNFINISHED = /\.[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.tmp$/;

/** What names of folders begin with in which the layout `directory` is made; mkdtemp(3) adds six characters. */
export function temporaryPrefix(directory: string): string {
  return `.${basename(directory)}.tmp-`;
}

/** To be held from before its temporary folder is made. */
export async function lockWhileMaking(
  directory: string,
  signal?: AbortSignal,
): Promise<FileLock | undefined> {
  return await lockOfParent(directory, { shared: true, signal });
}

/**
 * Removes the folders in which killed writers began the layout `directory`, unless somebody is making a layout in the
 * same parent: then it is left for another time.
 */
export async function sweepBeside(directory: string): Promise<void> {
  const parent = dirname(join(directory));
  const prefix = temporaryPrefix(directory);
  const isTemporary = (name: string): boolean =>
    name.startsWith(prefix) && /^[A-Za-z0-9]{6}$/.test(name.slice(prefix.length));
  const listed = async (): Promise<string[]> =>
    (await entriesOf(parent))
      .filter((entry) => entry.isDirectory() && isTemporary(entry.name))
      .map(({ name }) => name);
  if ((await listed()).length === 0) return;
  await using lock = await lockOfParent(directory, { wait: false });
  if (lock === undefined) return;
  for (const name of await listed()) {
    try {
      await rm(join(parent, name), { recursive: true, force: true });
    } catch (error) {
      if (!['EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) throw error; // somebody else's
    }
  }
}

/** Removes the files that killed writers began in the layout `directory`, whose lock the caller holds. */
export async function sweepInside(directory: string): Promise<void> {
  for (const folder of [directory, join(directory, 'blobs/sha256')]) {
    for (const { name } of (await entriesOf(folder)).filter((entry) => UNFINISHED.test(entry.name))) {
      await rm(join(folder, name), { force: true });
    }
  }
}

/** Undefined where it is not free, or the file system locks no folders: there nobody is ever alone. */
async function lockOfParent(directory: string, options: FileLockOptions): Promise<FileLock | undefined> {
  try {
    return await acquireFileLock(dirname(join(directory)), options);
  } catch (error) {
    if (error instanceof IngotError && error.code === 'TOOL_FAILED') return undefined;
    throw error;
  }
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
