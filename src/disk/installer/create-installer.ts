/**
 * From an image to an ISO that installs it: the disk that `createDisk` would make, of the smallest size, carried as the
 * pieces of it that are not zero, and the image's kernel and initramfs to start the installer with.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';

import { makeAgent } from '../../agent/agent.ts';
import { digestOf } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import { asDiskFailure, DiskTools } from '../../ostree/disk-tools.ts';
import type { InstallableImage } from '../../ostree/import-image.ts';
import { run } from '../../proc/run.ts';
import { formatBytes } from '../../report/format.ts';
import type { Reporter } from '../../report/events.ts';
import type { Store } from '../../store/store.ts';
import { fatUuid, mkfsFatArgv } from '../../tools/dosfstools.ts';
import { mtoolsCopyInArgv, mtoolsMakeDirectoriesArgv } from '../../tools/mtools.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import { xorrisoArgv } from '../../tools/xorriso.ts';
import { EFI_PROGRAMS } from '../boot-loader.ts';
import { checkFreeSpace, publish, requireDiskPlace, requireRoot } from '../create-disk.ts';
import { type DeployedSystem, deployImage, STATEROOT } from '../deploy.ts';
import { layOutDisk, MIB, minimumDiskSize, newDiskIdentity, type DiskIdentity } from '../layout.ts';
import { treeBytes } from '../tree-bytes.ts';
import { makeSparseFile, requireBootFits, writeDisk } from '../write-disk.ts';
import { BOOT_FOLDER, consolesOf, renderInstallerMenu } from './boot-files.ts';
import { type Medium, MEDIUM_FILE, PAYLOAD_FILE, PIECE_BYTES } from './medium.ts';
import { findUsbDrivers } from './usb-drivers.ts';
import { inPieces, isZero, WordFinder } from './pieces.ts';
import { writeInstallerArchive } from './programs.ts';
import type { TargetRule } from './target.ts';

export interface CreateInstallerOptions {
  readonly image: InstallableImage;
  /** Replaced when it is there. */
  readonly output: string;
  /** Absent: the installer asks at the console. */
  readonly target?: TargetRule | undefined;
  readonly wipe: boolean;
  readonly then: Medium['then'];
  readonly seed?: string | undefined;
  /** Puts what else the node has from the start below a folder with its `var`. */
  readonly fill?: ((folder: string) => Promise<void>) | undefined;
  /** The product's own folder: the installer is this program. */
  readonly productRoot: string;
  readonly store: Store;
  readonly toolsRoot: ToolsRoot;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface CreatedInstaller {
  readonly path: string;
  readonly size: number;
  /** The smallest disk that it installs to. */
  readonly minimumSize: number;
  readonly digest: string;
  /** Whether it finds itself again when it was started from USB. */
  readonly usb: boolean;
}

const ESP_BYTES = 8 * MIB;
/** Of the signed GRUB: the one made for CDs looks for its menu where it was started from, and then on the medium. */
const CD_GRUB = 'usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed';
const VOLUME = 'INSTALLER';

