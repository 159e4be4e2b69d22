/** ldd (glibc): the libraries that a program is linked with. Manual: ldd(1). */
import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

/** It may run the program's loader: for programs that are trusted. */
export function lddArgv(program: string): Argv {
  return ['ldd', program];
}

export interface LinkedLibraries {
  /** Absolute paths. */
  readonly libraries: readonly string[];
  readonly loader: string;
}

/** Parses `lddArgv`. @throws IngotError TOOL_FAILED for a program that lacks a library, or is linked with none */
export function parseLdd(stdout: string): LinkedLibraries {
  const missing = [...stdout.matchAll(/^\t(\S+) => not found/gm)].map(([, name]) => name);
  if (missing.length > 0) {
    throw new IngotError('TOOL_FAILED', `a program lacks ${missing.join(', ')}`, { output: stdout });
  }
  const libraries = [...stdout.matchAll(/^\t\S+ => (\/\S+) \(/gm)].map(([, path = '']) => path);
  const loader = /^\t(\/\S+) \(/m.exec(stdout)?.[1];
  if (loader === undefined) throw new IngotError('TOOL_FAILED', 'ldd names no loader', { output: stdout });
  return { libraries, loader };
}
