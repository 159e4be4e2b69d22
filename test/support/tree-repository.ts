/**
 * A repository of ostree's objects that a test fills from folders. Directories are as ostree writes them; files are
 * there under a checksum of their bytes and of whether they can be executed.
 */
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  type Stats,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

import type { LayerDirectories } from '../../src/ostree/tar-directories.ts';
import { MergedTree } from '../../src/ostree/tree/merged-tree.ts';
import {
  type Checksum,
  checksumOf,
  type DirectoryEntry,
  objectPath,
  renderCommit,
  renderDirectoryTree,
} from '../../src/ostree/tree/tree-objects.ts';
import { TreeView } from '../../src/ostree/tree/tree-view.ts';

export interface TestLayer {
  readonly commit: string;
  readonly directories: LayerDirectories;
}

export interface FolderOptions {
  /** Whether the archive of this layer has the directory itself. Default: all. */
  readonly hasHeader?: (path: string) => boolean;
}

export class TreeRepository {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** The folder as a layer. */
  add(folder: string, { hasHeader = () => true }: FolderOptions = {}): TestLayer {
    const directories: LayerDirectories['directories'][number][] = [];
    const others: string[] = [];
    const addFolder = (path: string): DirectoryEntry => {
      const { uid, gid, mode } = lstatSync(join(folder, path));
      if (hasHeader(path)) directories.push({ path, header: { uid, gid, mode: mode & 0o7777 } });
      const meta = Buffer.alloc(12);
      for (const [index, value] of [uid, gid, 0o040000 | (mode & 0o7777)].entries()) {
        meta.writeUInt32BE(value, index * 4);
      }
      const files = new Map<string, Checksum>();
      const below = new Map<string, DirectoryEntry>();
      for (const name of readdirSync(join(folder, path))) {
        const inner = path === '' ? name : `${path}/${name}`;
        const stats = lstatSync(join(folder, inner));
        if (stats.isDirectory()) below.set(name, addFolder(inner));
        else {
          others.push(inner);
          files.set(name, this.#addFile(join(folder, inner), stats));
        }
      }
      return {
        tree: this.#write('dirtree', renderDirectoryTree({ files, directories: below })),
        meta: this.#write('dirmeta', meta),
      };
    };
    const root = addFolder('');
    const commit = renderCommit({ ...root, subject: '', timestamp: 0, texts: {}, kernel: 'none', refs: [] });
    return {
      commit: this.#write('commit', commit).toString('hex'),
      directories: { directories, others },
    };
  }

  merge(layers: readonly TestLayer[]): MergedTree {
    const tree = new MergedTree(this.path);
    for (const { commit, directories } of layers) tree.lay(commit, directories);
    return tree;
  }

  /** A folder as the tree of an image. */
  view(folder: string): TreeView {
    return new TreeView(this.merge([this.add(folder)]), this.path);
  }

  #addFile(path: string, stats: Stats): Checksum {
    const isLink = stats.isSymbolicLink();
    const bytes = isLink ? Buffer.from(readlinkSync(path)) : readFileSync(path);
    const kind = isLink ? 'link' : (stats.mode & 0o111) === 0 ? 'file' : 'program';
    const checksum = checksumOf(Buffer.concat([Buffer.from(`${kind}\0`), bytes]));
    const place = join(this.path, 'objects', objectPath(checksum, 'file'));
    mkdirSync(dirname(place), { recursive: true });
    if (!isLink) writeFileSync(place, bytes);
    else if (lstatSync(place, { throwIfNoEntry: false }) === undefined) symlinkSync(bytes.toString(), place);
    return checksum;
  }

  #write(kind: 'dirtree' | 'dirmeta' | 'commit', bytes: Buffer): Checksum {
    const checksum = checksumOf(bytes);
    const place = join(this.path, 'objects', objectPath(checksum, kind));
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, bytes);
    return checksum;
  }
}
