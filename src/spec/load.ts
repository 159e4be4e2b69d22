/** Declarations from the file system. */
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import type { ParsedSpec } from './node-image.ts';
import type { NormaliseOptions } from './normalise.ts';
import { parseSpec } from './parse.ts';
import { MAX_SOURCE_BYTES } from './source-tree.ts';

export interface LoadOptions extends NormaliseOptions {
  /** What relative paths are relative to. Default: the process's own. */
  readonly cwd?: string;
}

/**
 * @throws IngotError IMAGE_UNKNOWN when there is no such file or variant, SPEC_INVALID when it is no text
 * @throws FindingsError SPEC_INVALID with everything that is wrong
 */
export async function loadSpec(path: string, options: LoadOptions = {}): Promise<ParsedSpec> {
  const { cwd = process.cwd(), ...rest } = options;
  const read = (file: string): Promise<string> => readSourceText(resolve(cwd, file), file);
  return parseSpec(await read(path), path, { ...rest, readExtended: read });
}

/**
 * Text of a file that a person wrote: UTF-8, a regular file, of bounded size.
 *
 * @param label the file as messages name it
 * @throws IngotError IMAGE_UNKNOWN, or SPEC_INVALID with the place of the first bad byte
 */
export async function readSourceText(path: string, label: string): Promise<string> {
  let bytes: Buffer;
  try {
    const status = await stat(path);
    if (!status.isFile()) {
      throw new IngotError(
        'IMAGE_UNKNOWN',
        `${label} is ${status.isDirectory() ? 'a folder' : 'not a file'}`,
        {
          hint: 'name a declaration, such as images/debian-minimal.yaml',
        },
      );
    }
    if (status.size > MAX_SOURCE_BYTES) {
      throw new IngotError('SPEC_INVALID', `${label} is larger than ${MAX_SOURCE_BYTES / 1024 / 1024} MiB`);
    }
    bytes = await readFile(path);
  } catch (error) {
    if (error instanceof IngotError) throw error;
    const errno = errnoOf(error);
    const why = errno === 'ENOENT' || errno === 'ENOTDIR' ? 'there is no such file' : (errno ?? 'error');
    throw new IngotError('IMAGE_UNKNOWN', `cannot read ${label}: ${why}`, {
      hint: 'name a declaration, such as images/debian-minimal.yaml',
      cause: error,
    });
  }
  return decodeUtf8(bytes, label);
}

function decodeUtf8(bytes: Buffer, label: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    const text = new TextDecoder('utf-8').decode(bytes);
    // The first replacement is the first bad byte, unless the text holds a real U+FFFD before it.
    const before = text.slice(0, Math.max(text.indexOf('\uFFFD'), 0));
    const line = before.split('\n').length;
    throw new IngotError('SPEC_INVALID', `${label} is not UTF-8 text`, {
      hint: 'save it as UTF-8, for example with `iconv -t UTF-8`',
      location: { file: label, line, column: before.length - before.lastIndexOf('\n') },
      cause: error,
    });
  }
}
