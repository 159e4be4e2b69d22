/** blockdev (util-linux). Manual: blockdev(8). */
import type { Argv } from '../proc/run.ts';

/** Drops what the kernel keeps of a device, so that it is read from the device again. */
export function blockdevFlushArgv(device: string): Argv {
  return ['blockdev', '--flushbufs', device];
}
