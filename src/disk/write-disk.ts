/** A deployed system into a disk file: partition table, file systems, boot loader. */
import { open } from 'node:fs/promises';

import { IngotError } from '../errors.ts';
import { asDiskFailure, type DiskTools } from '../ostree/disk-tools.ts';
import { formatBytes } from '../report/format.ts';
import {
  debugfsArgv,
  IMMUTABLE_FLAG,
  mke2fsArgv,
  parseDebugfsError,
  parseInodeFlags,
} from '../tools/mke2fs.ts';
import { renderSfdiskScript, sfdiskWriteArgv } from '../tools/sfdisk.ts';
import { writeEfiSystemPartition } from './boot-loader.ts';
import type { DeployedSystem } from './deploy.ts';
import type { DiskLayout } from './layout.ts';

/** The disk's name inside the tools' sandbox: fixed, since e2fsprogs and mtools read `?` and `@@` in names. */
const INSIDE = '/run/ingot/disk.raw';

/** @throws IngotError DISK_FAILED when kernel and initramfs are too large */
export function requireBootFits(bootBytes: number, layout: DiskLayout): void {
  if (bootBytes <= layout.boot.size * 0.9) return;
  throw new IngotError(
    'DISK_FAILED',
    `kernel and initramfs take ${formatBytes(bootBytes)}, more than /boot holds (${formatBytes(layout.boot.size)})`,
  );
}

/** Writes a new file at `raw`. `scratch` is a folder of ours. */
export async function writeDisk(
  raw: string,
  layout: DiskLayout,
  system: DeployedSystem,
  scratch: string,
  tools: DiskTools,
): Promise<void> {
  await asDiskFailure(makeSparseFile(raw, layout.size));
  await writeFileSystems(raw, layout, system, tools);
  const disk = { path: raw, target: INSIDE, inside: INSIDE };
  await writeEfiSystemPartition(disk, layout, system.identity, scratch, tools);
}

/**
 * 0600: a disk holds password hashes and whatever secrets its image has. Never what stands there already: in a folder
 * that others write to, that may be a link to anywhere.
 */
export async function makeSparseFile(path: string, size: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(size);
  } finally {
    await file.close();
  }
}

async function writeFileSystems(
  raw: string,
  layout: DiskLayout,
  system: DeployedSystem,
  tools: DiskTools,
): Promise<void> {
  const disk = { path: raw, target: INSIDE };
  const { boot, root } = layout;
  await tools.run(sfdiskWriteArgv(INSIDE), [disk], {}, { stdin: renderSfdiskScript(layout.table) });
  const reading = { capabilities: ['DAC_READ_SEARCH'] };
  await tools.run(
    mke2fsArgv({
      file: INSIDE,
      offset: boot.offset,
      size: boot.size,
      label: 'boot',
      uuid: system.identity.bootUuid,
      // Features that GRUB's ext4 reader may not know.
      features: ['^metadata_csum_seed', '^orphan_file'],
      reservedPercent: 0,
      directory: system.boot,
    }),
    [disk, { path: system.boot, readOnly: true }],
    reading,
  );
  await tools.run(
    mke2fsArgv({
      file: INSIDE,
      offset: root.offset,
      size: root.size,
      label: 'root',
      uuid: system.identity.rootUuid,
      // For a composefs root, whose files are checked by fs-verity.
      features: ['verity'],
      reservedPercent: 1,
      directory: system.sysroot,
    }),
    [disk, { path: system.sysroot, readOnly: true }],
    reading,
  );
  await makeImmutable(root.offset, system.deploymentPath, disk, tools);
}

/** ostree marks each deployment's root immutable, so that nothing can be put beside /usr. Do as it does. */
async function makeImmutable(
  offset: number,
  path: string,
  disk: { readonly path: string; readonly target: string },
  tools: DiskTools,
): Promise<void> {
  const debugfs = async (request: string, write: boolean): Promise<string> => {
    const { stdout, stderr } = await tools.run(debugfsArgv(INSIDE, offset, request, write), [disk]);
    const complaint = parseDebugfsError(stderr);
    if (complaint !== undefined) throw new IngotError('DISK_FAILED', `debugfs ${request}: ${complaint}`);
    return stdout;
  };
  const flags = parseInodeFlags(await debugfs(`stat /${path}`, false));
  if (flags === undefined) throw new IngotError('DISK_FAILED', `debugfs shows no flags of /${path}`);
  await debugfs(`set_inode_field /${path} flags 0x${(flags | IMMUTABLE_FLAG).toString(16)}`, true);
}
