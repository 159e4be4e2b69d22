/** The bill of what a person names: a lock, a declaration, or an image wherever it is. */
import { resolve } from 'node:path';

import { digestOfJson, hexOf, isDigest } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import type { ImageReader } from '../../inspect/image-reader.ts';
import { readSoftware } from '../../inspect/read-software.ts';
import type { RegistryAccess } from '../../oci/registry/access.ts';
import { Lock } from '../../resolve/lock.ts';
import type { Bill } from '../../sbom/bill.ts';
import { makeBill } from '../../sbom/make-bill.ts';
import type { Store } from '../../store/store.ts';
import type { CommandContext } from '../context.ts';
import { asUnreadable, openSide } from '../diff/open-side.ts';
import { DECLARATION, findBuiltImage, LOCK_FILE } from '../find-built.ts';
import { loadLock, lockPathOf } from '../load-lock.ts';

export interface GatherOptions {
  readonly registries: RegistryAccess;
  /** In use by the caller. */
  readonly store: Store;
  /** The lock of an image, where the store does not know it. */
  readonly lock?: string | undefined;
  /** Takes the lock of a declaration alone when no image was built of it. */
  readonly orLock?: boolean | undefined;
}

/** What is known of an image, or of one to be. */
export interface Gathered {
  readonly shown: string;
  readonly bill: Bill;
  readonly lock: Lock | undefined;
}

/**
 * Of a declaration, its lock and the image that was built of it; of a lock, the lock alone.
 *
 * @throws IngotError LOCK_MISSING, LOCK_STALE for a lock of another image, IMAGE_UNREADABLE, NOT_FOUND
 */
export async function gatherBill(
  context: CommandContext,
  argument: string,
  options: GatherOptions,
): Promise<Gathered> {
  const { registries, lock: lockFile } = options;
  if (LOCK_FILE.test(argument)) {
    const lock = await loadLock(resolve(context.cwd, argument));
    return { shown: argument, bill: makeBill({ lock }), lock };
  }
  const built = DECLARATION.test(argument)
    ? await findBuiltImage(context, argument, { lock: lockFile }).catch((error: unknown) => {
        if (options.orLock === true && error instanceof IngotError && error.code === 'NOT_FOUND')
          return undefined;
        throw error;
      })
    : undefined;
  if (built === undefined && DECLARATION.test(argument)) {
    const lock = await loadLock(resolve(context.cwd, lockFile ?? lockPathOf(argument)));
    return { shown: argument, bill: makeBill({ lock }), lock };
  }
  const side = await openSide(context, built?.ref ?? argument, registries);
  if (side.kind === 'lock') throw new TypeError('an image was asked for');
  await using image = side.image;
  return await gatherFromImage(context, image, { ...options, known: built?.lock });
}

/** The same from an image that is open. `known` is its lock, where that is certain. */
export async function gatherFromImage(
  context: CommandContext,
  image: ImageReader,
  { store, lock: lockFile, known }: Omit<GatherOptions, 'registries'> & { readonly known?: Lock | undefined },
): Promise<Gathered> {
  const { reporter, signal, cwd } = context;
  const lock =
    known ??
    (lockFile === undefined ? await storedLock(store, image) : await loadLock(resolve(cwd, lockFile)));
  const said = image.annotations['dev.ingot.lock'];
  if (lock !== undefined && said !== undefined && said !== digestOfJson(lock)) {
    throw new IngotError(
      'LOCK_STALE',
      `${image.shown} was built of another lock than ${lockFile ?? 'its own'}`,
      {
        hint: 'give the lock that the image was built of, or none',
      },
    );
  }
  try {
    const software = await reporter.stage(`Read ${image.shown}`, (stage) =>
      readSoftware(image, { stage, signal }),
    );
    return { shown: image.shown, bill: makeBill({ lock, software }), lock };
  } catch (error) {
    throw error instanceof IngotError ? asUnreadable(error) : error;
  }
}

/** The lock that an image names, where it was built on this machine. */
async function storedLock(store: Store, image: ImageReader): Promise<Lock | undefined> {
  const digest = image.annotations['dev.ingot.lock'];
  if (digest === undefined || !isDigest(digest)) return undefined;
  const lock = Lock.safeParse(await store.readRecord('locks', hexOf(digest))).data;
  return lock !== undefined && digestOfJson(lock) === digest ? lock : undefined;
}
