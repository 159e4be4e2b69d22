/** Files of layers that are in the repository, by their paths in the layer. */
import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Digest } from '../digest.ts';
import { errnoOf } from '../errors.ts';
import { layerRef, readBranch } from './layer-record.ts';
import {
  type Checksum,
  type DirectoryTree,
  objectPath,
  parseCommitRoot,
  parseDirectoryTree,
} from './tree/tree-objects.ts';

/** Directories that are remembered: those of one package after the other are asked for. */
const MOST_TREES = 4096;

export class LayerFiles {
  readonly #repo: string;
  readonly #roots = new Map<Digest, Promise<Checksum>>();
  readonly #trees = new Map<string, Promise<DirectoryTree>>();

  constructor(repo: string) {
    this.#repo = repo;
  }

  /**
   * A regular file, open to be read; undefined when the layer has none at that path, or is not here. A link leads
   * nowhere. The caller closes it.
   */
  async open(layer: Digest, path: string): Promise<FileHandle | undefined> {
    try {
      const file = await this.#find(layer, path);
      if (file === undefined) return undefined;
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
      return await open(join(this.#repo, 'objects', objectPath(file, 'file')), flags);
    } catch (error) {
      // Objects that are missing or damaged are those of a layer that cannot be used.
      if (error instanceof RangeError || ['ENOENT', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
  }

  async #find(layer: Digest, path: string): Promise<Checksum | undefined> {
    let tree = await this.#tree(await this.#root(layer));
    const parts = path.split('/');
    const name = parts.pop() ?? '';
    for (const part of parts) {
      const below = tree.directories.get(part);
      if (below === undefined) return undefined;
      tree = await this.#tree(below.tree);
    }
    return tree.files.get(name);
  }

  #root(layer: Digest): Promise<Checksum> {
    return remembered(this.#roots, layer, async () => {
      const commit = await readBranch(this.#repo, layerRef(layer));
      const bytes = await this.#object(Buffer.from(commit, 'hex'), 'commit');
      return parseCommitRoot(bytes).tree;
    });
  }

  #tree(checksum: Checksum): Promise<DirectoryTree> {
    if (this.#trees.size >= MOST_TREES) this.#trees.clear();
    return remembered(this.#trees, checksum.toString('hex'), async () =>
      parseDirectoryTree(await this.#object(checksum, 'dirtree')),
    );
  }

  #object(checksum: Checksum, kind: 'commit' | 'dirtree'): Promise<Buffer> {
    return readFile(join(this.#repo, 'objects', objectPath(checksum, kind)));
  }
}

function remembered<K, V>(known: Map<K, Promise<V>>, key: K, read: () => Promise<V>): Promise<V> {
  const found = known.get(key);
  if (found !== undefined) return found;
  const reading = read();
  known.set(key, reading);
  return reading;
}
