/** Declarations from the file system. */
import { resolve } from 'node:path';

import type { ParsedSpec } from './node-image.ts';
import type { NormaliseOptions } from './normalise.ts';
import { parseSpec, type ParseOptions } from './parse.ts';
import { readSourceText } from './source-text.ts';

export interface LoadOptions extends NormaliseOptions, Pick<ParseOptions, 'known' | 'readPolicy'> {
  /** What relative paths are relative to. Default: the process's own. */
  readonly cwd?: string;
}

/**
 * @param path also the name of the file in findings
 * @throws IngotError IMAGE_UNKNOWN when there is no such file or variant, SPEC_INVALID when it is no text
 * @throws FindingsError SPEC_INVALID with everything that is wrong
 */
export async function loadSpec(path: string, options: LoadOptions = {}): Promise<ParsedSpec> {
  const { cwd = process.cwd(), ...rest } = options;
  const read = (file: string): Promise<string> =>
    readSourceText(resolve(cwd, file), file, { unreadable: 'IMAGE_UNKNOWN', invalid: 'SPEC_INVALID' });
  return parseSpec(await read(path), path, { ...rest, readExtended: read });
}
