/**
 * Kernel arguments that an image asks for: `/usr/lib/bootc/kargs.d/*.toml`, read in name order, each with
 * `kargs = ["…"]` and optionally `match-architectures = ["x86_64"]`.
 * https://bootc-dev.github.io/bootc/building/kernel-arguments.html
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { z } from 'zod';

import { errnoOf, IngotError } from '../errors.ts';

export const KERNEL_ARGUMENTS_FOLDER = 'usr/lib/bootc/kargs.d';

const KernelArgumentsFile = z.strictObject({
  kargs: z.array(z.string().regex(/^[^\s\p{Cc}]+$/u, 'one argument, without blanks')),
  'match-architectures': z.array(z.string()).optional(),
});

/**
 * Parses one file. `architecture` is as the kernel names it: `x86_64`.
 *
 * @throws IngotError DISK_FAILED naming `file`.
 */
export function parseKernelArguments(text: string, file: string, architecture: string): string[] {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new IngotError('DISK_FAILED', `/${file} in the image is not TOML`, { cause: error });
  }
  const parsed = KernelArgumentsFile.safeParse(value);
  if (!parsed.success) {
    throw new IngotError('DISK_FAILED', `/${file} in the image: ${z.prettifyError(parsed.error)}`);
  }
  const { kargs, 'match-architectures': architectures } = parsed.data;
  return architectures === undefined || architectures.includes(architecture) ? kargs : [];
}

/** Reads the arguments of the image tree at `tree`. */
export async function loadKernelArguments(tree: string, architecture = 'x86_64'): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(join(tree, KERNEL_ARGUMENTS_FOLDER));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
  const all: string[] = [];
  for (const name of names.filter((candidate) => candidate.endsWith('.toml')).sort()) {
    const file = join(KERNEL_ARGUMENTS_FOLDER, name);
    all.push(...parseKernelArguments(await readFile(join(tree, file), 'utf8'), file, architecture));
  }
  return all;
}
