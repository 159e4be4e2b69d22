/** Installs this machine from a medium: finds it, finds the disk that is meant, refuses what must not be done. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

import { errnoOf, IngotError } from '../../errors.ts';
import { formatBytes } from '../../report/format.ts';
import type { DiskTools } from '../../ostree/disk-tools.ts';
import type { Reporter } from '../../report/events.ts';
import { MIB, type DiskIdentity } from '../layout.ts';
import { readClaim } from './claim.ts';
import type { FoundMedium } from './find-medium.ts';
import type { Medium } from './medium.ts';
import { isZero } from './pieces.ts';
import { chooseDisk, describeDisk, type Disk, type TargetRule } from './target.ts';
import { writeSystem } from './write-system.ts';

export interface InstallOptions {
  readonly found: FoundMedium;
  /** Asked again until two answers are the same: disks appear one by one. */
  readonly disks: () => Promise<readonly Disk[]>;
  readonly settleMs: number;
  /** Instead of the medium's own. */
  readonly rule?: TargetRule | undefined;
  readonly wipe?: boolean | undefined;
  /** Although the disk was installed from this medium before. */
  readonly again: boolean;
  /** Asks a person which disk, where no rule says it; what they name may be overwritten. */
  readonly ask: ((disks: readonly Disk[], medium: Medium) => Promise<Disk>) | undefined;
  readonly tools: DiskTools;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export type Installed =
  | { readonly state: 'installed'; readonly disk: Disk; readonly identity: DiskIdentity }
  /** It was installed from this medium before, and is left as it is. */
  | { readonly state: 'already'; readonly disk: Disk };

/**
 * @throws IngotError INSTALL_REFUSED before anything is written; DISK_FAILED, INTERRUPTED afterwards, when the disk has no
 *   partition table and starts nothing
 */
export async function installMachine(options: InstallOptions): Promise<Installed> {
  const { found, reporter, again, tools, signal } = options;
  const { medium } = found;
  const rule = options.rule ?? medium.target;
  const disks = await reporter.stage('Find disks', async (stage) => {
    const settled = await settledDisks(options);
    stage.detail(settled.map(describeDisk).join('; '));
    return settled;
  });
  const isAsked = rule === undefined;
  const disk = isAsked ? await askForDisk(disks, options) : chooseDisk(disks, rule);
  const path = disk.paths[0] ?? `/dev/${disk.name}`;
  requireFit(disk, medium);
  const handle = await openExclusively(path, disk);
  try {
    const claim = await readClaim(handle);
    const isOurs = claim?.medium === found.digest;
    if (isOurs && claim.state === 'installed' && !again && !isAsked) return { state: 'already', disk };
    const mayWipe = isAsked || (options.wipe ?? medium.wipe) || (isOurs && claim.state === 'installing');
    if (!mayWipe && (await hasData(handle, disk.size))) {
      throw new IngotError('INSTALL_REFUSED', `${describeDisk(disk)} is not empty, and is left as it is`, {
        hint: 'an installer that was made with --wipe overwrites it',
      });
    }
  } finally {
    await handle.close();
  }
  reporter.info(`installing ${medium.image.name} ${medium.image.version} to ${describeDisk(disk)}`);
  const identity = await writeSystem({
    medium,
    mediumDigest: found.digest,
    source: found.source,
    path,
    size: disk.size,
    tools,
    reporter,
    signal,
  });
  return { state: 'installed', disk, identity };
}

async function settledDisks({ disks, settleMs, signal }: InstallOptions): Promise<readonly Disk[]> {
  let before = await disks();
  for (;;) {
    if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted');
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    const now = await disks();
    if (JSON.stringify(now) === JSON.stringify(before)) return now;
    before = now;
  }
}

async function askForDisk(disks: readonly Disk[], { ask, found }: InstallOptions): Promise<Disk> {
  const candidates = disks.filter(({ isMedium }) => !isMedium);
  if (ask === undefined || candidates.length === 0) {
    const there = candidates.length === 0 ? 'no disk is there' : candidates.map(describeDisk).join('; ');
    throw new IngotError('INSTALL_REFUSED', 'nothing says which disk to install to', {
      hint: `give --to: ${there}`,
    });
  }
  return ask(candidates, found.medium);
}

function requireFit(disk: Disk, medium: Medium): void {
  if (disk.sectorBytes !== 512) {
    throw new IngotError(
      'INSTALL_REFUSED',
      `${describeDisk(disk)} has sectors of ${disk.sectorBytes} bytes, and the image is made for 512`,
      { hint: 'many NVMe disks can be formatted to 512: `nvme format --lbaf`, which empties them' },
    );
  }
  if (disk.size < medium.size) {
    throw new IngotError(
      'INSTALL_REFUSED',
      `${describeDisk(disk)} is too small: the image takes ${formatBytes(medium.size)} and room for its data`,
    );
  }
}

/** The kernel lets nobody open a disk so that is mounted or part of another device. */
async function openExclusively(path: string, disk: Disk): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    const why = errno === 'EBUSY' ? 'is in use' : `cannot be written (${errno})`;
    throw new IngotError('INSTALL_REFUSED', `${describeDisk(disk)} ${why}`, { cause: error });
  }
}

/** Tables, file systems and members of arrays all have their marks in the first or the last MiB. */
async function hasData(disk: FileHandle, size: number): Promise<boolean> {
  for (const offset of [0, size - MIB]) {
    const bytes = Buffer.alloc(MIB);
    await disk.read(bytes, 0, MIB, offset);
    if (!isZero(bytes)) return true;
  }
  return false;
}
