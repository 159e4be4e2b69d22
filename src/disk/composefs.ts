/**
 * The composefs of a deployment: a file with all names, modes and checksums of its files, which the initramfs mounts as
 * the root, so that the whole of it is read-only (ostree-prepare-root(1)).
 *
 * libostree makes it whenever it deploys, where it was built with composefs: Debian's from 14 on. That of the tools
 * root was not, so the image's own makes it for the first deployment. Later ones are made on the node.
 */
import { join } from 'node:path';

import { RootFs } from '../build/root-fs.ts';
import { asDiskFailure } from '../ostree/disk-tools.ts';
import { run } from '../proc/run.ts';
import {
  COMPOSEFS_FILE,
  ostreeComposefsArgv,
  ostreeVersionArgv,
  parseOstreeFeatures,
} from '../tools/ostree.ts';
import { FILE_OWNER_CAPABILITIES, openToolsRoot } from '../tools/tools-root.ts';

/**
 * Makes it, where the image's ostree can.
 *
 * @param deployment its folder, below `sysroot`
 * @throws IngotError DISK_FAILED, DISK_FULL, INTERRUPTED
 */
export async function makeComposefs(
  options: { readonly sysroot: string; readonly deployment: string; readonly ref: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { sysroot, deployment, ref } = options;
  const fs = new RootFs(deployment);
  if (!(await fs.exists('/usr/bin/ostree')) || (await fs.exists(`/${COMPOSEFS_FILE}`))) return;
  // The image's program: it sees the image and the disk that is made of it, and nothing else.
  const image = await openToolsRoot(deployment);
  const label = 'ostree of the image';
  const { stdout } = await asDiskFailure(run(image.argv(ostreeVersionArgv, []), { label, signal }));
  if (!parseOstreeFeatures(stdout).includes('composefs')) return;
  const program = ostreeComposefsArgv(join(sysroot, 'ostree/repo'), ref, deployment, COMPOSEFS_FILE);
  const argv = image.argv(program, [{ path: sysroot }], { capabilities: FILE_OWNER_CAPABILITIES });
  await asDiskFailure(run(argv, { label, shown: program, signal }));
}
