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
import {
  debugfsArgv,
  IMMUTABLE_FLAG,
  mke2fsArgv,
  parseDebugfsError,
  parseInodeFlags,
} from '../tools/mke2fs.ts';
import { qemuImgConvertArgv, type DiskFormat } from '../tools/qemu-img.ts';
import { renderSfdiskScript, sfdiskWriteArgv } from '../tools/sfdisk.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import { writeEfiSystemPartition } from './boot-loader.ts';
import { deployImage, type DeployedSystem } from './deploy.ts';
import { DiskTools, asDiskFailure } from '../ostree/disk-tools.ts';
import { compressedBytes, type InstallableImage } from '../ostree/import-image.ts';
import {
  defaultDiskSize,
  layOutDisk,
  MIB,
  minimumDiskSize,
  newDiskIdentity,
  type DiskLayout,
} from './layout.ts';
import { treeBytes } from './tree-bytes.ts';

export interface CreateDiskOptions {
  readonly image: InstallableImage;
  /** Replaced when it is there. */
  readonly output: string;
  readonly format: DiskFormat;
  /** Bytes; default: what the image needs, with room for the next one. */
  readonly size?: number | undefined;
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

/** The disk's name inside the tools' sandbox: fixed, since e2fsprogs and mtools read `?` and `@@` in names. */
const INSIDE = '/run/ingot/disk.raw';

/**
 * @throws IngotError NOT_ROOT, USAGE (an output that cannot be), DISK_FULL, DISK_FAILED, INTERRUPTED.
 */
export async function createDisk(options: CreateDiskOptions): Promise<CreatedDisk> {
  const { image, format, store, reporter, signal } = options;
  const output = resolve(options.output);
  await requireDiskPlace(output);
  // Content takes more than its compressed layers: what is too small for those is too small.
  checkSize(options.size, minimumDiskSize(compressedBytes(image)));
  if (process.getuid?.() !== 0) {
    throw new IngotError('NOT_ROOT', 'only root can write files of other owners into a disk', {
      hint: 'run the same command as root, for example with sudo',
    });
  }

  const tools = new DiskTools(options.toolsRoot, signal);
  const identity = newDiskIdentity(randomUUID);
  await using cleanup = new AsyncDisposableStack();
  const scratch = cleanup.use(await store.scratch('disk'));
  const system = await deployImage(image, scratch.path, identity, tools, reporter);

  const [rootBytes, bootBytes] = await Promise.all([treeBytes(system.sysroot), treeBytes(system.boot)]);
  checkSize(options.size, minimumDiskSize(rootBytes));
  const layout = layOutDisk(options.size ?? defaultDiskSize(rootBytes), identity);
  if (bootBytes > layout.boot.size * 0.9) {
    throw new IngotError(
      'DISK_FAILED',
      `kernel and initramfs take ${formatBytes(bootBytes)}, more than /boot holds (${formatBytes(layout.boot.size)})`,
    );
  }
  await checkFreeSpace(dirname(output), rootBytes + bootBytes);

  const unfinished = join(dirname(output), `.${basename(output)}.${randomUUID()}.tmp`);
  cleanup.defer(() => rm(unfinished, { force: true }));
  const raw = format === 'raw' ? unfinished : join(scratch.path, 'disk.raw');
  await reporter.stage('Write file systems', async (stage) => {
    await asDiskFailure(makeSparseFile(raw, layout.size));
    await writeFileSystems(raw, layout, system, tools);
    await writeEfiSystemPartition(
      { path: raw, target: INSIDE, inside: INSIDE },
      layout,
      identity,
      scratch.path,
      tools,
    );
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

function checkSize(size: number | undefined, minimum: number): void {
  if (size === undefined || size >= minimum) return;
  throw new IngotError('USAGE', `a disk of ${formatBytes(size)} is too small for this image`, {
    hint: `give --size ${Math.ceil(minimum / MIB)}MiB or more, or leave --size out`,
  });
}

async function checkFreeSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= bytes) return;
  throw new IngotError(
    'DISK_FULL',
    `the disk takes ${formatBytes(bytes)}, and ${folder} has ${formatBytes(bavail * bsize)} left`,
    { hint: 'free some space, or give an --output elsewhere' },
  );
}

/**
 * 0600: a disk holds password hashes and whatever secrets its image has. Never what stands there already: in a folder
 * that others write to, that may be a link to anywhere.
 */
async function makeSparseFile(path: string, size: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(size);
  } finally {
    await file.close();
  }
}

async function writeFileSystems(
  raw: string,
  layout: DiskLayout,
  system: DeployedSystem,
  tools: DiskTools,
): Promise<void> {
  const disk = { path: raw, target: INSIDE };
  const { boot, root } = layout;
  await tools.run(sfdiskWriteArgv(INSIDE), [disk], {}, { stdin: renderSfdiskScript(layout.table) });
  const reading = { capabilities: ['DAC_READ_SEARCH'] };
  await tools.run(
    mke2fsArgv({
      file: INSIDE,
      offset: boot.offset,
      size: boot.size,
      label: 'boot',
      uuid: system.identity.bootUuid,
      // Features that GRUB's ext4 reader may not know.
      features: ['^metadata_csum_seed', '^orphan_file'],
      reservedPercent: 0,
      directory: system.boot,
    }),
    [disk, { path: system.boot, readOnly: true }],
    reading,
  );
  await tools.run(
    mke2fsArgv({
      file: INSIDE,
      offset: root.offset,
      size: root.size,
      label: 'root',
      uuid: system.identity.rootUuid,
      // For a composefs root, whose files are checked by fs-verity.
      features: ['verity'],
      reservedPercent: 1,
      directory: system.sysroot,
    }),
    [disk, { path: system.sysroot, readOnly: true }],
    reading,
  );
  await makeImmutable(root.offset, system.deploymentPath, disk, tools);
}

/** ostree marks each deployment's root immutable, so that nothing can be put beside /usr. Do as it does. */
async function makeImmutable(
  offset: number,
  path: string,
  disk: { readonly path: string; readonly target: string },
  tools: DiskTools,
): Promise<void> {
  const debugfs = async (request: string, write: boolean): Promise<string> => {
    const { stdout, stderr } = await tools.run(debugfsArgv(INSIDE, offset, request, write), [disk]);
    const complaint = parseDebugfsError(stderr);
    if (complaint !== undefined) throw new IngotError('DISK_FAILED', `debugfs ${request}: ${complaint}`);
    return stdout;
  };
  const flags = parseInodeFlags(await debugfs(`stat /${path}`, false));
  if (flags === undefined) throw new IngotError('DISK_FAILED', `debugfs shows no flags of /${path}`);
  await debugfs(`set_inode_field /${path} flags 0x${(flags | IMMUTABLE_FLAG).toString(16)}`, true);
}

/** Durable first, then visible under its name. */
async function publish(unfinished: string, output: string): Promise<void> {
  const file = await open(unfinished, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(unfinished, output);
  await syncDirectory(dirname(output));
}
