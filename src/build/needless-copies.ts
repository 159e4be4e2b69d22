/**
 * Copies that an overlay leaves in its upper directory. Linking to a file, or opening it for writing, copies it up even
 * if nothing is changed: Debian's kernels from forky on link /boot/vmlinuz-RELEASE to the kernel beside the modules
 * when they are configured, and the seal had a second kernel.
 */
import { readFileSync, rmSync, lstatSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';

import { walkTree } from './archive/tree-walk.ts';
import { readTreeAttributes, type TreeAttributes } from './archive/xattrs.ts';

/**
 * Removes from `upper` the files that the topmost tree below has just so. Nothing may be mounted over `upper`.
 *
 * @param lower roots of the trees below, lowest first; one hides nothing of another but what it has itself
 * @param isLeftOut what the archives of those trees do not hold, so that a copy is all there is
 */
export async function dropNeedlessCopies(
  upper: string,
  lower: readonly string[],
  { isLeftOut, signal }: { readonly isLeftOut: (path: string) => boolean; readonly signal?: AbortSignal | undefined },
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
  for (const { entry } of files) {
    const own = join(upper, entry.path);
    const below = lower
      .toReversed()
      .map((root) => join(root, entry.path))
      .find((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
    if (below !== undefined && isCopy(own, below)) rmSync(own);
  }
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
