/**
 * The IMAGE argument of `disk` and `test`: a declaration, which is built first when that is needed, or an OCI
 * layout. Either way with the tools root that its lock names.
 */
import { resolve } from 'node:path';

import { ensureToolsRoot } from '../build/tools-tree.ts';
import { hexOf, isDigest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { parseLayoutReference, resolveImage, type ResolvedImage } from '../oci/layout.ts';
import { loadMirrors, type Mirrors } from '../packages/mirror.ts';
import { Lock } from '../resolve/lock.ts';
import type { Store } from '../store/store.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import { buildDeclaration } from './commands/build.ts';
import type { CommandContext } from './context.ts';
import { loadLock } from './load-lock.ts';

export interface PrepareImageOptions {
  readonly variant?: string | undefined;
  /** Where the lock is when neither the store knows it nor it stands beside the declaration. */
  readonly lock?: string | undefined;
}

export interface PreparedImage {
  readonly image: ResolvedImage;
  readonly toolsRoot: ToolsRoot;
}

/** The lock that an image names, from the store's records. */
const LOCK_ANNOTATION = 'dev.ingot.lock';

/**
 * The caller holds `store` in use.
 *
 * @throws IngotError as building does; LOCK_MISSING for a layout whose lock is nowhere to be found
 */
export async function prepareImage(
  context: CommandContext,
  store: Store,
  reference: string,
  options: PrepareImageOptions = {},
): Promise<PreparedImage> {
  const { image, lock } = /\.ya?ml$/.test(reference)
    ? await fromDeclaration(context, reference, options)
    : await fromLayout(context, store, reference, options);
  const { reporter, signal } = context;
  const mirrors = (): Promise<Mirrors> => loadMirrors(context.env, signal);
  return { image, toolsRoot: await ensureToolsRoot({ lock, store, mirrors, reporter, signal }) };
}

interface Found {
  readonly image: ResolvedImage;
  readonly lock: Lock;
}

async function fromDeclaration(
  context: CommandContext,
  file: string,
  { variant, lock: lockFile }: PrepareImageOptions,
): Promise<Found> {
  const { layout, plan, lock } = await buildDeclaration(context, file, {
    ...(variant !== undefined && { variant }),
    ...(lockFile !== undefined && { lock: lockFile }),
  });
  return { image: await resolveImage({ directory: layout, name: plan.version }), lock };
}

async function fromLayout(
  { cwd }: CommandContext,
  store: Store,
  reference: string,
  { lock: lockFile }: PrepareImageOptions,
): Promise<Found> {
  const { directory, name } = parseLayoutReference(reference);
  const image = await resolveImage({ directory: resolve(cwd, directory), name });
  if (lockFile !== undefined) return { image, lock: await loadLock(resolve(cwd, lockFile)) };
  const digest = image.manifest.annotations?.[LOCK_ANNOTATION];
  const known =
    digest !== undefined && isDigest(digest) ? await store.readRecord('locks', hexOf(digest)) : undefined;
  const lock = Lock.safeParse(known);
  if (lock.success) return { image, lock: lock.data };
  throw new IngotError('LOCK_MISSING', `this store does not know the lock of ${reference}`, {
    hint: 'the lock names the tools that belong to the image: give it with --lock FILE',
  });
}
