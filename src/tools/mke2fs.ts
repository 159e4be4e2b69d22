/**
 * e2fsprogs 1.47: ext4 file systems made and changed inside a disk image, without mounting it.
 * Manuals: mke2fs(8), debugfs(8), e2fsck(8), tune2fs(8), resize2fs(8).
 */
import type { Argv } from '../proc/run.ts';

export interface Ext4Options {
  /** The disk image. */
  readonly file: string;
  /** Bytes from the start of the image. */
  readonly offset: number;
  readonly size: number;
  readonly label: string;
  readonly uuid: string;
  /** Features to switch on, or off with a leading `^`. */
  readonly features: readonly string[];
  /** Part of the space that is kept for root. */
  readonly reservedPercent: number;
  /** What it holds: owners, modes, times, extended attributes and hard links are kept. */
  readonly directory: string;
}

/** Writes a file system with content. Blocks that hold nothing stay holes of the image. */
export function mke2fsArgv(options: Ext4Options): Argv {
  return [
    'mke2fs',
    '-q',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-L',
    options.label,
    '-U',
    options.uuid,
    '-m',
    String(options.reservedPercent),
    '-O',
    options.features.join(','),
    '-E',
    `offset=${options.offset},root_owner=0:0`,
    '-d',
    options.directory,
    options.file,
    `${options.size / 1024}k`,
  ];
}

/** How e2fsprogs name a file system inside a larger file. */
function atOffset(file: string, offset: number): string {
  return `${file}?offset=${offset}`;
}

/** Runs one debugfs request. debugfs exits with 0 whatever happens: see `parseDebugfsError`. */
export function debugfsArgv(file: string, offset: number, request: string, write = false): Argv {
  return ['debugfs', ...(write ? ['-w'] : []), '-R', request, atOffset(file, offset)];
}

/** The first complaint in debugfs's stderr after its banner, or undefined. */
export function parseDebugfsError(stderr: string): string | undefined {
  return stderr.split('\n').find((line) => line !== '' && !/^debugfs \d/.test(line));
}

/** The inode flags in the output of the debugfs request `stat PATH`. */
export function parseInodeFlags(stdout: string): number | undefined {
  const flags = /\bFlags: (0x[0-9a-f]+)/i.exec(stdout)?.[1];
  return flags === undefined ? undefined : Number(flags);
}

/** EXT4_IMMUTABLE_FL */
export const IMMUTABLE_FLAG = 0x10;

/** Checks everything and changes nothing; exits with 0 when the file system is clean. */
export function e2fsckArgv(file: string, offset: number): Argv {
  return ['e2fsck', '-f', '-n', atOffset(file, offset)];
}

/** Gives a file system that is not mounted another UUID. Checksums that are seeded with the old one are made anew. */
export function tune2fsUuidArgv(file: string, offset: number, uuid: string): Argv {
  return ['tune2fs', '-U', uuid, atOffset(file, offset)];
}

/** Grows a file system that is not mounted to `size` bytes. */
export function resize2fsArgv(file: string, offset: number, size: number): Argv {
  return ['resize2fs', atOffset(file, offset), `${Math.floor(size / 4096)}`];
}
