/**
 * OCI layers into an ostree repository.
 *
 * Each layer becomes a commit of its own, named by its digest, so that a node which has a layer never fetches or
 * reads it again. The commit of the image is made of theirs: its files are objects that are there, and only directories
 * that several layers fill are new.
 */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import pLimit from 'p-limit';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { layerContents } from '../oci/layer-contents.ts';
import type { ResolvedImage } from '../oci/layout.ts';
import type { Descriptor, ImageConfig, Manifest } from '../oci/schema.ts';
import type { Stage } from '../report/events.ts';
import { ostreeCommitArchiveArgv, ostreeSetRefArgv } from '../tools/ostree.ts';
import { FILE_OWNER_CAPABILITIES } from '../tools/tools-root.ts';
import { renderCommitMetadata } from './commit-metadata.ts';
import { asDiskFailure, type OstreeTools } from './disk-tools.ts';
import { loadKernelArguments } from './kernel-arguments.ts';
import {
  imageRef,
  type LayerRecords,
  layerRef,
  readBranch,
  readLayerRecord,
  readLayerRecords,
  writeLayerRecord,
} from './layer-record.ts';
import { type LayerDirectories, TarDirectoryReader } from './tar-directories.ts';
import { MergedTree } from './tree/merged-tree.ts';
import { checksumOf, renderCommit } from './tree/tree-objects.ts';
import { type TreeReader, TreeView } from './tree/tree-view.ts';
import { writeObjects } from './tree/write-objects.ts';

export interface ImageLayer {
  /** Of the blob, which is a plain, gzip or zstd archive. */
  readonly descriptor: Descriptor;
  /** Of the blob; undefined for a layer that the repository has. */
  readonly path: string | undefined;
  /** What is at `path`, where that is not the blob itself but its archive. */
  readonly content?: Descriptor;
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
  /** What the programs see: the repository, or a folder above it. */
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
  { descriptor, path, content = descriptor }: ImageLayer,
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
    readDirectories(path, content, tools.signal),
    tools.run(argv, [{ path: folder }, { path, readOnly: true }], { capabilities: FILE_OWNER_CAPABILITIES }),
  ]);
  // A blob that is not what its digest says explains whatever else went wrong: it comes first.
  if (read.status === 'rejected') throw read.reason;
  if (committed.status === 'rejected') throw committed.reason;
  await asDiskFailure(writeLayerRecord(repo, descriptor.digest, read.value));
  return read.value;
}

/** Each is a program of its own, and on a node a connection too. */
const MOST_AT_ONCE = 4;

/** How many layers are imported side by side. */
export function importsAtOnce(): number {
  return Math.min(MOST_AT_ONCE, Math.max(2, availableParallelism()));
}

export interface ImportOptions {
  readonly stage?: Stage | undefined;
  /** Of the image's layers that are there, for who has read them. */
  readonly records?: LayerRecords | undefined;
  /**
   * Imports one layer that is not there, and may have to come from far first. Called once for each digest, for
   * `importsAtOnce` of them side by side; `signal` says when another one has failed. Default: `importLayer`.
   */
  readonly importOne?: (layer: ImageLayer, signal: AbortSignal) => Promise<LayerDirectories>;
}

/**
 * Imports an image into the repository at `repo`. Layers that are there are laid together while others are brought.
 *
 * @throws IngotError DISK_FAILED when the image is not one that boots from ostree, DIGEST_MISMATCH, DISK_FULL,
 *   INTERRUPTED.
 */
export async function importImage(
  image: InstallableImage,
  place: ImportPlace,
  tools: OstreeTools,
  { stage, records, importOne = (layer) => importLayer(layer, place, tools) }: ImportOptions = {},
): Promise<ImportedImage> {
  const { repo, isDurable = false } = place;
  const tree = new MergedTree(repo);
  const total = compressedBytes(image);
  let done = 0;
  // One failure ends the others; all are waited for before it goes on.
  const failure = new AbortController();
  const signal =
    tools.signal === undefined ? failure.signal : AbortSignal.any([tools.signal, failure.signal]);
  const known =
    records ??
    (await readLayerRecords(
      repo,
      image.layers.map(({ descriptor }) => descriptor),
    ));
  const limit = pLimit(importsAtOnce());
  // Side by side, ahead of the merge, which follows the order of the layers.
  const imports = new Map<Digest, Promise<LayerDirectories | undefined>>();
  for (const layer of image.layers) {
    const { digest } = layer.descriptor;
    if (known.has(digest) || imports.has(digest)) continue;
    const one = limit(async () => {
      if (failure.signal.aborted) return undefined;
      try {
        return await importOne(layer, signal);
      } catch (error) {
        failure.abort(error); // the first one's reason stays
        return undefined;
      }
    });
    imports.set(digest, one);
  }
  try {
    for (const { descriptor } of image.layers) {
      stage?.progress(done, total, 'bytes');
      const layer = known.get(descriptor.digest) ?? (await imports.get(descriptor.digest));
      if (layer === undefined) break;
      tree.lay(await asDiskFailure(readBranch(repo, layerRef(descriptor.digest))), layer);
      done += descriptor.size;
    }
  } catch (error) {
    failure.abort(error);
  }
  await Promise.all(imports.values());
  if (failure.signal.aborted) throw failure.signal.reason;
  stage?.progress(total, total, 'bytes');
  const view = new TreeView(tree, repo);
  const kernel = await checkBootable(view, image.name);
  const kernelArguments = await loadKernelArguments(view);
  // A deployment merges the image's defaults, which ostree keeps in /usr/etc, with the machine's own /etc.
  tree.move(['etc'], ['usr', 'etc']);
  const ref = imageRef(image.digest);
  const { made, ...root } = tree.objects();
  const bytes = renderCommit({
    ...root,
    subject: `${image.name} ${image.version}`,
    timestamp: image.created,
    texts: renderCommitMetadata(image, kernelArguments),
    kernel,
    refs: [ref],
  });
  const commit = { kind: 'commit', checksum: checksumOf(bytes), bytes } as const;
  // What a commit needs is there before it is, and it before its name.
  await writeObjects(repo, [made, [commit]], isDurable, tools);
  const name = ostreeSetRefArgv(repo, ref, commit.checksum.toString('hex'));
  await tools.run(name, [{ path: repo }], { capabilities: FILE_OWNER_CAPABILITIES });
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

/**
 * What ostree and our boot loader ask of an image, each said in words rather than as ostree's first assertion. Seen
 * as the node will see it: a link of the image leads nowhere on this machine.
 *
 * @returns the release of its kernel
 */
export async function checkBootable(fs: TreeReader, name: string): Promise<string> {
  const problems: string[] = [];
  // Files of our own are renamed into and written below these two.
  for (const folder of ['etc', 'usr']) {
    if ((await fs.kindOf(`/${folder}`)) !== 'directory')
      problems.push(`/${folder} is missing, or no directory`);
  }
  if (await fs.exists('/usr/etc')) problems.push('/usr/etc exists: defaults belong into /etc');
  if ((await fs.kindOf('/ostree')) !== 'link') problems.push('/ostree is not a link to sysroot/ostree');
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
  if (problems.length === 0 && kernel !== undefined) return kernel;
  throw new IngotError('DISK_FAILED', `${name} cannot be installed: ${problems.join('; ')}`, {
    hint: 'images that `ingot build` made have what is needed',
  });
}
