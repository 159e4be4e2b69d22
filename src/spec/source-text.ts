/** Reads files that a person wrote: UTF-8, regular, of bounded size. */
import { readFile, stat } from 'node:fs/promises';

import { errnoOf, IngotError, type ErrorCode } from '../errors.ts';
import { MAX_SOURCE_BYTES } from './source-tree.ts';

export interface SourceTextCodes {
  /** The file is not there, or cannot be read. */
  readonly unreadable: ErrorCode;
  /** The file is no text. */
  readonly invalid: ErrorCode;
  /** What to do when it is not there. */
  readonly hint?: string;
}

/**
 * @param label the file as messages name it
 * @throws IngotError with one of `codes`; where a byte is not UTF-8, its place
 */
export async function readSourceText(path: string, label: string, codes: SourceTextCodes): Promise<string> {
  const hint = codes.hint === undefined ? {} : { hint: codes.hint };
  let bytes: Buffer;
  try {
    const status = await stat(path);
    if (!status.isFile()) {
      const kind = status.isDirectory() ? 'a folder' : 'not a regular file';
      throw new IngotError(codes.unreadable, `cannot read ${label}: it is ${kind}`, hint);
    }
    if (status.size > MAX_SOURCE_BYTES) {
      throw new IngotError(codes.invalid, `${label} is larger than ${MAX_SOURCE_BYTES / 1024 / 1024} MiB`);
    }
    bytes = await readFile(path);
  } catch (error) {
    if (error instanceof IngotError) throw error;
    throw new IngotError(codes.unreadable, `cannot read ${label}: ${reasonOf(error)}`, {
      ...hint,
      cause: error,
    });
  }
  return decodeUtf8(bytes, label, codes.invalid);
}

function reasonOf(error: unknown): string {
  const errno = errnoOf(error) ?? 'error';
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return 'there is no such file';
  if (errno === 'EACCES') return 'permission denied';
  return errno;
}

function decodeUtf8(bytes: Buffer, label: string, code: ErrorCode): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    const text = new TextDecoder('utf-8').decode(bytes);
    // The first replacement is the first bad byte, unless the text holds a real U+FFFD before it.
    const before = text.slice(0, Math.max(text.indexOf('\uFFFD'), 0));
    const line = before.split('\n').length;
    throw new IngotError(code, `${label} is not UTF-8 text`, {
      hint: 'save it as UTF-8, for example with `iconv -t UTF-8`',
      location: { file: label, line, column: before.length - before.lastIndexOf('\n') },
      cause: error,
    });
  }
}
