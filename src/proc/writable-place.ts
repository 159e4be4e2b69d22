/**
 * Whether something can be written at a place, found out by doing it: access(2) knows nothing of folders that are
 * immutable, of quotas, or of file systems like /proc that take no new names.
 */
import { lstat, mkdtemp, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';

/**
 * For work that takes long and writes its result last. `folder` need not exist: then the nearest one above it that does
 * must be writable. Leaves nothing behind.
 *
 * @throws IngotError USAGE, NOT_ROOT, or DISK_FULL
 */
export async function requireWritableFolder(folder: string): Promise<void> {
  try {
    const existing = await nearestExisting(folder);
    await rmdir(await mkdtemp(join(existing, '.ingot-')));
  } catch (error) {
    if (error instanceof IngotError) throw error;
    const errno = errnoOf(error) ?? 'error';
    if (errno === 'EACCES' && process.getuid?.() !== 0) {
      throw new IngotError('NOT_ROOT', `only another user can write ${folder}`, {
        hint: 'run the same command as root, for example with sudo, or give another place',
        cause: error,
      });
    }
    const isFull = errno === 'ENOSPC' || errno === 'EDQUOT';
    throw new IngotError(
      isFull ? 'DISK_FULL' : 'USAGE',
      isFull ? `no space left for ${folder}` : `${folder} cannot be written (${errno})`,
      { hint: 'give another place', cause: error },
    );
  }
}

async function nearestExisting(path: string): Promise<string> {
  try {
    if ((await stat(path)).isDirectory()) return path;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
    const isThere = await lstat(path).then(
      () => true,
      () => false,
    );
    if (!isThere && dirname(path) !== path) return nearestExisting(dirname(path));
  }
  throw new IngotError('USAGE', `${path} is not a folder`, { hint: 'give another place' });
}
