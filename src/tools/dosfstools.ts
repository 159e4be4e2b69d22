/** dosfstools 4.2. Manual: mkfs.fat(8). */
import type { Argv } from '../proc/run.ts';
import { SECTOR_BYTES } from './sfdisk.ts';

export interface FatOptions {
  readonly file: string;
  /** Bytes from the start of the image. */
  readonly offset: number;
  readonly size: number;
  readonly label: string;
  /** Eight hex digits. */
  readonly volumeId: string;
  /** Width of its entries: 16 for up to 32 MiB. Default: 32. */
  readonly fat?: 16 | 32;
}

/** Writes an empty FAT file system inside an image. One-sector clusters: FAT32 asks for at least 65525. */
export function mkfsFatArgv(options: FatOptions): Argv {
  return [
    'mkfs.fat',
    '-F',
    String(options.fat ?? 32),
    '-s',
    '1',
    '-S',
    String(SECTOR_BYTES),
    '-n',
    options.label,
    '-i',
    options.volumeId,
    `--offset=${options.offset / SECTOR_BYTES}`,
    options.file,
    String(options.size / 1024),
  ];
}

/** `1A2B3C4D` as the file system's UUID is written in fstab and by blkid: `1A2B-3C4D`. */
export function fatUuid(volumeId: string): string {
  return `${volumeId.slice(0, 4)}-${volumeId.slice(4)}`.toUpperCase();
}
