/**
 * Writes what a medium carries to a disk. The partition table comes last: until then the disk has none, so that a
 * machine which loses power in between starts nothing half written from it, and the next run begins anew.
 */
import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

import { errnoOf, IngotError } from '../../errors.ts';
import { decompressZstd } from '../../oci/zstd-frames.ts';
import type { DiskTools } from '../../ostree/disk-tools.ts';
import { formatBytes } from '../../report/format.ts';
import type { Reporter } from '../../report/events.ts';
import { blockdevFlushArgv } from '../../tools/blockdev.ts';
import { fatUuid } from '../../tools/dosfstools.ts';
import { e2fsckArgv, resize2fsArgv, tune2fsUuidArgv } from '../../tools/mke2fs.ts';
import { renderSfdiskScript, sfdiskWriteArgv } from '../../tools/sfdisk.ts';
import { layOutDisk, MIB, newDiskIdentity, type DiskIdentity, type DiskLayout } from '../layout.ts';
import { CLAIM_OFFSET, renderClaim, type Claim } from './claim.ts';
import { findIsoFile, readIsoFile } from './iso-files.ts';
import { PAYLOAD_FILE, PIECE_BYTES, type Medium } from './medium.ts';
import { inPieces, isZero, readPiece, writePiece } from './pieces.ts';

