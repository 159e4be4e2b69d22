/** Locks from the file system: `x.lock.yaml` beside `x.yaml`, `x@variant.lock.yaml` for a variant. */
import { extname, join } from 'node:path';

import { keptOfText } from '../catalog/kept-value.ts';
import { FindingsError, IngotError } from '../errors.ts';
import { parseLock } from '../resolve/lock-text.ts';
import type { Lock } from '../resolve/lock.ts';
import { readSourceText } from '../spec/source-text.ts';

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

const SOURCE = join(import.meta.dirname, '..');
const EXTENSION = extname(import.meta.filename);

/** What a lock depends on besides its text. */
export const LOCK_CODE: readonly string[] = [
  ...[
    'catalog/constraint',
    'catalog/layer',
    'digest',
    'errors',
    'oci/schema',
    'packages/package',
    'resolve/lock',
    'resolve/lock-text',
  ].map((name) => join(SOURCE, `${name}${EXTENSION}`)),
  join(SOURCE, 'spec'),
  // Says which parsers there are.
  join(SOURCE, '../package.json'),
];

/** @throws IngotError LOCK_MISSING; FindingsError LOCK_INVALID */
export async function loadLock(path: string): Promise<Lock> {
  try {
    const text = await readSourceText(path, `the lock ${path}`, CODES);
    return keptOfText({ name: 'lock', text, code: LOCK_CODE, make: () => parseLock(text, path) });
  } catch (error) {
    if (!(error instanceof IngotError) || error instanceof FindingsError || error.code !== CODES.invalid)
      throw error;
    const { code, message, location } = error;
    throw new FindingsError([
      { code, severity: 'error', message, ...(location !== undefined && { location }) },
    ]);
  }
}

const CODES = {
  unreadable: 'LOCK_MISSING',
  invalid: 'LOCK_INVALID',
  hint: '`ingot lock FILE` makes it',
} as const;
