/** What of two deployments' kernels differs: the kernel, its initramfs, its modules. */
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { FileChange } from '../../compare/stack-layers.ts';
import { IngotError } from '../../errors.ts';
import {
  type Checksum,
  type DirectoryTree,
  objectPath,
  parseCommitRoot,
  parseDirectoryTree,
} from '../../ostree/tree/tree-objects.ts';

const MODULES = ['usr', 'lib', 'modules'] as const;
const NOTHING: DirectoryTree = { files: new Map(), directories: new Map() };

/**
 * Changes below /usr/lib/modules of one commit against another's. Directories that are one object in both are not
 * looked into, so that it takes as long as there are differences: kernels have thousands of modules.
 *
 * @param repo a bare repository
 * @param from a commit, 64 hex digits
 * @throws IngotError NODE_FAILED when the repository is damaged
 */
export async function compareBootFiles(repo: string, from: string, to: string): Promise<FileChange[]> {
  const objects = new Objects(join(repo, 'objects'));
  const changes: FileChange[] = [];
  const compare = async (path: string, before: DirectoryTree, after: DirectoryTree): Promise<void> => {
    for (const name of new Set([...before.files.keys(), ...after.files.keys()])) {
      const [old, next] = [before.files.get(name), after.files.get(name)];
      const change = await objects.changeOf(old, next);
      if (change !== undefined) changes.push({ path: `${path}/${name}`, ...change });
    }
    for (const name of new Set([...before.directories.keys(), ...after.directories.keys()])) {
      const [old, next] = [before.directories.get(name)?.tree, after.directories.get(name)?.tree];
      if (old !== undefined && next?.equals(old) === true) continue;
      await compare(`${path}/${name}`, await objects.directory(old), await objects.directory(next));
    }
  };
  const [before, after] = await Promise.all([objects.find(from), objects.find(to)]);
  await compare(MODULES.join('/'), before, after);
  return changes;
}

class Objects {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The modules of a commit; nothing in one that has none. */
  async find(commit: string): Promise<DirectoryTree> {
    let tree = await this.directory(
      await this.#read(Buffer.from(commit, 'hex'), 'commit', (bytes) => parseCommitRoot(bytes).tree),
    );
    for (const name of MODULES) tree = await this.directory(tree.directories.get(name)?.tree);
    return tree;
  }

  async directory(tree: Checksum | undefined): Promise<DirectoryTree> {
    return tree === undefined ? NOTHING : await this.#read(tree, 'dirtree', parseDirectoryTree);
  }

  /** Links are none: Debian's lead to sources and the like. An object is its metadata too, which changes nothing. */
  async changeOf(
    before: Checksum | undefined,
    after: Checksum | undefined,
  ): Promise<Pick<FileChange, 'change' | 'what'> | undefined> {
    if (before !== undefined && after?.equals(before) === true) return undefined;
    const [old, next] = await Promise.all([this.#content(before), this.#content(after)]);
    if (old === undefined) return next === undefined ? undefined : { change: 'added' };
    if (next === undefined) return { change: 'removed' };
    return old.equals(next) ? undefined : { change: 'changed', what: ['content'] };
  }

  async #content(file: Checksum | undefined): Promise<Buffer | undefined> {
    if (file === undefined) return undefined;
    const path = join(this.#folder, objectPath(file, 'file'));
    return await damaged(path, async () => ((await lstat(path)).isFile() ? await readFile(path) : undefined));
  }

  async #read<T>(checksum: Checksum, kind: 'commit' | 'dirtree', parse: (bytes: Buffer) => T): Promise<T> {
    const path = join(this.#folder, objectPath(checksum, kind));
    return await damaged(path, async () => parse(await readFile(path)));
  }
}

async function damaged<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new IngotError('NODE_FAILED', `the object ${path} of the repository cannot be read`, {
      hint: '`ostree fsck` tells what is damaged; what is fetched anew is written anew',
      cause,
    });
  }
}
