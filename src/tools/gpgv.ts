/** gpgv: whether one of a keyring's keys has signed a file. Manual: gpgv(1). */
import type { Argv } from '../proc/run.ts';

/** @param keyring binary; its path has a slash, or gpgv looks for it in a home directory */
export function gpgvArgv(keyring: string, signature: string, data: string): Argv {
  return ['gpgv', '--quiet', '--keyring', keyring, signature, data];
}
