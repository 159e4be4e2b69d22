/**
 * Reads files of an ISO 9660 file system (ECMA-119) off a device or a file, by their plain ISO names. The installer
 * needs two of them, and so neither a mount nor the kernel's module for it.
 */
import type { FileHandle } from 'node:fs/promises';

import { IngotError } from '../../errors.ts';

const SECTOR = 2048;
const DESCRIPTORS_AT = 16 * SECTOR;
const MAX_DESCRIPTORS = 32;
/** A folder of ours is one sector; what claims to be large is damaged. */
const MAX_FOLDER_BYTES = 1024 * 1024;
const CHUNK = 1024 * 1024;

interface Extent {
  readonly offset: number;
  readonly size: number;
}

export interface IsoFile {
  readonly size: number;
  /** One after the other. */
  readonly extents: readonly Extent[];
}

interface FolderRecord extends Extent {
  readonly name: string;
  readonly isFolder: boolean;
}

/** Whether this could be an ISO 9660 file system at all. */
export async function isIso(device: FileHandle): Promise<boolean> {
  return (await primaryDescriptor(device)) !== undefined;
}

/**
 * A file by its path, such as `/INGOT/DISK.ZST`; undefined when it is not there.
 *
 * @throws IngotError DISK_FAILED for a damaged file system
 */
export async function findIsoFile(device: FileHandle, path: string): Promise<IsoFile | undefined> {
  const descriptor = await primaryDescriptor(device);
  if (descriptor === undefined) return undefined;
  let folder: Extent = parseRecord(descriptor.subarray(156, 190));
  const names = path.split('/').slice(1);
  for (const [depth, name] of names.entries()) {
    const records = (await readFolder(device, folder)).filter((record) => record.name === name);
    if (depth === names.length - 1) {
      const extents = records.filter(({ isFolder }) => !isFolder);
      if (extents.length === 0) return undefined;
      return { size: extents.reduce((sum, { size }) => sum + size, 0), extents };
    }
    const next = records.find(({ isFolder }) => isFolder);
    if (next === undefined) return undefined;
    folder = next;
  }
  return undefined;
}

/** The bytes of a file. @throws IngotError DISK_FAILED when the medium ends before it */
export async function* readIsoFile(device: FileHandle, file: IsoFile): AsyncGenerator<Buffer> {
  for (const { offset, size } of file.extents) {
    for (let done = 0; done < size; done += CHUNK) {
      yield await readExactly(device, offset + done, Math.min(CHUNK, size - done));
    }
  }
}

/** ECMA-119, 8.4: the first descriptor of type 1. */
async function primaryDescriptor(device: FileHandle): Promise<Buffer | undefined> {
  for (let index = 0; index < MAX_DESCRIPTORS; index++) {
    const sector = Buffer.alloc(SECTOR);
    const { bytesRead } = await device.read(sector, 0, SECTOR, DESCRIPTORS_AT + index * SECTOR);
    if (bytesRead < SECTOR || sector.toString('latin1', 1, 6) !== 'CD001') return undefined;
    if (sector[0] === 1 && sector.readUInt16LE(128) === SECTOR) return sector;
    if (sector[0] === 255) return undefined;
  }
  return undefined;
}

/** ECMA-119, 9.1. A record never crosses a sector; a length of 0 leads to the next one. */
async function readFolder(device: FileHandle, { offset, size }: Extent): Promise<FolderRecord[]> {
  if (size > MAX_FOLDER_BYTES) throw damaged();
  const bytes = await readExactly(device, offset, size);
  const records: FolderRecord[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes[at] ?? 0;
    if (length === 0) {
      at = (Math.floor(at / SECTOR) + 1) * SECTOR;
      continue;
    }
    if (length < 34 || at + length > bytes.length) throw damaged();
    records.push(parseRecord(bytes.subarray(at, at + length)));
    at += length;
  }
  return records;
}

function parseRecord(record: Buffer): FolderRecord {
  const nameLength = record[32] ?? 0;
  if (33 + nameLength > record.length) throw damaged();
  return {
    name: record.toString('latin1', 33, 33 + nameLength).replace(/;\d+$/, ''),
    offset: record.readUInt32LE(2) * SECTOR,
    size: record.readUInt32LE(10),
    isFolder: ((record[25] ?? 0) & 2) !== 0,
  };
}

async function readExactly(device: FileHandle, offset: number, size: number): Promise<Buffer> {
  const buffer = Buffer.alloc(size);
  for (let done = 0; done < size;) {
    const { bytesRead } = await device.read(buffer, done, size - done, offset + done);
    if (bytesRead === 0) throw damaged();
    done += bytesRead;
  }
  return buffer;
}

function damaged(): IngotError {
  return new IngotError('DISK_FAILED', 'the medium is damaged or cut short', {
    hint: 'write the ISO to it again, and compare it with the file',
  });
}
