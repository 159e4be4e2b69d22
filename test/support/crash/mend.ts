/** What a node does to file systems before it mounts them, done by the program that does it there. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';

import type { MountNamespace } from '../../../src/proc/mount-namespace.ts';
import { PRODUCT_ROOT } from '../cli.ts';
import { superblocks } from './crash-points.ts';
import type { Partitions } from './judge-disk.ts';
import { SECTOR } from './write-log.ts';

const PROGRAM = join(PRODUCT_ROOT, 'layers/base/debian/mend-superblock');
/** fsck(8): it corrected something. */
const CORRECTED = 1;

/**
 * @param disk is written to
 * @returns the partitions whose superblock was taken from its copy
 * @throws {IngotError} TOOL_FAILED when something is left that `e2fsck -p` does not correct
 */
export async function mendSuperblocks(
  disk: string,
  partitions: Partitions,
  namespace: MountNamespace,
): Promise<string[]> {
  const mended: string[] = [];
  for (const name of ['boot', 'root'] as const) {
    const { offset, size } = partitions[name];
    const place = ['--offset', String(offset), '--sizelimit', String(size)];
    const { stdout } = await namespace.run(['losetup', '--find', '--show', ...place, disk]);
    const device = stdout.trim();
    try {
      const { exitCode } = await namespace.run(['sh', PROGRAM, device], { okExitCodes: [0, CORRECTED] });
      if (exitCode === CORRECTED) mended.push(name);
    } finally {
      await namespace.run(['losetup', '--detach', device]);
    }
  }
  return mended;
}

/** Damages them as a torn write does: with content that their checksum is not of. @param disk nobody has it mounted */
export async function damageSuperblocks(disk: string, partitions: Partitions): Promise<void> {
  await using file = await open(disk, 'r+');
  for (const { offset, size } of superblocks(partitions)) {
    const lastSector = offset + size - SECTOR;
    const [byte = 0] = (await file.read(Buffer.alloc(1), 0, 1, lastSector)).buffer;
    await file.write(Buffer.of(byte ^ 0xff), 0, 1, lastSector);
  }
}
