/** setfattr (Debian: attr). */
import type { Argv } from '../proc/run.ts';

/** Removes one attribute from files, not following links. Paths are absolute. */
export function setfattrRemoveArgv(name: string, paths: readonly string[]): Argv {
  return ['setfattr', '--no-dereference', `--remove=${name}`, '--', ...paths];
}

/** Sets one attribute of a file, not of what a link leads to. */
export function setfattrArgv(name: string, value: Buffer, path: string): Argv {
  return ['setfattr', '--no-dereference', `--name=${name}`, `--value=0x${value.toString('hex')}`, '--', path];
}
