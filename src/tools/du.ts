/** du(1), from coreutils: what directories take on the disk, files with several names counted once. */
import type { Argv } from '../proc/run.ts';

/** One line for each path. Allocated bytes, so that holes take nothing. */
export function duArgv(paths: readonly string[]): Argv {
  return ['du', '--summarize', '--block-size=1', '--one-file-system', '--null', '--', ...paths];
}

/** Bytes by path. */
export function parseDu(output: string): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const line of output.split('\0')) {
    const tab = line.indexOf('\t');
    if (tab > 0) sizes.set(line.slice(tab + 1), Number(line.slice(0, tab)));
  }
  return sizes;
}
