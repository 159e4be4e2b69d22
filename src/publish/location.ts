/** What a person writes for an image: `oci:DIRECTORY[:NAME]`, `oci-archive:FILE[:NAME]`, or a reference. */
import { resolve } from 'node:path';

import { IngotError } from '../errors.ts';
import { ArchiveSource } from '../oci/archive-source.ts';
import { ArchiveTarget } from '../oci/archive-target.ts';
import type { ImageSource, ImageTarget } from '../oci/image-transfer.ts';
import { parseLayoutReference } from '../oci/layout.ts';
import { LayoutSource, type LayoutSourceOptions } from '../oci/layout-source.ts';
import { LayoutTarget } from '../oci/layout-target.ts';
import { type ImageReference, parseImageReference } from '../oci/reference.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import { JoinedSource } from './joined-source.ts';

export type ImageLocation =
  | { readonly kind: 'layout'; readonly path: string; readonly name: string | undefined }
  | { readonly kind: 'archive'; readonly path: string; readonly name: string | undefined }
  | { readonly kind: 'registry'; readonly reference: ImageReference };

/** Where an image comes from: a place, or several whose images become one of several platforms. */
export type ImageOrigin =
  | ImageLocation
  | {
      readonly kind: 'joined';
      readonly images: readonly { readonly text: string; readonly location: ImageLocation }[];
    };

const ARCHIVE = 'oci-archive:';

/** Paths are taken from `cwd`. @throws IngotError USAGE */
export function parseLocation(text: string, cwd: string): ImageLocation {
  if (text.startsWith('oci:')) {
    const { directory, name } = parseLayoutReference(text);
    return { kind: 'layout', path: resolve(cwd, directory), name };
  }
  if (text.startsWith(ARCHIVE)) {
    const rest = text.slice(ARCHIVE.length);
    const colon = rest.indexOf(':');
    const path = colon === -1 ? rest : rest.slice(0, colon);
    const name = colon === -1 ? undefined : rest.slice(colon + 1);
    if (path === '' || name === '') {
      throw new IngotError('USAGE', `${JSON.stringify(text)} names no archive`, {
        hint: 'write oci-archive:FILE or oci-archive:FILE:NAME',
      });
    }
    return { kind: 'archive', path: resolve(cwd, path), name };
  }
  try {
    return { kind: 'registry', reference: parseImageReference(text) };
  } catch (error) {
    if (!(error instanceof IngotError) || !/^[./]/.test(text)) throw error;
    throw new IngotError('USAGE', error.message, { hint: `a folder is written oci:${text}` });
  }
}

/** What a source is asked for. */
export function wantedOf(location: ImageOrigin): string | undefined {
  if (location.kind === 'joined') return undefined;
  return location.kind === 'registry' ? (location.reference.digest ?? location.reference.tag) : location.name;
}

export async function openSource(
  location: ImageOrigin,
  registries: RegistryAccess,
  options: LayoutSourceOptions = {},
): Promise<ImageSource> {
  switch (location.kind) {
    case 'joined':
      return openJoined(location.images, registries, options);
    case 'layout':
      return LayoutSource.open(location.path, options);
    case 'archive':
      return ArchiveSource.open(location.path);
    case 'registry':
      return registries.source(location.reference);
  }
}

async function openJoined(
  images: (ImageOrigin & { readonly kind: 'joined' })['images'],
  registries: RegistryAccess,
  options: LayoutSourceOptions,
): Promise<ImageSource> {
  await using opened = new AsyncDisposableStack();
  const joined = [];
  for (const { text, location } of images) {
    const source = opened.use(await openSource(location, registries, options));
    joined.push({ shown: text, source, reference: wantedOf(location) });
  }
  const source = await JoinedSource.join(joined);
  opened.move(); // its own from here on
  return source;
}

/** `scratch` is a folder of the caller's for what a target has to write down meanwhile. */
export async function openTarget(
  location: ImageLocation,
  registries: RegistryAccess,
  scratch: string,
): Promise<ImageTarget> {
  switch (location.kind) {
    case 'layout':
      return LayoutTarget.open(location.path, scratch);
    case 'archive':
      return ArchiveTarget.open(location.path);
    case 'registry':
      return registries.target(location.reference);
  }
}

/**
 * The name that an image gets at a place.
 *
 * @throws IngotError USAGE when the place says none, or a digest: what an image is called there is decided by a person
 */
export function nameAt(location: ImageLocation, text: string): string {
  if (location.kind === 'registry' && location.reference.digest !== undefined) {
    throw new IngotError('USAGE', `${text} names a digest, which cannot be written to`, {
      hint: 'give a tag: HOST/PATH:TAG',
    });
  }
  const name = location.kind === 'registry' ? location.reference.tag : location.name;
  if (name !== undefined) return name;
  throw new IngotError('USAGE', `${text} does not say what the image is to be called there`, {
    hint: location.kind === 'registry' ? `add a tag: ${text}:TAG` : `add a name: ${text}:NAME`,
  });
}
