/** The image that was built of a declaration, in the layout that `ingot build` writes. */
import { join, relative, resolve } from 'node:path';

import { digestOfJson } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { LayoutSource } from '../oci/layout-source.ts';
import { Manifest } from '../oci/schema.ts';
import type { ImageLocation } from '../publish/location.ts';
import type { Lock } from '../resolve/lock.ts';
import type { CommandContext } from './context.ts';
import { loadLock, lockPathOf } from './load-lock.ts';

export interface FindBuiltOptions {
  readonly variant?: string | undefined;
  /** The layout that it was built into, where that is another than `build/NAME`. */
  readonly output?: string | undefined;
  readonly lock?: string | undefined;
}

export interface FoundImage {
  readonly lock: Lock;
  readonly location: ImageLocation & { readonly kind: 'layout' };
  /** `oci:DIRECTORY:VERSION`, relative to the working directory. */
  readonly ref: string;
}

export const DECLARATION = /\.ya?ml$/;
export const LOCK_FILE = /\.lock\.ya?ml$/;

/**
 * The image of the lock beside the declaration, and no older one.
 *
 * @throws IngotError LOCK_MISSING, NOT_FOUND when it was not built; FindingsError LOCK_INVALID
 */
export async function findBuiltImage(
  { cwd }: Pick<CommandContext, 'cwd'>,
  file: string,
  { variant, output, lock: lockFile }: FindBuiltOptions = {},
): Promise<FoundImage> {
  const lock = await loadLock(resolve(cwd, lockFile ?? lockPathOf(file, variant)));
  const name = lock.variant === undefined ? lock.name : `${lock.name}@${lock.variant}`;
  const path = resolve(cwd, output ?? join('build', name));
  const shown = relative(cwd, path).startsWith('..') ? path : relative(cwd, path);
  const ref = `oci:${shown}:${lock.version}`;
  const missing = (what: string, cause?: unknown): IngotError =>
    new IngotError('NOT_FOUND', `${ref}: ${what}`, {
      hint: `build it: \`ingot build ${file}${variant === undefined ? '' : ` --variant ${variant}`}\`, or say with --layout where it was built`,
      cause,
    });
  let manifest: Manifest | undefined;
  try {
    await using source = await LayoutSource.open(path);
    const document = await source.manifest(lock.version);
    manifest = Manifest.safeParse(JSON.parse(document.bytes.toString())).data;
  } catch (error) {
    if (!(error instanceof IngotError) || error.code !== 'NOT_FOUND') throw error;
    throw missing('there is no image of this lock', error);
  }
  if (manifest?.annotations?.['dev.ingot.lock'] !== digestOfJson(lock)) {
    throw missing('the image there was built of another lock');
  }
  return { lock, location: { kind: 'layout', path, name: lock.version }, ref };
}
