/**
 * Turns a directory tree, or the upper directory of an overlay mount, into archive entries.
 *
 * Order: depth first, names of a directory in byte order, a directory before what is in it. The root directory
 * itself is not an entry: its mode and owner are 0755 root:root in every image, whatever the build's temporary
 * directory has, and all importers create it.
 */
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { isUtf8 } from 'node:buffer';

import { IngotError } from '../../errors.ts';
import type { TarEntry } from './tar-header.ts';
import type { TreeAttributes } from './xattrs.ts';

export interface WalkOptions {
  /** SOURCE_DATE_EPOCH, seconds. What is newer was made by the build. */
  readonly epoch: number;
  readonly attributes: TreeAttributes;
  /** True leaves a path out, with everything below it. Relative, no trailing slash. */
  readonly drop?: ((path: string) => boolean) | undefined;
}

export interface TreeEntry {
  /** Its time is its own only where it is `dated`. */
  readonly entry: TarEntry;
  /** False for what has no time of its own: directories, removals, and what the build made. */
  readonly dated: boolean;
  /** The first of several names of one file. */
  readonly linked?: boolean;
  /** A marker that takes away what lower layers have. */
  readonly removal?: boolean;
  /** Regular files: where the contents are, and what they were when listed. */
  readonly source?: FileSource;
}

export interface FileSource {
  readonly absolute: string;
  readonly size: number;
  readonly inode: number;
  readonly mtimeMs: number;
}

interface OpenDirectory {
  /** Relative, with a trailing slash unless it is the root. */
  readonly prefix: string;
  readonly names: readonly string[];
  next: number;
}

/**
 * @throws IngotError BUILD_FAILED for what an archive cannot hold: sockets, names that are not UTF-8, names that
 *   readers would take for whiteouts.
 */
export function* walkTree(root: string, options: WalkOptions): Generator<TreeEntry> {
  if (!lstatSync(root).isDirectory()) throw refusal(root, 'is no directory', 'give the directory itself');
  const firstLinks = new Map<string, string>();
  const stack: OpenDirectory[] = [{ prefix: '', names: listNames(root, ''), next: 0 }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const name = top.names[top.next];
    if (name === undefined) {
      stack.pop();
      continue;
    }
    top.next += 1;
    const path = `${top.prefix}${name}`;
    if (options.drop?.(path) === true) continue;
    if (name.startsWith('.wh.')) {
      throw refusal(path, 'has a name that image readers take for the removal of a file', 'rename it');
    }
    const absolute = `${root}/${path}`;
    const stats = lstatSync(absolute);
    const tree = entryOf(path, absolute, stats, options, firstLinks);
    yield tree;
    if (tree.entry.type !== 'directory') continue;
    if (options.attributes.isOpaque(path)) {
      yield markerEntry(`${path}/.wh..wh..opq`);
    }
    stack.push({ prefix: `${path}/`, names: listNames(absolute, path), next: 0 });
  }
}

function entryOf(
  path: string,
  absolute: string,
  stats: Stats,
  options: WalkOptions,
  firstLinks: Map<string, string>,
): TreeEntry {
  if (stats.isCharacterDevice() && stats.rdev === 0) {
    const slash = path.lastIndexOf('/') + 1;
    return markerEntry(`${path.slice(0, slash)}.wh.${path.slice(slash)}`);
  }
  const mtime = Math.floor(stats.mtimeMs / 1000);
  const dated = !stats.isDirectory() && mtime <= options.epoch;
  const common = {
    path,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtime,
  };
  let linked = false;
  if (!stats.isDirectory() && stats.nlink > 1) {
    // Inode numbers of overlay and XFS can exceed what a double holds: ask again, exactly.
    const { dev, ino } = lstatSync(absolute, { bigint: true });
    const first = firstLinks.get(`${dev}:${ino}`);
    if (first !== undefined) return { dated, entry: { ...common, type: 'hardlink', target: first } };
    firstLinks.set(`${dev}:${ino}`, path);
    linked = true;
  }
  const described = { ...common, xattrs: options.attributes.kept(path) };
  if (stats.isFile()) {
    const { size, ino: inode, mtimeMs } = stats;
    return {
      entry: { ...described, type: 'file', size },
      dated,
      linked,
      source: { absolute, size, inode, mtimeMs },
    };
  }
  if (stats.isDirectory()) return { entry: { ...described, type: 'directory' }, dated };
  if (stats.isSymbolicLink()) {
    return { entry: { ...described, type: 'symlink', target: readTarget(path, absolute) }, dated, linked };
  }
  if (stats.isFIFO()) return { entry: { ...described, type: 'fifo' }, dated, linked };
  if (stats.isCharacterDevice() || stats.isBlockDevice()) {
    const type = stats.isBlockDevice() ? 'block-device' : 'character-device';
    return { entry: { ...described, type, ...deviceNumbers(stats.rdev) }, dated, linked };
  }
  throw refusal(
    path,
    'is a socket, which no archive can hold',
    'a service left it behind; it belongs under /run',
  );
}

/** An empty file whose name says what to remove (OCI image layer specification, "Whiteouts"). */
function markerEntry(path: string): TreeEntry {
  return {
    entry: { path, type: 'file', size: 0, mode: 0o644, uid: 0, gid: 0, mtime: 0 },
    dated: false,
    removal: true,
  };
}

/** Linux's 64-bit dev_t, as in glibc's gnu_dev_major(3), as far as doubles are exact. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const low = rdev % 2 ** 32;
  return {
    major: (low >>> 8) & 0xfff,
    minor: (low & 0xff) | ((low >>> 12) & 0xfff00),
  };
}

function listNames(absolute: string, path: string): string[] {
  const names = readdirSync(absolute);
  // A byte that is not UTF-8 decodes to U+FFFD; a name may also really hold that character.
  if (names.some((name) => name.includes('\ufffd'))) {
    for (const bytes of readdirSync(absolute, { encoding: 'buffer' })) {
      if (!isUtf8(bytes)) {
        throw refusal(`${path}/${bytes.toString('latin1')}`, 'has a name that is not UTF-8', 'rename it');
      }
    }
  }
  return sortByBytes(names);
}

/** Strings order by UTF-16 unit, which differs from byte order above the basic plane. */
export function sortByBytes(names: string[]): string[] {
  return names.some((name) => /[\ud800-\udfff]/.test(name))
    ? names.sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)))
    : names.sort();
}

function readTarget(path: string, absolute: string): string {
  const target = readlinkSync(absolute, { encoding: 'buffer' });
  if (!isUtf8(target)) throw refusal(path, 'links to a name that is not UTF-8', 'rename its target');
  return target.toString();
}

function refusal(path: string, what: string, hint: string): IngotError {
  return new IngotError('BUILD_FAILED', `${path} ${what}`, { hint });
}
