/** Unpacks an image into a folder, by GNU tar: its bits as a node has them, and no tree of the store. */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { hexOf } from '../../src/digest.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { run, type Argv } from '../../src/proc/run.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';

/** Fills the folder `root`, which is made, with the image `name` of a layout, or its one. Layers must be zstd. */
export async function unpackImage(layout: string, name: string | undefined, root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  const { manifest } = await resolveImage({ directory: layout, name });
  for (const { digest } of manifest.layers) {
    const blob = join(layout, 'blobs/sha256', hexOf(digest));
    await removeCovered(root, blob);
    await run(tarArgv('--extract', blob, root));
  }
}

function tarArgv(action: '--extract' | '--list', blob: string, root: string): Argv {
  const how = ['--zstd', '--directory', root, '--numeric-owner', '--same-permissions'];
  const attributes = ['--xattrs', '--xattrs-include=*', '--delay-directory-restore'];
  const marks = action === '--extract' ? [`--exclude=${WHITEOUT}*`] : ['--quoting-style=literal'];
  return ['tar', action, ...how, ...attributes, ...marks, '--file', blob];
}

/** What the layer says is gone, of the layers below it. */
async function removeCovered(root: string, blob: string): Promise<void> {
  const { stdout } = await run(tarArgv('--list', blob, root));
  for (const path of stdout.split('\n')) {
    const mark = basename(path);
    const folder = join(root, dirname(path));
    if (mark === OPAQUE) {
      for (const entry of await readdir(folder)) await rm(join(folder, entry), { recursive: true });
    } else if (mark.startsWith(WHITEOUT)) {
      await rm(join(folder, mark.slice(WHITEOUT.length)), { recursive: true, force: true });
    }
  }
}
