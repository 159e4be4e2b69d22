/** Looking for programs without starting them. */
import { access, constants } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';

import { IngotError } from '../errors.ts';

/** Where programs are looked for; the same for every program we start, whatever the caller's environment says. */
export const PROGRAM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The absolute path of a program, or undefined when it is not installed. An absolute path may be any file. */
export async function findProgram(
  program: string,
  { executable = true }: { readonly executable?: boolean } = {},
): Promise<string | undefined> {
  const candidates = isAbsolute(program)
    ? [program]
    : PROGRAM_PATH.split(':').map((folder) => join(folder, program));
  for (const candidate of candidates) {
    try {
      await access(candidate, executable ? constants.X_OK : constants.R_OK);
      return candidate;
    } catch {
      // Not here, or not executable by us: the next one.
    }
  }
  return undefined;
}

export function toolMissing(program: string): IngotError {
  return new IngotError('TOOL_MISSING', `${program} is not installed`, {
    hint: '`ingot doctor` lists what is needed and how to install it',
  });
}
