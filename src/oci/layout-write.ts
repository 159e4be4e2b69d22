/**
 * Writes images into OCI image layouts.
 *
 * A new layout is made under a temporary name beside its place and renamed. In an existing one blobs are added
 * first, then `index.json` is replaced by rename: that is the moment the new image counts. Blobs that nothing
 * leads to any more are removed last. A layout therefore always holds whole images, whenever a write ends. What a
 * writer that was killed has left goes with the next write to the same place.
 */
import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import {
  chmod,
  constants,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { canonicalJson, type Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { acquireFileLock } from '../proc/file-lock.ts';
import { requireWritableFolder } from '../proc/writable-place.ts';
import { layoutBlobPath, readJsonBlob, verifiedChunks } from './blob.ts';
import { readImageGraph } from './image-graph.ts';
import { readLayout } from './layout.ts';
import { lockWhileMaking, sweepBeside, sweepInside, temporaryPrefix } from './layout-leftovers.ts';
import { LayoutSource } from './layout-source.ts';
import { type Descriptor, type Index, Manifest, MEDIA_TYPES, REF_NAME } from './schema.ts';

export interface LayoutImage {
  /** Its name in the layout; replaces an image of the same name. */
  readonly name: string;
  readonly manifest: Descriptor;
}

/** A manifest or index that the layout is to list. */
export interface LayoutEntry {
  readonly descriptor: Descriptor;
  /** Replaces what has the same name. Without one it is listed once, as referrers are. */
  readonly name: string | undefined;
}

/** A blob, and the file it is taken from. */
export interface LayoutBlob {
  readonly descriptor: Descriptor;
  readonly source: string;
}

export interface WriteLayoutOptions {
  readonly signal?: AbortSignal | undefined;
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._:@/+-]*[A-Za-z0-9])?$/;

/**
 * Says beforehand what `writeLayout` would say at the end of a long build.
 *
 * @throws IngotError USAGE when `directory` is something else than a layout, or cannot be made or written; DISK_FULL.
 */
export async function requireLayoutPlace(directory: string): Promise<void> {
  const status = await stat(directory).catch(() => undefined);
  if (status === undefined || (await isAbsentOrEmpty(directory))) {
    // Made under another name beside its place.
    await requireWritableFolder(dirname(join(directory)));
    return;
  }
  await readExisting(directory);
  await requireWritableFolder(directory);
}

/**
 * Puts an image into the layout `directory`, which is made when it is not there. `blobPath` says where the
 * image's blobs are; they are hard-linked where that is possible, so a layout beside the store costs nothing.
 *
 * @throws IngotError USAGE when `directory` is something else than a layout or the name is not allowed;
 *   STORE_CORRUPT when a blob is missing or not of its size; DISK_FULL; INTERRUPTED.
 */
export async function writeLayout(
  directory: string,
  image: LayoutImage,
  blobPath: (digest: Digest) => string,
  options: WriteLayoutOptions = {},
): Promise<void> {
  requireLayoutName(image.name);
  const blobs = await blobsOf(image.manifest, blobPath);
  await addToLayout(directory, blobs, [{ descriptor: image.manifest, name: image.name }], options);
}

/** @throws IngotError USAGE when a layout cannot hold an image of this name */
export function requireLayoutName(name: string): void {
  if (NAME.test(name)) return;
  throw new IngotError('USAGE', `${JSON.stringify(name)} cannot name an image in a layout`, {
    hint: 'use letters, digits and . _ - : @ / +, beginning and ending with a letter or digit',
  });
}

/**
 * Puts blobs, which hold all that the entries lead to, into the layout `directory`, and then the entries into its
 * index, all at once.
 *
 * @throws IngotError as `writeLayout`
 */
export async function addToLayout(
  directory: string,
  blobs: readonly LayoutBlob[],
  entries: readonly LayoutEntry[],
  options: WriteLayoutOptions = {},
): Promise<void> {
  try {
    await sweepBeside(directory);
    // Not there when asked, there when renaming: somebody else made it meanwhile, so add to theirs.
    const created = (await isAbsentOrEmpty(directory)) && (await create(directory, blobs, entries, options));
    if (!created) await add(directory, blobs, entries, options);
  } catch (error) {
    const code = errnoOf(error);
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    throw new IngotError('DISK_FULL', `no space left for the layout ${directory}`, {
      hint: 'a layout on the same file system as the store takes no space',
      cause: error,
    });
  }
}

/** The manifest and all it names, children first. */
async function blobsOf(manifest: Descriptor, blobPath: (digest: Digest) => string): Promise<LayoutBlob[]> {
  const read = await readJsonBlob(blobPath(manifest.digest), manifest, Manifest, 'image manifest');
  const blobs: LayoutBlob[] = [];
  for (const descriptor of [...read.layers, read.config, manifest]) {
    const path = blobPath(descriptor.digest);
    const size = await sizeOf(path);
    if (size !== descriptor.size) {
      throw new IngotError(
        'STORE_CORRUPT',
        size === undefined
          ? `the blob ${path} is missing`
          : `the blob ${path} has ${size} bytes instead of ${descriptor.size}`,
        { hint: 'build the image again' },
      );
    }
    blobs.push({ descriptor, source: path });
  }
  return blobs;
}

/** False when the place was taken meanwhile. */
async function create(
  directory: string,
  blobs: readonly LayoutBlob[],
  entries: readonly LayoutEntry[],
  options: WriteLayoutOptions,
): Promise<boolean> {
  const parent = dirname(join(directory));
  await mkdir(parent, { recursive: true });
  await using _making = await lockWhileMaking(directory, options.signal);
  const temporary = await mkdtemp(join(parent, temporaryPrefix(directory)));
  try {
    await chmod(temporary, 0o755);
    await mkdir(join(temporary, 'blobs/sha256'), { recursive: true });
    for (const blob of blobs) await place(blob, temporary, options);
    await writeFile(join(temporary, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}\n', { flush: true });
    await writeIndex(temporary, { schemaVersion: 2, manifests: [] }, entries);
    await rename(temporary, directory);
    await syncDirectory(parent);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function add(
  directory: string,
  blobs: readonly LayoutBlob[],
  entries: readonly LayoutEntry[],
  options: WriteLayoutOptions,
): Promise<void> {
  await readExisting(directory);
  await using _lock = await acquireFileLock(join(directory, 'oci-layout'), { signal: options.signal });
  const { index } = await readExisting(directory);
  await sweepInside(directory);
  await mkdir(join(directory, 'blobs/sha256'), { recursive: true });
  for (const blob of blobs) await place(blob, directory, options);
  const replaced = await writeIndex(directory, index, entries);
  await prune(directory, replaced);
}

async function readExisting(directory: string): Promise<{ index: Index }> {
  try {
    return await readLayout(directory);
  } catch (error) {
    if (!(error instanceof IngotError) || error.code !== 'NOT_FOUND') throw error;
    throw new IngotError('USAGE', `${directory} exists and is no OCI image layout`, {
      hint: 'give another folder; Ingot adds to layouts and replaces nothing else',
      cause: error,
    });
  }
}

/** Adds entries to the index, replacing their names. Resolves to what is no longer in the index. */
async function writeIndex(
  directory: string,
  index: Index,
  entries: readonly LayoutEntry[],
): Promise<Descriptor[]> {
  const isReplaced = (old: Descriptor): boolean =>
    entries.some(({ name, descriptor }) =>
      name === undefined
        ? old.digest === descriptor.digest && old.annotations?.[REF_NAME] === undefined
        : old.annotations?.[REF_NAME] === name,
    );
  const added = entries.map(({ name, descriptor }) =>
    name === undefined
      ? descriptor
      : { ...descriptor, annotations: { ...descriptor.annotations, [REF_NAME]: name } },
  );
  const next: Index = {
    ...index,
    mediaType: MEDIA_TYPES.index,
    manifests: [...index.manifests.filter((other) => !isReplaced(other)), ...added],
  };
  const temporary = join(directory, `.index.json.${randomUUID()}.tmp`);
  try {
    await syncDirectory(join(directory, 'blobs/sha256'));
    await writeFile(temporary, `${canonicalJson(next)}\n`, { flush: true });
    await rename(temporary, join(directory, 'index.json'));
    await syncDirectory(directory);
  } finally {
    await rm(temporary, { force: true });
  }
  return index.manifests.filter(isReplaced);
}

/** Puts one blob in its place: a hard link, or a copy where the file systems differ. */
async function place(blob: LayoutBlob, directory: string, options: WriteLayoutOptions): Promise<void> {
  if (options.signal?.aborted === true) {
    throw new IngotError('INTERRUPTED', `interrupted while writing ${directory}`);
  }
  const target = layoutBlobPath(directory, blob.descriptor.digest);
  const there = await statusOf(target);
  if (there !== undefined && (await isSameFile(there, blob.source))) return;
  const temporary = `${target}.${randomUUID()}.tmp`;
  try {
    await link(blob.source, temporary);
  } catch (error) {
    // Another file system, one without hard links, or an inode with all the links it can have.
    if (!['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes(errnoOf(error) ?? '')) throw error;
    // A copy of an earlier build, unless it was damaged since.
    if (there?.size === blob.descriptor.size && (await isIntact(target, blob.descriptor))) return;
    try {
      await copyFile(blob.source, temporary, constants.COPYFILE_FICLONE);
      await syncFile(temporary);
    } catch (failed) {
      await rm(temporary, { force: true });
      throw failed;
    }
  }
  await rename(temporary, target);
}

/**
 * Removes the blobs of replaced images that no image needs any more, and nothing else: the folder may hold what
 * other tools put there. The new image counts already, so where it is unclear what is needed, all is kept.
 */
async function prune(directory: string, replaced: readonly Descriptor[]): Promise<void> {
  const needed = new Set<Digest>();
  const candidates = new Set<Digest>();
  try {
    await using source = await LayoutSource.open(directory);
    const { index } = await readLayout(directory);
    for (const descriptor of index.manifests) {
      for (const digest of await reachable(source, descriptor)) needed.add(digest);
    }
    for (const descriptor of replaced) {
      for (const digest of await reachable(source, descriptor)) candidates.add(digest);
    }
  } catch (error) {
    if (error instanceof IngotError) return; // a damaged old image, or what we do not know
    throw error;
  }
  for (const digest of candidates) {
    if (!needed.has(digest)) await rm(layoutBlobPath(directory, digest), { force: true });
  }
}

async function reachable(source: LayoutSource, descriptor: Descriptor): Promise<Digest[]> {
  const { documents, blobs } = await readImageGraph(source, descriptor);
  return [...blobs, ...documents.map((document) => document.descriptor)].map(({ digest }) => digest);
}

async function isAbsentOrEmpty(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length === 0;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    if (errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await statusOf(path))?.size;
}

async function isSameFile(one: Stats, path: string): Promise<boolean> {
  const other = await stat(path);
  return one.dev === other.dev && one.ino === other.ino;
}

async function isIntact(path: string, descriptor: Descriptor): Promise<boolean> {
  try {
    const chunks = verifiedChunks(path, descriptor);
    while ((await chunks.next()).done !== true);
    return true;
  } catch (error) {
    if (error instanceof IngotError && error.code === 'DIGEST_MISMATCH') return false;
    throw error;
  }
}

async function statusOf(path: string): Promise<Stats | undefined> {
  try {
    const stats = await stat(path);
    return stats.isFile() ? stats : undefined;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
