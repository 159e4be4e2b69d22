/**
 * OCI layers into an ostree repository.
 *
 * Each layer becomes a commit of its own, named by its digest, so that a node which has a layer never fetches or
 * reads it again. The layers are then laid over each other as hard links and committed as one bootable tree.
 */
import { chmod, chown, lstat, readdir, realpath, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { hexOf, type Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { verifiedChunks } from '../oci/blob.ts';
import type { ResolvedImage } from '../oci/layout.ts';
import type { Descriptor } from '../oci/schema.ts';
import { run } from '../proc/run.ts';
import type { Stage } from '../report/events.ts';
import { ostreeCheckoutOverArgv, ostreeCommitArchiveArgv, ostreeCommitTreeArgv } from '../tools/ostree.ts';
import { FILE_OWNER_CAPABILITIES } from '../tools/tools-root.ts';
import { zstdDecompressArgv } from '../tools/zstd.ts';
import { asDiskFailure, type DiskTools } from './disk-tools.ts';
import { loadKernelArguments } from './kernel-arguments.ts';
import { DirectoryHeaders, TarDirectoryReader } from './tar-directories.ts';

export interface ImageLayer {
  /** Of the blob, which is a plain, gzip or zstd archive. */
  readonly descriptor: Descriptor;
  readonly path: string;
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
}

/** The parts of a resolved image that a disk is made from. */
export function installableImage(image: ResolvedImage): InstallableImage {
  const { manifest, config, digest, blobPath } = image;
  const annotations = manifest.annotations ?? {};
  const title = annotations['org.opencontainers.image.title'] ?? image.name ?? basename(image.directory);
  const created = Date.parse(config.created ?? '');
  return {
    name: title,
    digest,
    version: annotations['org.opencontainers.image.version'] ?? digest.slice(7, 19),
    created: Number.isNaN(created) ? 0 : Math.floor(created / 1000),
    layers: manifest.layers.map((descriptor) => ({ descriptor, path: blobPath(descriptor.digest) })),
  };
}

/** Bytes of all blobs. */
export function compressedBytes(image: InstallableImage): number {
  return image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
}

export const layerRef = (digest: Digest): string => `ingot/layer/sha256-${hexOf(digest)}`;
export const imageRef = (digest: Digest): string => `ingot/image/sha256-${hexOf(digest)}`;

export interface ImportedImage {
  /** The branch that holds it. */
  readonly ref: string;
  /** What the image asks for, in order. */
  readonly kernelArguments: readonly string[];
}

/**
 * Imports an image into the repository at `repo`, which lies in `folder`. The layers are merged beside it: in the
 * repository's own `tmp`, ostree takes a tree for abandoned, since the directories it writes are as old as 1970.
 *
 * @throws IngotError DISK_FAILED when the image is not one that boots from ostree, DISK_FULL, INTERRUPTED.
 */
export async function importImage(
  image: InstallableImage,
  { folder, repo }: { readonly folder: string; readonly repo: string },
  tools: DiskTools,
  stage?: Stage,
): Promise<ImportedImage> {
  const capabilities = { capabilities: FILE_OWNER_CAPABILITIES };
  const tree = join(folder, 'merged');
  // One bind for both: hard links do not cross mounts, not even two of one file system.
  const work = { path: folder };
  const directories = new DirectoryHeaders();
  const total = compressedBytes(image);
  let done = 0;
  for (const layer of image.layers) {
    stage?.progress(done, total, 'bytes');
    const ref = layerRef(layer.descriptor.digest);
    const committed = tools.run(
      ostreeCommitArchiveArgv(repo, ref, layer.path),
      [work, { path: layer.path, readOnly: true }],
      capabilities,
    );
    const results = await Promise.allSettled([
      verifyLayer(layer, tools.signal),
      committed,
      readDirectoryHeaders(layer, directories, tools),
    ]);
    // A blob that is not what its digest says explains whatever else went wrong: it comes first.
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    await tools.run(ostreeCheckoutOverArgv(repo, ref, tree), [work], capabilities);
    done += layer.descriptor.size;
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
      metadata: { version: image.version, 'ostree.manifest-digest': image.digest },
    }),
    [work],
    capabilities,
  );
  return { ref, kernelArguments };
}

/** @throws IngotError DIGEST_MISMATCH, NOT_FOUND */
async function verifyLayer(layer: ImageLayer, signal: AbortSignal | undefined): Promise<void> {
  for await (const _chunk of verifiedChunks(layer.path, layer.descriptor)) {
    if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while reading the image');
  }
}

async function readDirectoryHeaders(
  layer: ImageLayer,
  directories: DirectoryHeaders,
  tools: DiskTools,
): Promise<void> {
  const argv = tools.root.argv(zstdDecompressArgv(layer.path), [{ path: layer.path, readOnly: true }]);
  const reader = new TarDirectoryReader(directories);
  const read = new Promise<void>((resolve, reject) => {
    reader.on('finish', resolve);
    reader.on('error', (cause: Error) => {
      reject(
        new IngotError('DISK_FAILED', `layer ${layer.descriptor.digest} cannot be read: ${cause.message}`, {
          cause,
        }),
      );
    });
  });
  // Whichever fails first is reported; the other has nothing to add.
  read.catch(() => undefined);
  const decompressed = asDiskFailure(
    run(argv, { label: 'zstd', shown: ['zstd', layer.path], stdoutTo: reader, signal: tools.signal }),
  ).then(() => {
    reader.end();
  });
  await Promise.all([decompressed, read]);
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

/** What ostree and our boot loader ask of an image, each said in words rather than as ostree's first assertion. */
async function checkBootable(tree: string, name: string): Promise<void> {
  const problems: string[] = [];
  const has = async (path: string): Promise<boolean> =>
    lstat(join(tree, path)).then(
      () => true,
      () => false,
    );
  if (!(await has('etc'))) problems.push('/etc is missing');
  if (await has('usr/etc')) problems.push('/usr/etc exists: defaults belong into /etc');
  const link = await lstat(join(tree, 'ostree')).catch(() => undefined);
  if (link?.isSymbolicLink() !== true) problems.push('/ostree is not a link to sysroot/ostree');
  if (!(await has('sysroot'))) problems.push('/sysroot is missing');
  if (!(await has('usr/sbin/grub-mkconfig'))) problems.push('/usr/sbin/grub-mkconfig is missing');
  const boot = await readdir(join(tree, 'boot')).catch(() => undefined);
  if (boot === undefined) problems.push('/boot is missing');
  else if (boot.length > 0) problems.push(`/boot is not empty: ${boot.slice(0, 3).join(', ')}`);
  const modules = await readdir(join(tree, 'usr/lib/modules')).catch(() => []);
  const kernels: string[] = [];
  for (const release of modules) {
    if (await has(`usr/lib/modules/${release}/vmlinuz`)) kernels.push(release);
  }
  const [kernel] = kernels;
  if (kernel === undefined) problems.push('no kernel at /usr/lib/modules/*/vmlinuz');
  else if (kernels.length > 1) problems.push(`more than one kernel: ${kernels.join(', ')}`);
  else if (!(await has(`usr/lib/modules/${kernel}/initramfs.img`))) {
    problems.push(`no initramfs at /usr/lib/modules/${kernel}/initramfs.img`);
  }
  if (problems.length === 0) return;
  throw new IngotError('DISK_FAILED', `${name} cannot be installed: ${problems.join('; ')}`, {
    hint: 'images that `ingot build` made have what is needed',
  });
}
