/**
 * From an image to a disk file: import and deploy into a scratch folder, then fill the file systems offline,
 * straight into a sparse file. No loop device, no mount, so an interruption leaves nothing but files, and those
 * are removed. The file gets its name when it is whole.
 */
import { randomUUID } from 'node:crypto';
import { lstat, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { formatBytes } from '../report/format.ts';
import { requireWritableFolder } from '../proc/writable-place.ts';
import type { Reporter } from '../report/events.ts';
import { syncDirectory, type Store } from '../store/store.ts';
import { qemuImgConvertArgv, type DiskFormat } from '../tools/qemu-img.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import { deployImage, STATEROOT } from './deploy.ts';
import { DiskTools, asDiskFailure } from '../ostree/disk-tools.ts';
import { compressedBytes, type InstallableImage } from '../ostree/import-image.ts';
import { defaultDiskSize, layOutDisk, MIB, minimumDiskSize, newDiskIdentity } from './layout.ts';
import { treeBytes } from './tree-bytes.ts';
import { makeSparseFile, requireBootFits, writeDisk } from './write-disk.ts';

export interface CreateDiskOptions {
  readonly image: InstallableImage;
  /** Replaced when it is there. */
  readonly output: string;
  readonly format: DiskFormat;
  /** Bytes; default: what the image needs, with room for the next one. */
  readonly size?: number | undefined;
  /** Text of a file with provisioning data, for the first start. */
  readonly seed?: string | undefined;
  /** Puts what else the node has from the start below a folder with its `var`. */
  readonly fill?: ((folder: string) => Promise<void>) | undefined;
  readonly store: Store;
  readonly toolsRoot: ToolsRoot;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface CreatedDisk {
  readonly path: string;
  readonly format: DiskFormat;
  /** As the machine sees it. */
  readonly size: number;
  /** What the file takes where it lies. */
  readonly allocated: number;
  readonly rootUuid: string;
}

/**
 * @throws IngotError NOT_ROOT, USAGE (an output that cannot be), DISK_FULL, DISK_FAILED, INTERRUPTED.
 */
export async function createDisk(options: CreateDiskOptions): Promise<CreatedDisk> {
  const { image, format, store, reporter, signal } = options;
  const output = resolve(options.output);
  await requireDiskPlace(output);
  // Content takes more than its compressed layers: what is too small for those is too small.
  checkSize(options.size, minimumDiskSize(compressedBytes(image)));
  requireRoot();

  const tools = new DiskTools(options.toolsRoot, signal);
  const identity = newDiskIdentity(randomUUID);
  await using cleanup = new AsyncDisposableStack();
  const scratch = cleanup.use(await store.scratch('disk'));
  const system = await deployImage(image, scratch.path, identity, tools, reporter, options.seed);
  await options.fill?.(join(system.sysroot, 'ostree/deploy', STATEROOT));

  const [rootBytes, bootBytes] = await Promise.all([treeBytes(system.sysroot), treeBytes(system.boot)]);
  checkSize(options.size, minimumDiskSize(rootBytes));
  const layout = layOutDisk(options.size ?? defaultDiskSize(rootBytes), identity);
  requireBootFits(bootBytes, layout);
  await checkFreeSpace(dirname(output), rootBytes + bootBytes);

  const unfinished = join(dirname(output), `.${basename(output)}.${randomUUID()}.tmp`);
  cleanup.defer(() => rm(unfinished, { force: true }));
  const raw = format === 'raw' ? unfinished : join(scratch.path, 'disk.raw');
  await reporter.stage('Write file systems', async (stage) => {
    await writeDisk(raw, layout, system, scratch.path, tools);
    stage.detail(`${formatBytes(layout.size)} disk, ${formatBytes(rootBytes + bootBytes)} used`);
  });
  if (format !== 'raw') {
    await reporter.stage(`Convert to ${format}`, async () => {
      await asDiskFailure(makeSparseFile(unfinished, 0));
      await tools.run(qemuImgConvertArgv(raw, unfinished, format), [
        { path: raw, readOnly: true },
        { path: unfinished },
      ]);
    });
  }
  await asDiskFailure(publish(unfinished, output));
  const { blocks } = await stat(output);
  return { path: output, format, size: layout.size, allocated: blocks * 512, rootUuid: identity.rootUuid };
}

/**
 * Says beforehand what `createDisk` would say after a long build.
 *
 * @throws IngotError USAGE when a disk cannot be written at `output`; DISK_FULL.
 */
export async function requireDiskPlace(output: string): Promise<void> {
  const folder = await stat(dirname(output)).catch(() => undefined);
  if (folder?.isDirectory() !== true) {
    throw new IngotError('USAGE', `${dirname(output)} is not a folder`, {
      hint: 'make it first, or give another --output',
    });
  }
  await requireWritableFolder(dirname(output));
  try {
    if ((await lstat(output)).isFile()) return;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new IngotError('USAGE', `${output} exists and is not a regular file`, {
    hint: 'give the name of a disk file; to write a real disk, copy the finished file onto it',
  });
}

/** @throws IngotError NOT_ROOT */
export function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new IngotError('NOT_ROOT', 'only root can write files of other owners into a disk', {
    hint: 'run the same command as root, for example with sudo',
  });
}

function checkSize(size: number | undefined, minimum: number): void {
  if (size === undefined || size >= minimum) return;
  throw new IngotError('USAGE', `a disk of ${formatBytes(size)} is too small for this image`, {
    hint: `give --size ${Math.ceil(minimum / MIB)}MiB or more, or leave --size out`,
  });
}

/** @throws IngotError DISK_FULL */
export async function checkFreeSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= bytes) return;
  throw new IngotError(
    'DISK_FULL',
    `the disk takes ${formatBytes(bytes)}, and ${folder} has ${formatBytes(bavail * bsize)} left`,
    { hint: 'free some space, or give an --output elsewhere' },
  );
}

/** Durable first, then visible under its name. */
export async function publish(unfinished: string, output: string): Promise<void> {
  const file = await open(unfinished, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, output);
  await syncDirectory(dirname(output));
}
