/** What an installer's medium makes of a disk, without a machine that starts from it. */
import { type FoundMedium, findMedium } from '../../src/disk/installer/find-medium.ts';
import { installMachine, type InstallOptions, type Installed } from '../../src/disk/installer/install.ts';
import type { Disk } from '../../src/disk/installer/target.ts';
import { GIB } from '../../src/disk/layout.ts';
import type { DiskTools } from '../../src/ostree/disk-tools.ts';
import { silentReporter } from '../../src/report/events.ts';

/** What the installer takes the disk to have. */
export const DISK_BYTES = 3 * GIB;

export interface InstallFromOptions extends Partial<InstallOptions> {
  readonly tools: DiskTools;
  /** What is other about the disk. */
  readonly disk?: Partial<Disk>;
}

/** Runs the installer on one disk, as a machine would that has this one and the medium. */
export async function installFrom(
  iso: string,
  path: string,
  { disk: other, ...options }: InstallFromOptions,
): Promise<Installed> {
  const disk: Disk = {
    name: 'test',
    paths: [path],
    size: DISK_BYTES,
    sectorBytes: 512,
    isRemovable: false,
    isMedium: false,
    ...other,
  };
  await using found: FoundMedium = await findMedium({
    candidates: () => Promise.resolve([iso]),
    digest: undefined,
    timeoutMs: 0,
  });
  return await installMachine({
    found,
    disks: () => Promise.resolve([disk]),
    settleMs: 0,
    again: false,
    ask: undefined,
    reporter: silentReporter,
    ...options,
  });
}
