/**
 * Writes files of a machine as root, where others may have made links: no component of a path may be one. Each is opened
 * below the one before, so that what was looked at is what is written to.
 */
import { constants } from 'node:fs';
import { chmod, mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';

import { errnoOf, IngotError } from '../../errors.ts';

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

export interface WrittenFile extends FileOwner {
  readonly path: string;
  readonly contents: Uint8Array;
  readonly mode: number;
}

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Whether a file could be written, without writing it.
 *
 * @param root where the machine's `/` is
 * @throws IngotError PROVISION_INVALID when a link or something else is in the way
 */
export async function requireWritable(root: string, path: string): Promise<void> {
  const { folder, name } = await openParent(root, path, false);
  if (folder === undefined) return;
  try {
    await requireFile(folder, name, path);
  } finally {
    await folder.close();
  }
}

/** Writes a file whole and durably, with its folders, which are root's. Replaces one that is there. */
export async function writeMachineFile(root: string, file: WrittenFile): Promise<void> {
  const { folder, name } = await openParent(root, file.path, true);
  if (folder === undefined) throw new TypeError('folders were made');
  const within = (entry: string): string => `/proc/self/fd/${folder.fd}/${entry}`;
  const temporary = `.${name.slice(0, 100)}.${randomUUID()}.tmp`;
  try {
    await requireFile(folder, name, file.path);
    const handle = await open(within(temporary), 'wx', 0o600);
    try {
      await handle.writeFile(file.contents);
      await handle.chown(file.uid, file.gid);
      // After the owner, whose change takes setuid away.
      await handle.chmod(file.mode);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(within(temporary), within(name));
    await folder.sync();
  } catch (error) {
    await rm(within(temporary), { force: true });
    throw error;
  } finally {
    await folder.close();
  }
}

/** Removes a file, if it is one. Says nothing when it is not there. */
export async function removeMachineFile(root: string, path: string): Promise<void> {
  const { folder, name } = await openParent(root, path, false);
  if (folder === undefined) return;
  try {
    await requireFile(folder, name, path);
    await rm(`/proc/self/fd/${folder.fd}/${name}`, { force: true });
    await folder.sync();
  } finally {
    await folder.close();
  }
}

interface Parent {
  /** Undefined when it is not there and was not to be made. */
  readonly folder: FileHandle | undefined;
  readonly name: string;
}

async function openParent(root: string, path: string, make: boolean): Promise<Parent> {
  const parts = path.split('/').filter((part) => part !== '');
  const name = parts.pop() ?? '';
  let folder = await open(root === '' ? '/' : root, constants.O_RDONLY | constants.O_DIRECTORY);
  for (const part of parts) {
    const next = await openFolder(folder, part, path, make);
    await folder.close();
    if (next === undefined) return { folder: undefined, name };
    folder = next;
  }
  return { folder, name };
}

async function openFolder(
  parent: FileHandle,
  part: string,
  path: string,
  make: boolean,
): Promise<FileHandle | undefined> {
  const within = `/proc/self/fd/${parent.fd}/${part}`;
  try {
    return await open(within, FOLDER);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOENT') {
      await parent.close();
      if (errno === 'ELOOP' || errno === 'ENOTDIR') {
        throw refused(path, `${part} on the way is a link or no folder`);
      }
      throw error;
    }
    if (!make) return undefined;
  }
  await mkdir(within, 0o755);
  await chmod(within, 0o755); // whatever the umask
  await parent.sync();
  return open(within, FOLDER);
}

async function requireFile(folder: FileHandle, name: string, path: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(
      `/proc/self/fd/${folder.fd}/${name}`,
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw refused(path, 'a link or something that is no file is there');
  }
  try {
    if (!(await handle.stat()).isFile()) throw refused(path, 'something that is no file is there');
  } finally {
    await handle.close();
  }
}

function refused(path: string, why: string): IngotError {
  return new IngotError('PROVISION_INVALID', `${path} is not written: ${why}`);
}
