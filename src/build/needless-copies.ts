/**
 * Copies that an overlay leaves in its upper directory. Linking to a file, or opening it for writing, copies it up even
 * if nothing is changed: Debian's kernels from forky on link /boot/vmlinuz-RELEASE to the kernel beside the modules
 * when they are configured, and the seal had a second kernel.
 */
import { readFileSync, rmSync, lstatSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';

import { errnoOf } from '../errors.ts';
import { walkTree } from './archive/tree-walk.ts';
import { readTreeAttributes, type TreeAttributes } from './archive/xattrs.ts';

export interface NeedlessCopiesOptions {
  readonly isLeftOut: (path: string) => boolean;
  readonly isChain?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Removes from `upper` the files that the topmost tree below has just so. Nothing may be mounted over `upper`.
 *
 * @param lower roots of the trees below, lowest first
 * @param isChain each was made on all those before it, and may hide what they have; otherwise one hides nothing of
 *   another but what it has itself
 * @param isLeftOut what the archives of those trees do not hold, so that a copy is all there is
 */
export async function dropNeedlessCopies(
  upper: string,
  lower: readonly string[],
  { isLeftOut, isChain = false, signal }: NeedlessCopiesOptions,
): Promise<void> {
  const attributes = await readTreeAttributes(upper, signal);
  const files = [...walkTree(upper, { epoch: 0, attributes })].filter(
    // A file with attributes is in the seal for their sake.
    ({ entry, removal }) =>
      removal !== true &&
      (entry.type === 'file' || entry.type === 'hardlink') &&
      attributes.kept(entry.path) === undefined &&
      !isLeftOut(entry.path) &&
      !isHidden(entry.path, attributes),
  );
  const hiders = isChain ? await readHiders(lower, signal) : new Map<string, TreeAttributes>();
  for (const { entry } of files) {
    const own = join(upper, entry.path);
    const below = topmost(lower, entry.path, hiders);
    if (below !== undefined && isCopy(own, below)) rmSync(own);
  }
}

/** Of all but the lowest, below which there is nothing to hide. */
async function readHiders(
  lower: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, TreeAttributes>> {
  const found = new Map<string, TreeAttributes>();
  for (const root of lower.slice(1)) found.set(root, await readTreeAttributes(root, signal));
  return found;
}

/** The file that shows at `path` without the upper directory. */
function topmost(
  lower: readonly string[],
  path: string,
  hiders: ReadonlyMap<string, TreeAttributes>,
): string | undefined {
  for (const root of lower.toReversed()) {
    const found = join(root, path);
    if (statsOf(found) !== undefined) return found;
    const attributes = hiders.get(root);
    if (attributes !== undefined && hidesBelow(root, path, attributes)) return undefined;
  }
  return undefined;
}

/** Undefined also where something on the way is no folder. */
function statsOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** A folder on the way is opaque, or something else: a removal, a file, a link. */
function hidesBelow(root: string, path: string, attributes: TreeAttributes): boolean {
  for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) {
    const stats = statsOf(join(root, folder));
    if (stats !== undefined && (!stats.isDirectory() || attributes.isOpaque(folder))) return true;
  }
  return false;
}

/** What is below an opaque directory shows nowhere. */
function isHidden(path: string, attributes: TreeAttributes): boolean {
  for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) {
    if (attributes.isOpaque(folder)) return true;
  }
  return false;
}

function isCopy(own: string, below: string): boolean {
  const [copy, original] = [lstatSync(own), lstatSync(below)];
  return isAlike(copy, original) && readFileSync(own).equals(readFileSync(below));
}

/** Copying up keeps the time. */
function isAlike(copy: Stats, original: Stats): boolean {
  return (
    original.isFile() &&
    copy.size === original.size &&
    copy.mode === original.mode &&
    copy.uid === original.uid &&
    copy.gid === original.gid &&
    Math.floor(copy.mtimeMs / 1000) === Math.floor(original.mtimeMs / 1000)
  );
}
