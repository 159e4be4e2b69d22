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
  /** SOURCE_DATE_EPOCH, seconds: directories get it, anything else at most it. */
  readonly epoch: number;
  readonly attributes: TreeAttributes;
  /** True leaves a path out, with everything below it. Relative, no trailing slash. */
  readonly drop?: ((path: string) => boolean) | undefined;
}

export interface TreeEntry {
  readonly entry: TarEntry;
  /** Regular files: where the contents are, and what they were when listed. */
  readonly source?: { readonly absolute: string; readonly stats: Stats };
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
      yield { entry: markerEntry(`${path}/.wh..wh..opq`, options.epoch) };
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
    return { entry: markerEntry(`${path.slice(0, slash)}.wh.${path.slice(slash)}`, options.epoch) };
  }
  const common = {
    path,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtime: stats.isDirectory() ? options.epoch : clampTime(stats.mtimeMs, options.epoch),
  };
  if (!stats.isDirectory() && stats.nlink > 1) {
    // Inode numbers of overlay and XFS can exceed what a double holds: ask again, exactly.
    const { dev, ino } = lstatSync(absolute, { bigint: true });
    const first = firstLinks.get(`${dev}:${ino}`);
    if (first !== undefined) return { entry: { ...common, type: 'hardlink', target: first } };
    firstLinks.set(`${dev}:${ino}`, path);
  }
  const xattrs = options.attributes.kept(path);
  const described = { ...common, xattrs };
  if (stats.isFile()) {
    return { entry: { ...described, type: 'file', size: stats.size }, source: { absolute, stats } };
  }
  if (stats.isDirectory()) return { entry: { ...described, type: 'directory' } };
  if (stats.isSymbolicLink()) {
    return { entry: { ...described, type: 'symlink', target: readTarget(path, absolute) } };
  }
  if (stats.isFIFO()) return { entry: { ...described, type: 'fifo' } };
  if (stats.isCharacterDevice() || stats.isBlockDevice()) {
    const type = stats.isBlockDevice() ? 'block-device' : 'character-device';
    return { entry: { ...described, type, ...deviceNumbers(stats.rdev) } };
  }
  throw refusal(
    path,
    'is a socket, which no archive can hold',
    'a service left it behind; it belongs under /run',
  );
}

/** An empty file whose name says what to remove (OCI image layer specification, "Whiteouts"). */
function markerEntry(path: string, epoch: number): TarEntry {
  return { path, type: 'file', size: 0, mode: 0o644, uid: 0, gid: 0, mtime: epoch };
}

function clampTime(milliseconds: number, epoch: number): number {
  return Math.min(Math.floor(milliseconds / 1000), epoch);
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