/** @throws IngotError NOT_ROOT, USAGE, TOOL_MISSING, DISK_FULL, DISK_FAILED, ENVIRONMENT, INTERRUPTED */
export async function createInstaller(options: CreateInstallerOptions): Promise<CreatedInstaller> {
  const { image, store, reporter, signal, productRoot } = options;
  const output = resolve(options.output);
  await requireDiskPlace(output);
  requireRoot();
  const tools = new DiskTools(options.toolsRoot, signal);
  const identity = newDiskIdentity(randomUUID);
  await using cleanup = new AsyncDisposableStack();
  const scratch = cleanup.use(await store.scratch('installer'));
  const system = await deployImage(image, scratch.path, identity, tools, reporter, options.seed);
  await options.fill?.(join(system.sysroot, 'ostree/deploy', STATEROOT));
  const usb = await canUseUsb(system, reporter);

  const [rootBytes, bootBytes] = await Promise.all([treeBytes(system.sysroot), treeBytes(system.boot)]);
  const layout = layOutDisk(minimumDiskSize(rootBytes), identity);
  requireBootFits(bootBytes, layout);
  const raw = join(scratch.path, 'disk.raw');
  await reporter.stage('Write file systems', async (stage) => {
    await writeDisk(raw, layout, system, scratch.path, tools);
    stage.detail(`${formatBytes(layout.size)} disk, ${formatBytes(rootBytes + bootBytes)} used`);
  });

  const tree = join(scratch.path, 'medium');
  const inTree = (path: string): string => join(tree, path.toLowerCase());
  await mkdir(join(tree, BOOT_FOLDER), { recursive: true });
  const carried = await reporter.stage('Compress disk', async (stage) => {
    const result = await asDiskFailure(packDisk(raw, inTree(PAYLOAD_FILE), layout.size, identity, signal));
    stage.detail(formatBytes((await stat(inTree(PAYLOAD_FILE))).size));
    return result;
  });
  const medium: Medium = {
    schemaVersion: 1,
    id: randomUUID(),
    image: { name: image.name, version: image.version, digest: image.digest },
    size: layout.size,
    identity: { bootUuid: identity.bootUuid, rootUuid: identity.rootUuid, espVolumeId: identity.espVolumeId },
    ...carried,
    ...(options.target !== undefined && { target: options.target }),
    wipe: options.wipe,
    then: options.then,
  };
  const description = `${JSON.stringify(medium)}\n`;
  const digest = digestOf(description);
  await writeFile(inTree(MEDIUM_FILE), description);

  const unfinished = join(dirname(output), `.${basename(output)}.${randomUUID()}.tmp`);
  cleanup.defer(() => rm(unfinished, { force: true }));
  await reporter.stage('Write installer', async (stage) => {
    const entry = await readBootEntry(system.boot);
    await copyFile(join(system.boot, entry.linux), join(tree, BOOT_FOLDER, 'vmlinuz'));
    await copyFile(join(system.boot, entry.initrd), join(tree, BOOT_FOLDER, 'initramfs.img'));
    const agent = await makeAgent(productRoot, 'amd64', signal);
    const node = join(scratch.path, 'node');
    await writeFile(node, agent.files.find(({ name }) => name === 'node')?.data ?? '', { mode: 0o755 });
    await asDiskFailure(writeInstallerArchive(join(tree, BOOT_FOLDER, 'installer.img'), agent, node, tools));
    await writeFile(join(tree, BOOT_FOLDER, medium.id), '');
    const menu = renderInstallerMenu({ image, digest, id: medium.id, consoles: consolesOf(entry.options) });
    const efiImage = await writeBootImage(scratch.path, tree, menu, tools);
    await checkFreeSpace(dirname(output), await treeBytes(tree));
    await asDiskFailure(makeSparseFile(unfinished, 0));
    await asDiskFailure(run(xorrisoArgv({ tree, output: unfinished, volume: VOLUME, efiImage }), { signal }));
    stage.detail(formatBytes((await stat(unfinished)).size));
  });
  await asDiskFailure(publish(unfinished, output));
  const { size } = await stat(output);
  return { path: output, size, minimumSize: layout.size, digest, usb };
}

/** Whether the image's kernel reads sticks and emulated drives, as a warning if not: firmware does, and starts it. */
async function canUseUsb(
  { sysroot, deploymentPath }: Pick<DeployedSystem, 'sysroot' | 'deploymentPath'>,
  reporter: Reporter,
): Promise<boolean> {
  const { kernel, missing } = await findUsbDrivers(join(sysroot, deploymentPath, 'usr/lib/modules'));
  if (missing.length === 0) return true;
  reporter.warning(
    `the kernel ${kernel} has no ${missing.join(' and no ')}: started from a stick, or from a drive that a ` +
      'management controller emulates, the installer does not find its medium; `kernel: generic` has drivers for both',
  );
  return false;
}

