/** What the arguments of `diff` name: a lock, or an image that can be read. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';

import { FindingsError, IngotError, type Finding } from '../../errors.ts';
import { openReader, type ImageReader } from '../../inspect/image-reader.ts';
import type { RegistryAccess } from '../../oci/registry/access.ts';
import { openSource, parseLocation, wantedOf, type ImageLocation } from '../../publish/location.ts';
import type { Lock } from '../../resolve/lock.ts';
import type { CommandContext } from '../context.ts';
import { loadLock, lockPathOf } from '../load-lock.ts';
import { openRegistries, type RegistryOptions } from '../registry-options.ts';

export type Side =
  | { readonly kind: 'lock'; readonly shown: string; readonly lock: Lock }
  | { readonly kind: 'image'; readonly shown: string; readonly image: ImageReader };

export interface Sides extends AsyncDisposable {
  readonly from: Side;
  readonly to: Side;
}

/** @throws IngotError or FindingsError, exit code 2, with the mistakes of both at once */
export async function openSides(
  context: CommandContext,
  from: string,
  to: string,
  options: RegistryOptions,
): Promise<Sides> {
  const registries = await openRegistries(context, options);
  const opened = await Promise.allSettled([
    openSide(context, from, registries),
    openSide(context, to, registries),
  ]);
  const [one, other] = opened;
  const close = async (): Promise<void> => {
    for (const result of opened) {
      if (result.status === 'fulfilled' && result.value.kind === 'image') {
        await result.value.image[Symbol.asyncDispose]();
      }
    }
    await registries[Symbol.asyncDispose]();
  };
  if (one.status === 'fulfilled' && other.status === 'fulfilled') {
    return { from: one.value, to: other.value, [Symbol.asyncDispose]: close };
  }
  await close();
  throw failureOf(
    opened.flatMap((result): unknown[] => (result.status === 'rejected' ? [result.reason] : [])),
  );
}

/** One of them. The caller closes an image. */
export async function openSide(
  { cwd, signal }: CommandContext,
  argument: string,
  registries: RegistryAccess,
): Promise<Side> {
  if (/\.ya?ml$/.test(argument)) {
    const path = /\.lock\.ya?ml$/.test(argument) ? argument : lockPathOf(argument);
    return { kind: 'lock', shown: path, lock: await loadLock(resolve(cwd, path)) };
  }
  const location = await locate(argument, cwd);
  const source = await openSource(location, registries);
  try {
    const isLocal = location.kind !== 'registry';
    const image = await openReader(source, wantedOf(location), { shown: argument, isLocal, signal });
    return { kind: 'image', shown: argument, image };
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

/** A path that is there means what is there; everything else is as it is written. */
async function locate(argument: string, cwd: string): Promise<ImageLocation> {
  if (/^oci(?:-archive)?:/.test(argument)) return parseLocation(argument, cwd);
  const [path = ''] = argument.split(':', 1);
  const status = await stat(resolve(cwd, path)).catch(() => undefined);
  if (status !== undefined) {
    return parseLocation(`${status.isFile() ? 'oci-archive' : 'oci'}:${argument}`, cwd);
  }
  try {
    return parseLocation(argument, cwd);
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    throw new IngotError('IMAGE_UNREADABLE', `there is no image ${JSON.stringify(argument)}`, {
      hint: 'name a declaration, a lock, oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME] or HOST/PATH:TAG',
      cause: error,
    });
  }
}

/** What was given cannot be read: that is the caller's to mend, whatever is wrong with it. */
const UNREADABLE: ReadonlySet<string> = new Set([
  'NOT_FOUND',
  'STORE_CORRUPT',
  'DIGEST_MISMATCH',
  'IMAGE_INVALID',
]);

function failureOf(errors: readonly unknown[]): unknown {
  const bug = errors.find((error) => !(error instanceof IngotError));
  if (bug !== undefined) return bug;
  const said = errors.filter((error) => error instanceof IngotError).map(asUnreadable);
  const [first] = said;
  if (said.length === 1 || first?.code === 'INTERRUPTED') return first;
  return new FindingsError(
    said.flatMap((error): Finding[] =>
      error instanceof FindingsError
        ? [...error.findings]
        : [
            {
              code: error.code,
              severity: 'error',
              message: error.hint === undefined ? error.message : `${error.message} (${error.hint})`,
              ...(error.location !== undefined && { location: error.location }),
            },
          ],
    ),
  );
}

/** The same words under the code that says whose matter it is. */
export function asUnreadable(error: IngotError): IngotError {
  if (!UNREADABLE.has(error.code)) return error;
  const { message, hint, location } = error;
  return new IngotError('IMAGE_UNREADABLE', message, {
    ...(hint !== undefined && { hint }),
    ...(location !== undefined && { location }),
    cause: error,
  });
}
