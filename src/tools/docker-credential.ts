/** Docker's credential helpers: `docker-credential-NAME get`, the server on stdin, the secret on stdout. */
import * as z from 'zod';

import type { Argv } from '../proc/run.ts';

export const HelperCredentials = z.object({ Username: z.string(), Secret: z.string() });
export type HelperCredentials = z.infer<typeof HelperCredentials>;

/** Undefined when `name` cannot be that of a program. */
export function credentialHelperArgv(name: string): Argv | undefined {
  return /^[\w.-]+$/.test(name) ? [`docker-credential-${name}`, 'get'] : undefined;
}

/** Undefined when the output is no answer. */
export function parseCredentialHelper(stdout: string): HelperCredentials | undefined {
  try {
    return HelperCredentials.parse(JSON.parse(stdout));
  } catch {
    return undefined;
  }
}

/** What helpers say, with exit code 1, when they know nothing of the server (docker-credential-helpers). */
export function saysNotFound(stdout: string): boolean {
  return /credentials not found in native keychain/i.test(stdout);
}
