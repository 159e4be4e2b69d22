/**
 * What makes layers that were unpacked side by side safe to stack: none hides, replaces or disagrees with what
 * another one brings.
 */
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { IngotError } from '../errors.ts';
import { run } from '../proc/run.ts';
import { getfattrArgv, parseGetfattr } from '../tools/getfattr.ts';
import { setfattrRemoveArgv } from '../tools/setfattr.ts';

const OPAQUE = 'trusted.overlay.opaque';
const BATCH = 500;

/**
 * overlayfs marks every directory that it makes as opaque: "nothing from below shows through". That is true of the
 * stack the layer was unpacked on and would be wrong on any other, where it would hide a sibling's files. So the
 * mark stays only on directories that do cover one of `below`.
 */
export async function dropNeedlessOpaqueMarks(
  upper: string,
  below: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const { stdout } = await run(getfattrArgv(upper, '^trusted\\.overlay\\.opaque$'), { signal });
  const needless = [...parseGetfattr(stdout).keys()].filter(
    (path) => !below.some((root) => isDirectory(join(root, path.slice(upper.length)))),
  );
  for (let start = 0; start < needless.length; start += BATCH) {
    await run(setfattrRemoveArgv(OPAQUE, needless.slice(start, start + BATCH)), { signal });
  }
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

export interface OverlapLayer {
  readonly name: string;
  /** Its upper directory. */
  readonly root: string;
  /** Names of the layers it was unpacked on: what it changes of theirs, it changes knowingly. */
  readonly needs: readonly string[];
}

interface Seen {
  readonly layer: OverlapLayer;
  readonly directory: boolean;
  readonly attributes: string;
}

const SHOWN = 20;

/**
 * @param skip true for paths (relative, no leading slash) that are merged in another way
 * @throws IngotError LAYER_CONFLICT naming both layers and the path, for every path that two layers bring, and for
 *   directories that they give different owners or modes
 */
export function assertNoOverlap(layers: readonly OverlapLayer[], skip: (path: string) => boolean): void {
  const seen = new Map<string, Seen>();
  const conflicts: string[] = [];
  for (const layer of layers) {
    for (const { path, entry, removed } of listTree(layer, skip)) {
      if (removed) {
        conflicts.push(`layer ${layer.name} removes /${path}, which a layer below it brings`);
        continue;
      }
      const earlier = seen.get(path);
      const known = earlier !== undefined && layer.needs.includes(earlier.layer.name);
      if (earlier === undefined || known) {
        seen.set(path, entry);
      } else if (!earlier.directory || !entry.directory) {
        conflicts.push(`layers ${earlier.layer.name} and ${layer.name} both bring /${path}`);
      } else if (earlier.attributes !== entry.attributes) {
        const how = `${earlier.attributes} in ${earlier.layer.name}, ${entry.attributes} in ${layer.name}`;
        conflicts.push(`the directory /${path} is ${how}`);
      }
    }
  }
  if (conflicts.length === 0) return;
  const more = conflicts.length > SHOWN ? `\n  and ${conflicts.length - SHOWN} more` : '';
  throw new IngotError(
    'LAYER_CONFLICT',
    `layers do not fit together:\n  ${conflicts.slice(0, SHOWN).join('\n  ')}${more}`,
    { hint: 'let one of the layers need the other, or take the package that brings the path out of one' },
  );
}

function* listTree(
  layer: OverlapLayer,
  skip: (path: string) => boolean,
): Generator<{ readonly path: string; readonly entry: Seen; readonly removed: boolean }> {
  const pending = [''];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const name of readdirSync(join(layer.root, folder))) {
      const path = folder === '' ? name : `${folder}/${name}`;
      if (skip(path)) continue;
      const stats = lstatSync(join(layer.root, path));
      const { mode, uid, gid } = stats;
      const directory = (mode & 0o170000) === 0o040000;
      const attributes = `${(mode & 0o7777).toString(8).padStart(4, '0')} ${uid}:${gid}`;
      // overlayfs writes a removal as a character device 0:0.
      const removed = stats.isCharacterDevice() && stats.rdev === 0;
      yield { path, entry: { layer, directory, attributes }, removed };
      if (directory) pending.push(path);
    }
  }
}
