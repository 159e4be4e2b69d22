/**
 * OCI layers into an ostree repository.
 *
 * Each layer becomes a commit of its own, named by its digest, so that a node which has a layer never fetches or
 * reads it again. The layers are then laid over each other as hard links and committed as one bootable tree.
 */
import { chmod, chown, lstat, realpath, rename } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import pLimit from 'p-limit';

import { RootFs } from '../build/root-fs.ts';
import type { Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { layerContents } from '../oci/layer-contents.ts';
import type { ResolvedImage } from '../oci/layout.ts';
import type { Descriptor, ImageConfig, Manifest } from '../oci/schema.ts';
import type { Stage } from '../report/events.ts';
import { ostreeCheckoutOverArgv, ostreeCommitArchiveArgv, ostreeCommitTreeArgv } from '../tools/ostree.ts';
import { FILE_OWNER_CAPABILITIES } from '../tools/tools-root.ts';
import { renderCommitMetadata } from './commit-metadata.ts';
import { asDiskFailure, type OstreeTools } from './disk-tools.ts';
import { loadKernelArguments } from './kernel-arguments.ts';
import { imageRef, layerRef, readLayerRecord, writeLayerRecord } from './layer-record.ts';
import { DirectoryHeaders, type LayerDirectories, TarDirectoryReader } from './tar-directories.ts';

export interface ImageLayer {
  /** Of the blob, which is a plain, gzip or zstd archive. */
  readonly descriptor: Descriptor;
  /** Of the blob; undefined for a layer that the repository has. */
  readonly path: string | undefined;
}

/** An image as the disk needs it. */
export interface InstallableImage {
  /** As a person knows it, such as `debian-minimal:20260801.0`. */
  readonly name: string;
  /** Of the manifest. */
  readonly digest: Digest;
  readonly version: string;
  /** Seconds since the epoch. */
  readonly created: number;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
  /** Kept with the commit, for the node to know itself by. */
  readonly manifest: Manifest;
  readonly config: ImageConfig;
}

/** The parts of a resolved image that a disk is made from. */
export function installableImage(image: ResolvedImage): InstallableImage {
  const { manifest, config, digest, blobPath } = image;
  const name = image.name ?? basename(image.directory);
  return describeImage({ name, digest, manifest, config }, (layer) => blobPath(layer.digest));
}

/** @param image `name` stands in for a title that the image does not have */
export function describeImage(
  image: Pick<InstallableImage, 'name' | 'digest' | 'manifest' | 'config'>,
  pathOf: (layer: Descriptor) => string | undefined,
): InstallableImage {
  const { manifest, config, digest } = image;
  const annotations = manifest.annotations ?? {};
  const created = Date.parse(config.created ?? '');
  return {
    name: annotations['org.opencontainers.image.title'] ?? image.name,
    digest,
    version: versionOf(digest, annotations),
    created: Number.isNaN(created) ? 0 : Math.floor(created / 1000),
    layers: manifest.layers.map((descriptor) => ({ descriptor, path: pathOf(descriptor) })),
    manifest,
    config,
  };
}

/** An image that says no version is told by its digest. */
export function versionOf(digest: Digest, annotations: Readonly<Record<string, string>> = {}): string {
  return annotations['org.opencontainers.image.version'] ?? digest.slice(7, 19);
}

/** Bytes of all blobs. */
export function compressedBytes(image: InstallableImage): number {
  return image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
}

export interface ImportedImage {
  /** The branch that holds it. */
  readonly ref: string;
  /** What the image asks for, in order. */
  readonly kernelArguments: readonly string[];
}

export interface ImportPlace {
  /** An empty place for `merged` on the repository's file system. */
  readonly folder: string;
  readonly repo: string;
  /** Writes so that a power loss leaves nothing half there: a node's own repository. Default: false. */
  readonly isDurable?: boolean;
}

/**
 * Imports one layer, unless the repository has it.
 *
 * @returns what it does to directories
 * @throws IngotError as `importImage`; NOT_FOUND when it is not there and has no blob either
 */
export async function importLayer(
  { descriptor, path }: ImageLayer,
  { folder, repo, isDurable = false }: ImportPlace,
  tools: OstreeTools,
): Promise<LayerDirectories> {
  const known = await readLayerRecord(repo, descriptor.digest);
  if (known !== undefined) return known;
  if (path === undefined) {
    throw new IngotError('NOT_FOUND', `layer ${descriptor.digest} is neither in the repository nor at hand`);
  }
  const argv = ostreeCommitArchiveArgv(repo, layerRef(descriptor.digest), path, isDurable);
  const [read, committed] = await Promise.allSettled([
    readDirectories(path, descriptor, tools.signal),
    tools.run(argv, [{ path: folder }, { path, readOnly: true }], { capabilities: FILE_OWNER_CAPABILITIES }),
  ]);
  // A blob that is not what its digest says explains whatever else went wrong: it comes first.
  if (read.status === 'rejected') throw read.reason;
  if (committed.status === 'rejected') throw committed.reason;
  await asDiskFailure(writeLayerRecord(repo, descriptor.digest, read.value));
  return read.value;
}

/**
 * Imports an image into the repository at `repo`. The layers are merged beside it, in `folder`: in the repository's
 * own `tmp`, ostree takes a tree for abandoned, since the directories it writes are as old as 1970.
 *
 * @throws IngotError DISK_FAILED when the image is not one that boots from ostree, DIGEST_MISMATCH, DISK_FULL,
 *   INTERRUPTED.
 */
export async function importImage(
  image: InstallableImage,
  place: ImportPlace,
  tools: OstreeTools,
  stage?: Stage,
): Promise<ImportedImage> {
  const { folder, repo, isDurable = false } = place;
  const capabilities = { capabilities: FILE_OWNER_CAPABILITIES };
  const tree = join(folder, 'merged');
  // One bind for both: hard links do not cross mounts, not even two of one file system.
  const work = { path: folder };
  const directories = new DirectoryHeaders();
  const total = compressedBytes(image);
  let done = 0;
  let over = false;
  // Side by side, ahead of the checkouts, which follow the order of the layers.
  const limit = pLimit(Math.max(2, availableParallelism()));
  const imports = image.layers.map((layer) =>
    limit(async () => (over ? undefined : importLayer(layer, place, tools))),
  );
  for (const one of imports) one.catch(() => undefined); // each is looked at when its layer's turn comes
  try {
    for (const [index, { descriptor }] of image.layers.entries()) {
      stage?.progress(done, total, 'bytes');
      const layer = await imports[index];
      if (layer === undefined) throw new TypeError('a layer was left out before anything failed');
      directories.lay(layer);
      await tools.run(ostreeCheckoutOverArgv(repo, layerRef(descriptor.digest), tree), [work], capabilities);
      done += descriptor.size;
    }
  } finally {
    over = true;
    await Promise.allSettled(imports);
  }
  stage?.progress(total, total, 'bytes');
  await asDiskFailure(restoreDirectoryHeaders(tree, directories));
  await checkBootable(tree, image.name);
  const kernelArguments = await loadKernelArguments(tree);
  // A deployment merges the image's defaults, which ostree keeps in /usr/etc, with the machine's own /etc.
  await rename(join(tree, 'etc'), join(tree, 'usr', 'etc'));
  const ref = imageRef(image.digest);
  await tools.run(
    ostreeCommitTreeArgv(repo, {
      ref,
      directory: tree,
      subject: `${image.name} ${image.version}`,
      timestamp: image.created,
      metadata: renderCommitMetadata(image, kernelArguments),
      isDurable,
    }),
    [work],
    capabilities,
  );
  return { ref, kernelArguments };
}

/** Reads a layer through, verifying it. @throws IngotError DIGEST_MISMATCH, NOT_FOUND, DISK_FAILED, INTERRUPTED */
async function readDirectories(
  path: string,
  descriptor: Descriptor,
  signal: AbortSignal | undefined,
): Promise<LayerDirectories> {
  const reader = new TarDirectoryReader();
  try {
    await pipeline(layerContents(path, descriptor), reader, signal === undefined ? {} : { signal });
    return reader;
  } catch (cause) {
    if (signal?.aborted === true) {
      throw new IngotError('INTERRUPTED', 'interrupted while reading the image', { cause });
    }
    if (cause instanceof IngotError) throw cause;
    throw new IngotError('DIGEST_MISMATCH', `layer ${descriptor.digest} cannot be read`, {
      hint: 'the image is damaged: copy or build it again',
      cause,
    });
  }
}

async function restoreDirectoryHeaders(tree: string, directories: DirectoryHeaders): Promise<void> {
  const root = await realpath(tree);
  for (const [path, header] of directories.all) {
    const absolute = join(tree, path);
    let now;
    try {
      now = await lstat(absolute);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') continue;
      throw error;
    }
    const same = now.uid === header.uid && now.gid === header.gid && (now.mode & 0o7777) === header.mode;
    if (same || !now.isDirectory()) continue;
    // A link of the image must not lead us out of its tree.
    if ((await realpath(absolute)) !== join(root, path)) continue;
    // Changing the owner clears setgid, so the mode comes second.
    await chown(absolute, header.uid, header.gid);
    await chmod(absolute, header.mode);
  }
}

/**
 * What ostree and our boot loader ask of an image, each said in words rather than as ostree's first assertion. Seen
 * as the node will see it: a link of the image leads nowhere on this machine.
 */
export async function checkBootable(tree: string, name: string): Promise<void> {
  const problems: string[] = [];
  const fs = new RootFs(tree);
  // Files of our own are renamed into and written below these two.
  for (const folder of ['etc', 'usr']) {
    const status = await lstat(join(tree, folder)).catch(() => undefined);
    if (status?.isDirectory() !== true) problems.push(`/${folder} is missing, or no directory`);
  }
  if (await fs.exists('/usr/etc')) problems.push('/usr/etc exists: defaults belong into /etc');
  const link = await lstat(join(tree, 'ostree')).catch(() => undefined);
  if (link?.isSymbolicLink() !== true) problems.push('/ostree is not a link to sysroot/ostree');
  if (!(await fs.exists('/sysroot'))) problems.push('/sysroot is missing');
  if (!(await fs.exists('/usr/sbin/grub-mkconfig'))) problems.push('/usr/sbin/grub-mkconfig is missing');
  if (!(await fs.exists('/boot'))) problems.push('/boot is missing');
  const boot = await fs.list('/boot');
  if (boot.length > 0) problems.push(`/boot is not empty: ${boot.slice(0, 3).join(', ')}`);
  const kernels: string[] = [];
  for (const release of await fs.list('/usr/lib/modules')) {
    if (await fs.exists(`/usr/lib/modules/${release}/vmlinuz`)) kernels.push(release);
  }
  const [kernel] = kernels;
  if (kernel === undefined) problems.push('no kernel at /usr/lib/modules/*/vmlinuz');
  else if (kernels.length > 1) problems.push(`more than one kernel: ${kernels.join(', ')}`);
  else if (!(await fs.exists(`/usr/lib/modules/${kernel}/initramfs.img`))) {
    problems.push(`no initramfs at /usr/lib/modules/${kernel}/initramfs.img`);
  }
  if (problems.length === 0) return;
  throw new IngotError('DISK_FAILED', `${name} cannot be installed: ${problems.join('; ')}`, {
    hint: 'images that `ingot build` made have what is needed',
  });
}
