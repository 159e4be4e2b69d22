/** chattr(1), from e2fsprogs: file flags of Linux file systems. */
import type { Argv } from '../proc/run.ts';

/** Takes the immutable flag off everything below a path. ostree sets it on the roots of deployments. */
export function chattrMutableArgv(path: string): Argv {
  // -f: file systems without flags, and links, are not worth a word.
  return ['chattr', '-R', '-f', '-i', '--', path];
}
