/** Locks from the file system: `x.lock.yaml` beside `x.yaml`, `x@variant.lock.yaml` for a variant. */
import { readFile } from 'node:fs/promises';

import { errnoOf, IngotError } from '../errors.ts';
import { parseLock } from '../resolve/lock-text.ts';
import type { Lock } from '../resolve/lock.ts';

export function lockPathOf(declaration: string, variant?: string): string {
  const stem = declaration.replace(/\.ya?ml$/, '');
  return `${stem}${variant === undefined ? '' : `@${variant}`}.lock.yaml`;
}

/**
 * The declarations among the files of a command line: a shell's `images/*.yaml` takes the locks beside them along.
 *
 * @throws IngotError USAGE when there are locks alone
 */
export function declarationsAmong(files: readonly string[]): readonly string[] {
  const declarations = files.filter((file) => !/\.lock\.ya?ml$/.test(file));
  const [first] = files;
  if (declarations.length > 0 || first === undefined) return declarations;
  throw new IngotError('USAGE', `${first} is a lock`, {
    hint: `name the declaration, such as ${first.replace(/(?:@[^@/]*)?\.lock(\.ya?ml)$/, '$1')}`,
  });
}

/** @throws IngotError LOCK_MISSING; FindingsError LOCK_INVALID */
export async function loadLock(path: string): Promise<Lock> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const errno = errnoOf(error);
    throw new IngotError(
      'LOCK_MISSING',
      errno === 'ENOENT' ? `there is no lock ${path}` : `cannot read the lock ${path} (${errno ?? 'error'})`,
      { hint: '`ingot lock FILE` makes it', cause: error },
    );
  }
  return parseLock(text, path);
}