/** Packs what is not zero of a disk, and notes where its identity stands as text. */
async function packDisk(
  raw: string,
  payload: string,
  size: number,
  identity: DiskIdentity,
  signal: AbortSignal | undefined,
): Promise<Pick<Medium, 'pieces' | 'patches'>> {
  const pieces: [number, string][] = [];
  const words = { boot: identity.bootUuid, root: identity.rootUuid, esp: fatUuid(identity.espVolumeId) };
  const finder = new WordFinder(words);
  const stream = async function* (): AsyncGenerator<Buffer> {
    // The tables at both ends are the target's own.
    const source = createReadStream(raw, {
      start: PIECE_BYTES,
      end: size - PIECE_BYTES - 1,
      highWaterMark: PIECE_BYTES,
    });
    let number = 1;
    for await (const piece of inPieces(source)) {
      if (!isZero(piece)) {
        pieces.push([number, createHash('sha256').update(piece).digest('hex')]);
        finder.see(number * PIECE_BYTES, piece);
        yield piece;
      }
      number += 1;
    }
  };
  const compress = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 6 } });
  await pipeline(Readable.from(stream()), compress, createWriteStream(payload, { flags: 'wx' }), { signal });
  return { pieces, patches: finder.found };
}

export interface BootEntry {
  readonly linux: string;
  readonly initrd: string;
  readonly options: readonly string[];
}

/** The one boot entry of a disk that was just made (Boot Loader Specification, type 1). */
async function readBootEntry(boot: string): Promise<BootEntry> {
  const folder = join(boot, 'loader', 'entries');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.conf'));
  const [name] = names;
  if (name === undefined || names.length > 1) throw new TypeError('a new disk has one boot entry');
  return parseBootEntry(await readFile(join(folder, name), 'utf8'));
}

/** @throws IngotError DISK_FAILED without a kernel or an initramfs */
export function parseBootEntry(text: string): BootEntry {
  const values = new Map(
    text.split('\n').flatMap((line) => {
      const [, key, value] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [[key, value.trim()] as const];
    }),
  );
  const [linux, initrd] = [values.get('linux'), values.get('initrd')];
  if (linux === undefined || initrd === undefined) {
    throw new IngotError('DISK_FAILED', 'the image has no initramfs, and an installer starts from it', {
      output: text,
    });
  }
  return { linux, initrd, options: (values.get('options') ?? '').split(' ').filter((word) => word !== '') };
}

/** The FAT image that firmware starts from, and the menu beside it on the medium for when it was a CD. */
async function writeBootImage(
  scratch: string,
  tree: string,
  menu: string,
  tools: DiskTools,
): Promise<string> {
  const files = join(scratch, 'efi');
  const image = join(scratch, 'efi.img');
  const inside = '/run/ingot/efi.img';
  await mkdir(files);
  await mkdir(join(tree, 'boot/grub'), { recursive: true });
  await writeFile(join(tree, 'boot/grub/grub.cfg'), menu);
  await writeFile(join(files, 'grub.cfg'), menu);
  await makeSparseFile(image, ESP_BYTES);
  const binds = [
    { path: image, target: inside },
    { path: files, readOnly: true },
  ];
  const volumeId = randomUUID().slice(0, 8).toUpperCase();
  await tools.run(
    mkfsFatArgv({ file: inside, offset: 0, size: ESP_BYTES, label: 'INGOT', volumeId, fat: 16 }),
    binds,
  );
  await tools.run(mtoolsMakeDirectoriesArgv(inside, 0, ['/EFI', '/EFI/BOOT', '/boot', '/boot/grub']), binds);
  for (const { from, to } of EFI_PROGRAMS) {
    const name = basename(to);
    const source = name === 'grubx64.efi' ? CD_GRUB : from;
    await asDiskFailure(copyFile(join(tools.root.path, source), join(files, name)));
    await tools.run(mtoolsCopyInArgv(inside, 0, join(files, name), to), binds);
  }
  await tools.run(mtoolsCopyInArgv(inside, 0, join(files, 'grub.cfg'), '/boot/grub/grub.cfg'), binds);
  return image;
}
