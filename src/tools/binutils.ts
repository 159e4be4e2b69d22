/** GNU binutils. Manual: strip(1). */
import type { Argv } from '../proc/run.ts';

/** Symbols that the kernel's loader needs stay. */
export function stripDebugArgv(file: string): Argv {
  return ['strip', '--strip-debug', file];
}
