/** Reads a merged tree like a folder: its links lead nowhere but inside. */
import { lstat, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

import type { Directory, MergedTree } from './merged-tree.ts';
import { type Checksum, objectPath } from './tree-objects.ts';

const MAX_LINKS = 40;

export type FileKind = 'directory' | 'file' | 'link';

/** What is asked of an image before it is deployed. Paths begin at its root. */
export interface TreeReader {
  /** Of what stands there itself; undefined when nothing does. */
  kindOf(path: string): Promise<FileKind | undefined>;
  exists(path: string): Promise<boolean>;
  /** Names in a directory, sorted; none when there is no such directory. */
  list(path: string): Promise<string[]>;
  /** Undefined when there is no such file. */
  readTextIfPresent(path: string): Promise<string | undefined>;
}

type Found = { readonly directory: Directory } | { readonly file: Checksum } | undefined;

export class TreeView implements TreeReader {
  readonly #tree: MergedTree;
  readonly #objects: string;

  constructor(tree: MergedTree, repo: string) {
    this.#tree = tree;
    this.#objects = join(repo, 'objects');
  }

  async kindOf(path: string): Promise<FileKind | undefined> {
    const found = await this.#find(path, false);
    if (found === undefined) return undefined;
    if ('directory' in found) return 'directory';
    return (await lstat(this.#pathOf(found.file))).isSymbolicLink() ? 'link' : 'file';
  }

  async exists(path: string): Promise<boolean> {
    return (await this.#find(path, false)) !== undefined;
  }

  async list(path: string): Promise<string[]> {
    const found = await this.#find(path, true);
    if (found === undefined || !('directory' in found)) return [];
    return [...found.directory.files.keys(), ...found.directory.directories.keys()].sort();
  }

  async readTextIfPresent(path: string): Promise<string | undefined> {
    const found = await this.#find(path, true);
    return found === undefined || 'directory' in found
      ? undefined
      : await readFile(this.#pathOf(found.file), 'utf8');
  }

  #pathOf(file: Checksum): string {
    return join(this.#objects, objectPath(file, 'file'));
  }

  /** A file in a bare repository is what it is in the tree, links included. */
  async #linkTarget(file: Checksum): Promise<string | undefined> {
    const path = this.#pathOf(file);
    return (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined;
  }

  async #find(path: string, followLast: boolean): Promise<Found> {
    let pending = partsOf(path);
    let above: Directory[] = [this.#tree.root];
    for (let links = 0; pending.length > 0;) {
      const [name = '', ...rest] = pending;
      const directory = above.at(-1) ?? this.#tree.root;
      pending = rest;
      if (name === '..') {
        if (above.length > 1) above = above.slice(0, -1);
        continue;
      }
      const below = directory.directories.get(name);
      if (below !== undefined) {
        above = [...above, below];
        continue;
      }
      const file = directory.files.get(name);
      if (file === undefined) return undefined;
      const target = rest.length > 0 || followLast ? await this.#linkTarget(file) : undefined;
      if (target === undefined) return rest.length === 0 ? { file } : undefined;
      links += 1;
      if (links > MAX_LINKS) return undefined;
      pending = [...partsOf(target), ...rest];
      if (target.startsWith('/')) above = [this.#tree.root];
    }
    return { directory: above.at(-1) ?? this.#tree.root };
  }
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}
