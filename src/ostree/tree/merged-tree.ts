/**
 * The tree of an image, laid together from the commits of its layers without writing a file: an ostree repository has
 * every file of every layer already, and a tree is names and checksums. Directories that one layer alone brings are the
 * objects that are there. Rules: OCI image spec, "Layer filesystem changeset".
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import type { DirectoryHeader, LayerDirectories } from '../tar-directories.ts';
import {
  changeDirectoryMeta,
  type Checksum,
  checksumOf,
  type DirectoryEntry,
  objectPath,
  parseCommitRoot,
  parseDirectoryMeta,
  parseDirectoryTree,
  renderDirectoryTree,
} from './tree-objects.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';

export interface NewObject {
  readonly checksum: Checksum;
  readonly kind: 'dirtree' | 'dirmeta';
  readonly bytes: Buffer;
}

export class Directory {
  readonly files = new Map<string, Checksum>();
  readonly directories = new Map<string, Directory>();
  meta: Checksum;
  /** The object that says the same, unless a directory below has changed. */
  object: Checksum | undefined;

  constructor(meta: Checksum) {
    this.meta = meta;
  }
}

export class MergedTree {
  readonly #repo: string;
  readonly #made = new Map<string, NewObject>();
  #root: Directory | undefined;

  constructor(repo: string) {
    this.#repo = repo;
  }

  /** @throws TypeError before a layer was laid */
  get root(): Directory {
    if (this.#root === undefined) throw new TypeError('a tree without layers');
    return this.#root;
  }

  /**
   * Lays a layer over those before.
   *
   * @param commit of the layer, 64 hex digits
   * @param headers of the directories that the layer itself has; others are there for what lies in them
   * @throws IngotError DISK_FAILED when the repository is damaged
   */
  lay(commit: string, { directories }: LayerDirectories): void {
    const headers = new Map(directories.map(({ path, header }) => [path, header]));
    const root = this.#parse(Buffer.from(commit, 'hex'), 'commit', parseCommitRoot);
    const isFirst = this.#root === undefined;
    this.#root ??= new Directory(root.meta);
    this.#layDirectory(this.#root, root, '', headers, isFirst);
  }

  /** Moves a directory, as `rename` does. Both are paths of directories, and nothing stands at the second. */
  move(from: readonly [string], to: readonly [string, string]): void {
    const directory = this.root.directories.get(from[0]);
    const folder = this.root.directories.get(to[0]);
    if (directory === undefined || folder === undefined)
      throw new TypeError(`no /${from[0]} or no /${to[0]}`);
    this.root.directories.delete(from[0]);
    folder.directories.set(to[1], directory);
    for (const changed of [this.root, folder]) changed.object = undefined;
  }

  /** The root, and the objects that the repository may lack. */
  objects(): DirectoryEntry & { readonly made: readonly NewObject[] } {
    const { checksum } = this.#render(this.root);
    return { tree: checksum, meta: this.root.meta, made: [...this.#made.values()] };
  }

  #layDirectory(
    target: Directory,
    { tree, meta }: DirectoryEntry,
    path: string,
    headers: ReadonlyMap<string, DirectoryHeader>,
    isNew: boolean,
  ): void {
    const upper = this.#parse(tree, 'dirtree', parseDirectoryTree);
    const header = headers.get(path);
    if (isNew || header !== undefined) target.meta = this.#metaFor(meta, header);
    target.object = isNew ? tree : undefined;
    for (const name of upper.files.keys()) {
      if (!name.startsWith(WHITEOUT)) continue;
      target.object = undefined;
      if (name === OPAQUE) {
        target.files.clear();
        target.directories.clear();
      } else {
        target.files.delete(name.slice(WHITEOUT.length));
        target.directories.delete(name.slice(WHITEOUT.length));
      }
    }
    for (const [name, file] of upper.files) {
      if (name.startsWith(WHITEOUT)) continue;
      target.directories.delete(name);
      target.files.set(name, file);
    }
    for (const [name, entry] of upper.directories) {
      target.files.delete(name);
      let directory = target.directories.get(name);
      const isNewHere = directory === undefined;
      directory ??= new Directory(entry.meta);
      target.directories.set(name, directory);
      this.#layDirectory(directory, entry, path === '' ? name : `${path}/${name}`, headers, isNewHere);
      if (!directory.meta.equals(entry.meta)) target.object = undefined;
    }
  }

  /** ostree ignores an owner and mode that an archive gives a directory after it has given what lies in it. */
  #metaFor(meta: Checksum, header: DirectoryHeader | undefined): Checksum {
    if (header === undefined) return meta;
    const [bytes, own] = this.#parse(meta, 'dirmeta', (read) => [read, parseDirectoryMeta(read)] as const);
    if (own.uid === header.uid && own.gid === header.gid && own.mode === header.mode) return meta;
    return this.#make('dirmeta', changeDirectoryMeta(bytes, header));
  }

  #render(directory: Directory): { readonly checksum: Checksum; readonly isKnown: boolean } {
    let isKnown = directory.object !== undefined;
    const directories = new Map<string, DirectoryEntry>();
    for (const [name, below] of directory.directories) {
      const rendered = this.#render(below);
      isKnown &&= rendered.isKnown;
      directories.set(name, { tree: rendered.checksum, meta: below.meta });
    }
    if (isKnown && directory.object !== undefined) return { checksum: directory.object, isKnown };
    const bytes = renderDirectoryTree({ files: directory.files, directories });
    return { checksum: this.#make('dirtree', bytes), isKnown: false };
  }

  #make(kind: NewObject['kind'], bytes: Buffer): Checksum {
    const checksum = checksumOf(bytes);
    this.#made.set(objectPath(checksum, kind), { checksum, kind, bytes });
    return checksum;
  }

  /** Thousands of small files, each read in less time than it takes to hand it to another thread. */
  #parse<T>(checksum: Checksum, kind: 'dirtree' | 'dirmeta' | 'commit', parse: (bytes: Buffer) => T): T {
    const path = join(this.#repo, 'objects', objectPath(checksum, kind));
    const made = kind === 'commit' ? undefined : this.#made.get(objectPath(checksum, kind));
    try {
      return parse(made?.bytes ?? readFileSync(path));
    } catch (cause) {
      throw new IngotError('DISK_FAILED', `the object ${path} of the repository cannot be read`, {
        hint: '`ostree fsck` tells what is damaged; what is fetched anew is written anew',
        cause,
      });
    }
  }
}
