/** What dpkg-deb tells of a package without unpacking it. Manual: dpkg-deb(1). */
import type { Argv } from '../proc/run.ts';

/** Writes the control part of a package as a tar stream. */
export function dpkgDebControlTarArgv(deb: string): Argv {
  return ['dpkg-deb', '--ctrl-tarfile', deb];
}
