/**
 * Kernel arguments that an image asks for: `/usr/lib/bootc/kargs.d/*.toml`, read in name order, each with
 * `kargs = ["…"]` and optionally `match-architectures = ["x86_64"]`.
 * https://bootc-dev.github.io/bootc/building/kernel-arguments.html
 */
import { join } from 'node:path';
import { parse } from 'smol-toml';
import * as z from 'zod';

import { IngotError } from '../errors.ts';
import type { TreeReader } from './tree/tree-view.ts';

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

/** Reads the arguments of an image's tree. */
export async function loadKernelArguments(
  fs: Pick<TreeReader, 'list' | 'readTextIfPresent'>,
  architecture = 'x86_64',
): Promise<string[]> {
  const all: string[] = [];
  for (const name of await fs.list(KERNEL_ARGUMENTS_FOLDER)) {
    if (!name.endsWith('.toml')) continue;
    const file = join(KERNEL_ARGUMENTS_FOLDER, name);
    const text = await fs.readTextIfPresent(file);
    if (text === undefined) throw new IngotError('DISK_FAILED', `/${file} in the image leads nowhere`);
    all.push(...parseKernelArguments(text, file, architecture));
  }
  return all;
}
