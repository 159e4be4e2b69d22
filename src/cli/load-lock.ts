/** Locks from the file system: `x.lock.yaml` beside `x.yaml`, `x@variant.lock.yaml` for a variant. */
import { readFile } from 'node:fs/promises';

import { errnoOf, IngotError } from '../errors.ts';
import { parseLock } from '../resolve/lock-text.ts';
import type { Lock } from '../resolve/lock.ts';

export function lockPathOf(declaration: string, variant?: string): string {
  const stem = declaration.replace(/\.ya?ml$/, '');
  return `${stem}${variant === undefined ? '' : `@${variant}`}.lock.yaml`;
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
