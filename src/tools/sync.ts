/** sync(1), from coreutils. */
import type { Argv } from '../proc/run.ts';

/** What was written to the file system of `path` would survive a power loss when it ends. */
export function syncFileSystemArgv(path: string): Argv {
  return ['sync', '--file-system', path];
}