export interface WriteOptions {
  readonly medium: Medium;
  /** Digest of the medium's description. */
  readonly mediumDigest: string;
  /** Open on what the medium lies on. */
  readonly source: FileHandle;
  /** Device node of the disk. */
  readonly path: string;
  readonly size: number;
  readonly tools: DiskTools;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The disk has been looked at, and may be overwritten.
 *
 * @returns the disk's new identity
 * @throws IngotError DISK_FAILED when writing fails or what is read back is not what was written; INTERRUPTED
 */
export async function writeSystem(options: WriteOptions): Promise<DiskIdentity> {
  const { medium, path, size, tools, reporter } = options;
  const identity = newDiskIdentity(randomUUID);
  // As with the disk that is carried: a whole number of MiB, which ends where the device does or before.
  const layout = layOutDisk(Math.floor(size / MIB) * MIB, identity);
  const claim: Claim = { medium: options.mediumDigest, image: medium.image.digest, state: 'installing' };
  const disk = await open(path, constants.O_RDWR);
  try {
    await asWriteFailure(clearTables(disk, size, claim));
    await reporter.stage('Write disk', async (stage) => {
      await asWriteFailure(
        writePieces(options, disk, (done) => {
          stage.progress(done, medium.size, 'bytes');
        }),
      );
      await asWriteFailure(flush(disk, path, tools));
      stage.detail(formatBytes(medium.pieces.length * PIECE_BYTES));
    });
    await reporter.stage('Verify disk', () => verifyPieces(options, disk));
    await reporter.stage('Give the disk its own identity', async () => {
      await asWriteFailure(applyPatches(medium, identity, disk, layout));
      await asWriteFailure(flush(disk, path, tools));
      await adaptFileSystems(path, layout, identity, tools);
    });
    const script = { stdin: renderSfdiskScript(layout.table) };
    await tools.run(sfdiskWriteArgv(path), [{ path, device: true }], {}, script);
    await asWriteFailure(writeClaim(disk, { ...claim, state: 'installed' }));
    await asWriteFailure(flush(disk, path, tools));
    return identity;
  } finally {
    await disk.close();
  }
}

/** From the first write on nothing of what was there can be started; the claim says that this is ours to redo. */
async function clearTables(disk: FileHandle, size: number, claim: Claim): Promise<void> {
  const first = Buffer.alloc(MIB);
  renderClaim(claim).copy(first, CLAIM_OFFSET);
  await disk.write(first, 0, MIB, 0);
  await disk.write(Buffer.alloc(MIB), 0, MIB, size - MIB);
  await disk.sync();
}

async function writeClaim(disk: FileHandle, claim: Claim): Promise<void> {
  const bytes = renderClaim(claim);
  await disk.write(bytes, 0, bytes.length, CLAIM_OFFSET);
}

/** Every piece between the tables: what is carried, and zeros where the disk has something else. */
async function writePieces(
  { medium, source, signal }: WriteOptions,
  disk: FileHandle,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const file = await findIsoFile(source, PAYLOAD_FILE);
  if (file === undefined) throw new IngotError('DISK_FAILED', 'the medium does not hold the disk');
  const pieces = inPieces(decompressZstd(readIsoFile(source, file)));
  const carried = new Map(medium.pieces);
  const last = Math.floor(medium.size / PIECE_BYTES) - 1;
  const present = Buffer.alloc(PIECE_BYTES);
  const zero = Buffer.alloc(PIECE_BYTES);
  try {
    for (let number = 1; number < last; number++) {
      requireGoingOn(signal);
      const digest = carried.get(number);
      if (digest === undefined) {
        await readPiece(disk, number, present);
        if (!isZero(present)) await writePiece(disk, number, zero);
        continue;
      }
      const next = await pieces.next();
      if (next.done === true) throw damaged(`it ends before piece ${number}`);
      const piece = next.value;
      if (digestOf(piece) !== digest) throw damaged(`piece ${number} is not what its digest says`);
      await writePiece(disk, number, piece);
      onProgress(number * PIECE_BYTES);
    }
  } finally {
    await pieces.return(undefined);
  }
}

async function verifyPieces({ medium, signal }: WriteOptions, disk: FileHandle): Promise<void> {
  const carried = new Map(medium.pieces);
  const last = Math.floor(medium.size / PIECE_BYTES) - 1;
  const present = Buffer.alloc(PIECE_BYTES);
  for (let number = 1; number < last; number++) {
    requireGoingOn(signal);
    await readPiece(disk, number, present);
    const digest = carried.get(number);
    if (digest === undefined ? isZero(present) : digestOf(present) === digest) continue;
    throw new IngotError('DISK_FAILED', `piece ${number} of the disk is not what was written to it`, {
      hint: 'the disk or its connection is failing: try another one',
    });
  }
}

/** Texts of the medium's identity become the disk's own; both are of one length, so that nothing moves. */
async function applyPatches(
  medium: Medium,
  identity: DiskIdentity,
  disk: FileHandle,
  layout: DiskLayout,
): Promise<void> {
  const texts = {
    boot: identity.bootUuid,
    root: identity.rootUuid,
    esp: fatUuid(identity.espVolumeId),
  };
  for (const { offset, of } of medium.patches) {
    const text = Buffer.from(texts[of]);
    await disk.write(text, 0, text.length, offset);
  }
  // The volume id of FAT32 stands in the boot sector and in its copy, whose number is at 50 (BPB_BkBootSec).
  const sector = Buffer.alloc(512);
  await disk.read(sector, 0, sector.length, layout.esp.offset);
  const id = Buffer.alloc(4);
  id.writeUInt32LE(Number.parseInt(identity.espVolumeId, 16));
  for (const copy of [0, sector.readUInt16LE(50)]) {
    await disk.write(id, 0, id.length, layout.esp.offset + copy * sector.length + 67);
  }
}

async function adaptFileSystems(
  path: string,
  { boot, root }: DiskLayout,
  identity: DiskIdentity,
  tools: DiskTools,
): Promise<void> {
  const disk = [{ path, device: true }];
  await tools.run(tune2fsUuidArgv(path, boot.offset, identity.bootUuid), disk);
  await tools.run(tune2fsUuidArgv(path, root.offset, identity.rootUuid), disk);
  await tools.run(resize2fsArgv(path, root.offset, root.size), disk);
  for (const { offset } of [boot, root]) await tools.run(e2fsckArgv(path, offset), disk);
}

/** Onto the disk, and out of the kernel's cache: what is read next comes from the disk. */
async function flush(disk: FileHandle, path: string, tools: DiskTools): Promise<void> {
  await disk.sync();
  await tools.run(blockdevFlushArgv(path), [{ path, device: true }], { capabilities: ['SYS_ADMIN'] });
}

function requireGoingOn(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while the disk was written');
}

function digestOf(piece: Uint8Array): string {
  return createHash('sha256').update(piece).digest('hex');
}

function damaged(what: string): IngotError {
  return new IngotError('DISK_FAILED', `the medium is damaged: ${what}`, {
    hint: 'write the ISO to it again, and compare it with the file',
  });
}

async function asWriteFailure<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof IngotError) throw error;
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    throw new IngotError('DISK_FAILED', `the disk cannot be written or read (${errno})`, { cause: error });
  }
}
