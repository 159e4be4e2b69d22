/** systemd-detect-virt(1). */
import type { Argv } from '../proc/run.ts';

/** Prints what kind of virtual machine this is; exits with 1 and `none` on a real one. */
export function detectVirtArgv(): Argv {
  return ['systemd-detect-virt', '--vm'];
}

/** By the signature that its processor gives. `kvm` is QEMU too, on the machine's own processor. */
export function isEmulated(stdout: string): boolean {
  return ['qemu', 'bochs'].includes(stdout.trim());
}
