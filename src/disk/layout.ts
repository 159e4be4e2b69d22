/**
 * Where everything lies on a node's disk. Pure.
 *
 *   1 MiB   EFI system partition  FAT32   64 MiB   shim and GRUB
 *           boot (XBOOTLDR)       ext4   512 MiB   kernels, initramfs, boot entries, GRUB's environment
 *           root                  ext4   the rest  ostree repository, deployments, /var
 *
 * libostree switches boot entries by renaming a link, so /boot cannot be FAT. Partition types are those of the
 * Discoverable Partitions Specification.
 */
import type { GptPartition, GptTable } from '../tools/sfdisk.ts';

export const MIB = 1024 ** 2;
export const GIB = 1024 ** 3;

const ESP_BYTES = 64 * MIB;
const BOOT_BYTES = 512 * MIB;
/** In front of the first partition, and for the backup table at the end. */
const MARGIN_BYTES = MIB;

const ESP_TYPE = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b';
const XBOOTLDR_TYPE = 'bc13c2ff-59e6-4262-a352-b275fd6f7172';
const ROOT_X86_64_TYPE = '4f68bce3-e8cd-4db1-96e7-fbcaf984b709';

/** Random per disk, so that two disks in one machine are never taken for each other. */
export interface DiskIdentity {
  readonly table: string;
  readonly partitions: { readonly esp: string; readonly boot: string; readonly root: string };
  /** File system UUIDs; the FAT one is eight hex digits. */
  readonly espVolumeId: string;
  readonly bootUuid: string;
  readonly rootUuid: string;
}

export interface DiskLayout {
  /** Bytes of the whole disk; whole MiB. */
  readonly size: number;
  readonly esp: GptPartition;
  readonly boot: GptPartition;
  readonly root: GptPartition;
  readonly table: GptTable;
}

/** Identity from a source of random UUIDs. */
export function newDiskIdentity(uuid: () => string): DiskIdentity {
  return {
    table: uuid(),
    partitions: { esp: uuid(), boot: uuid(), root: uuid() },
    espVolumeId: uuid().replaceAll('-', '').slice(0, 8).toUpperCase(),
    bootUuid: uuid(),
    rootUuid: uuid(),
  };
}

/** Lays out a disk of at least `size` bytes: it is rounded up to whole MiB. */
export function layOutDisk(size: number, identity: DiskIdentity): DiskLayout {
  const whole = Math.ceil(size / MIB) * MIB;
  let offset = MARGIN_BYTES;
  const next = (name: string, type: string, uuid: string, bytes: number): GptPartition => {
    const partition = { name, type, uuid, offset, size: bytes };
    offset += bytes;
    return partition;
  };
  const { partitions } = identity;
  const esp = next('esp', ESP_TYPE, partitions.esp, ESP_BYTES);
  const boot = next('boot', XBOOTLDR_TYPE, partitions.boot, BOOT_BYTES);
  const root = next('root', ROOT_X86_64_TYPE, partitions.root, whole - offset - MARGIN_BYTES);
  if (root.size < MIB) throw new RangeError(`no room for a root partition on ${size} bytes`);
  return { size: whole, esp, boot, root, table: { uuid: identity.table, partitions: [esp, boot, root] } };
}

/** What a root partition takes for `content` bytes: ext4's own tables and some room to write logs. */
function rootBytesFor(content: number): number {
  return Math.ceil(content * 1.08) + 128 * MIB;
}

const FIXED_BYTES = 2 * MARGIN_BYTES + ESP_BYTES + BOOT_BYTES;

/** The smallest disk that holds `content` bytes of root file system. */
export function minimumDiskSize(content: number): number {
  return Math.ceil((FIXED_BYTES + rootBytesFor(content)) / MIB) * MIB;
}

/** A disk with room for the next image beside this one and for the node's own data; whole GiB. */
export function defaultDiskSize(content: number): number {
  return Math.max(4 * GIB, Math.ceil((minimumDiskSize(content * 2) + GIB) / GIB) * GIB);
}
