/** mknod (coreutils). Node.js has no call for it. */
import type { Argv } from '../proc/run.ts';

/** What overlayfs takes for "removed": a character device 0:0 that nobody can open. `path` is absolute. */
export function mknodWhiteoutArgv(path: string): Argv {
  return ['mknod', '--mode=000', '--', path, 'c', '0', '0'];
}
