/** mkfifo (coreutils). Node.js has no call for it. */
import type { Argv } from '../proc/run.ts';

/** Named pipes for their owner alone. `paths` are absolute. */
export function mkfifoArgv(paths: readonly string[]): Argv {
  return ['mkfifo', '--mode=600', '--', ...paths];
}
