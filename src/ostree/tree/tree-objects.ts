/**
 * The objects of an ostree repository that say what a tree is (ostree-core.h): `dirtree`, the names in a directory;
 * `dirmeta`, its owner, mode and extended attributes; `commit`. Each is a GVariant, stored under the SHA-256 of its bytes.
 */
import { hash } from 'node:crypto';

import type { DirectoryHeader } from '../tar-directories.ts';
import {
  array,
  bigEndian64,
  byteString,
  offsetBytes,
  readText,
  splitArray,
  splitEntry,
  splitTuple,
  text,
  tuple,
  variant,
} from './gvariant.ts';

/** 32 bytes. */
export type Checksum = Buffer;

export function checksumOf(bytes: Buffer): Checksum {
  return hash('sha256', bytes, 'buffer');
}

/** Of an object in the folder `objects`, from its own. */
export function objectPath(checksum: Checksum, kind: 'dirtree' | 'dirmeta' | 'commit' | 'file'): string {
  const hex = checksum.toString('hex');
  return `${hex.slice(0, 2)}/${hex.slice(2)}.${kind}`;
}

export interface DirectoryEntry {
  readonly tree: Checksum;
  readonly meta: Checksum;
}

export interface DirectoryTree {
  readonly files: ReadonlyMap<string, Checksum>;
  readonly directories: ReadonlyMap<string, DirectoryEntry>;
}

/** `(a(say)a(sayay))`. @throws RangeError for what is none */
export function parseDirectoryTree(bytes: Buffer): DirectoryTree {
  const [files = Buffer.alloc(0), directories = Buffer.alloc(0)] = splitTuple(bytes, 2);
  const checksum = (value: Buffer | undefined): Checksum => {
    if (value?.length !== 32) throw new RangeError('a checksum is not 32 bytes');
    return value;
  };
  return {
    files: new Map(
      splitArray(files).map((entry) => {
        const [name = Buffer.alloc(0), file] = splitTuple(entry, 2);
        return [readText(name), checksum(file)];
      }),
    ),
    directories: new Map(
      splitArray(directories).map((entry) => {
        const [name = Buffer.alloc(0), tree, meta] = splitTuple(entry, 3);
        return [readText(name), { tree: checksum(tree), meta: checksum(meta) }];
      }),
    ),
  };
}

/** Names are sorted by their bytes. */
export function renderDirectoryTree({ files, directories }: DirectoryTree): Buffer {
  const entries = <T>(of: ReadonlyMap<string, T>): (readonly [Buffer, T])[] =>
    [...of]
      .map(([name, value]) => [Buffer.from(`${name}\0`), value] as const)
      .sort(([one], [other]) => Buffer.compare(one, other));
  return tuple([
    array(entries(files).map(([name, file]) => tuple([byteString(name), byteString(file)]))),
    array(
      entries(directories).map(([name, { tree, meta }]) =>
        tuple([byteString(name), byteString(tree), byteString(meta)]),
      ),
    ),
  ]).bytes;
}

const FORMAT_BITS = 0o170_000;
const DIRECTORY_BITS = 0o040_000;
/** Owner, group and mode, with the high byte first; behind them the extended attributes. */
const META_HEAD_BYTES = 12;

/** @throws RangeError for what is none */
export function parseDirectoryMeta(bytes: Buffer): DirectoryHeader {
  if (bytes.length < META_HEAD_BYTES || (bytes.readUInt32BE(8) & FORMAT_BITS) !== DIRECTORY_BITS) {
    throw new RangeError('this is not the metadata of a directory');
  }
  return { uid: bytes.readUInt32BE(0), gid: bytes.readUInt32BE(4), mode: bytes.readUInt32BE(8) & 0o7777 };
}

/** The same metadata with another owner and mode. */
export function changeDirectoryMeta(bytes: Buffer, { uid, gid, mode }: DirectoryHeader): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt32BE(uid, 0);
  changed.writeUInt32BE(gid, 4);
  changed.writeUInt32BE((DIRECTORY_BITS | mode) >>> 0, 8);
  return changed;
}

export interface CommitObject extends DirectoryEntry {
  readonly subject: string;
  /** Seconds since the epoch. */
  readonly timestamp: number;
  readonly texts: Readonly<Record<string, string>>;
  /** Release of the kernel that it boots. */
  readonly kernel: string;
  /** Branches that may name it. */
  readonly refs: readonly string[];
}

/** `(a{sv}aya(say)sstayay)`, of a tree that boots. */
export function renderCommit(commit: CommitObject): Buffer {
  const { subject, timestamp, texts, kernel, refs, tree, meta } = commit;
  const values = new Map([
    ...Object.entries(texts).map(([key, value]) => [key, variant(text(value), 's')] as const),
    ['ostree.bootable', variant(byteString(Buffer.from([1])), 'b')],
    ['ostree.linux', variant(text(kernel), 's')],
    ['ostree.ref-binding', variant(array(refs.map((ref) => text(ref))), 'as')],
  ]);
  const metadata = array(
    [...values].map(([key, value]) => tuple([text(key), value])),
    8,
  );
  const none = byteString(Buffer.alloc(0));
  return tuple([
    metadata,
    none, // parent
    none, // related objects
    text(subject),
    text(''),
    bigEndian64(timestamp),
    byteString(tree),
    byteString(meta),
  ]).bytes;
}

/** The root of a commit. @throws RangeError for what is none */
export function parseCommitRoot(bytes: Buffer): DirectoryEntry {
  // The last two members are checksums; where the first of them ends is the first of the six offsets.
  const size = offsetBytes(bytes.length);
  const bodyEnd = bytes.length - 6 * size;
  const treeEnd = bodyEnd < 64 ? 0 : bytes.readUIntLE(bodyEnd, size);
  if (treeEnd < 32 || bodyEnd - treeEnd !== 32) throw new RangeError('this is not a commit');
  return { tree: bytes.subarray(treeEnd - 32, treeEnd), meta: bytes.subarray(treeEnd, bodyEnd) };
}

/** The metadata of a commit that is text, by key. @throws RangeError for what is none */
export function parseCommitTexts(bytes: Buffer): ReadonlyMap<string, string> {
  // The metadata comes first, and where it ends is the last of the offsets.
  const size = offsetBytes(bytes.length);
  const end = bytes.length < size ? -1 : bytes.readUIntLE(bytes.length - size, size);
  if (end < 0 || end > bytes.length) throw new RangeError('this is not a commit');
  const texts = new Map<string, string>();
  for (const entry of splitArray(bytes.subarray(0, end), 8)) {
    const { key, value, type } = splitEntry(entry);
    if (type === 's') texts.set(key, readText(value));
  }
  return texts;
}
