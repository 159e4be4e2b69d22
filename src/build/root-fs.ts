/**
 * File operations inside a root that is not ours: every path is resolved against that root, so that no link in it,
 * absolute or with `..`, can lead a write to the host. Nothing may run in the root meanwhile.
 */
import { chmod, chown, lstat, mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';

const MAX_LINKS = 40;

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

export class RootFs {
  /** The root's path on this machine. */
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /**
   * The real path on this machine of `path` in the root, every link but a last one resolved inside the root.
   * With `followLast` the last component is resolved too. Parts that do not exist are taken as written.
   */
  async resolve(path: string, followLast = false): Promise<string> {
    let pending = path.split('/').filter((part) => part !== '' && part !== '.');
    let resolved: string[] = [];
    let links = 0;
    while (pending.length > 0) {
      const [part, ...rest] = pending as [string, ...string[]];
      pending = rest;
      if (part === '..') {
        resolved = resolved.slice(0, -1); // `..` at the root stays at the root, as the kernel has it
        continue;
      }
      const candidate = [...resolved, part];
      const target = pending.length > 0 || followLast ? await this.#readLink(candidate) : undefined;
      if (target === undefined) {
        resolved = candidate;
        continue;
      }
      links += 1;
      if (links > MAX_LINKS) throw new IngotError('BUILD_FAILED', `too many links in ${path} of the image`);
      pending = [...target.split('/').filter((piece) => piece !== '' && piece !== '.'), ...pending];
      if (target.startsWith('/')) resolved = [];
    }
    return join(this.root, ...resolved);
  }

  async #readLink(parts: readonly string[]): Promise<string | undefined> {
    try {
      return await readlink(join(this.root, ...parts));
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'EINVAL' || code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      throw error;
    }
  }

  async exists(path: string): Promise<boolean> {
    try {
      await lstat(await this.resolve(path));
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
      throw error;
    }
  }

  /** Bytes of a regular file; none for anything else, or for nothing. */
  async fileSize(path: string): Promise<number> {
    if (!(await this.exists(path))) return 0;
    const stats = await lstat(await this.resolve(path));
    return stats.isFile() ? stats.size : 0;
  }

  async readText(path: string): Promise<string> {
    return readFile(await this.resolve(path, true), 'utf8');
  }

  /** The text of a file, or undefined when there is none. */
  async readTextIfPresent(path: string): Promise<string | undefined> {
    try {
      return await this.readText(path);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw error;
    }
  }

  /** Names in a directory, sorted; none when there is no such directory. */
  async list(path: string): Promise<string[]> {
    try {
      return (await readdir(await this.resolve(path, true))).sort();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
      throw error;
    }
  }

  async makeDirectory(path: string, mode = 0o755): Promise<void> {
    const real = await this.resolve(path, true);
    await mkdir(real, { recursive: true });
    await chmod(real, mode);
  }

  /** Replaces whatever stands at `path`, a link included, by a file. Missing parents are made, mode 0755. */
  async writeFile(
    path: string,
    content: string | Uint8Array,
    mode = 0o644,
    owner: FileOwner = { uid: 0, gid: 0 },
  ): Promise<void> {
    const real = await this.resolve(path);
    try {
      await mkdir(dirname(real), { recursive: true });
      await rm(real, { force: true });
      await writeFile(real, content, { flag: 'wx' });
    } catch (error) {
      const inTheWay = ['EEXIST', 'ENOTDIR', 'EISDIR', 'ERR_FS_EISDIR'].includes(errnoOf(error) ?? '');
      if (!inTheWay) throw error;
      throw new IngotError('BUILD_FAILED', `the file ${path} cannot be written: a directory stands there, or a file in the place of its folder`, {
        hint: 'choose another path for it: packages bring what stands there',
        cause: error,
      });
    }
    await chown(real, owner.uid, owner.gid);
    await chmod(real, mode);
  }

  /** Replaces whatever stands at `path` by a symbolic link. */
  async link(path: string, target: string): Promise<void> {
    const real = await this.resolve(path);
    await mkdir(dirname(real), { recursive: true });
    await rm(real, { recursive: true, force: true });
    await symlink(target, real);
  }

  async remove(path: string): Promise<void> {
    await rm(await this.resolve(path), { recursive: true, force: true });
  }

  /** Empties a directory and keeps it. */
  async empty(path: string): Promise<void> {
    for (const name of await this.list(path)) await this.remove(join(path, name));
  }
}
