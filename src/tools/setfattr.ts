/** setfattr (Debian: attr). */
import type { Argv } from '../proc/run.ts';

/** Removes one attribute from files, not following links. Paths are absolute. */
export function setfattrRemoveArgv(name: string, paths: readonly string[]): Argv {
  return ['setfattr', '--no-dereference', `--remove=${name}`, '--', ...paths];
}
