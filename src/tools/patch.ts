/** GNU patch. Manual: patch(1). */
import type { Argv } from '../proc/run.ts';

/** Applies the unified diff on standard input below `directory`, as it is or not at all. */
export function patchArgv(directory: string): Argv {
  return [
    'patch',
    ...['--strip', '1', '--fuzz', '0', '--forward', '--batch'],
    ...['--no-backup-if-mismatch', '--reject-file', '-', '--directory', directory],
  ];
}
