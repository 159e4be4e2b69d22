/** Archives that were begun with a package and finished with its tree are those that packing the tree gives. */
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { divideEntries } from './divide.ts';
import { GrowingArchive, NoArchive, type GrowingFile } from './growing-archive.ts';
import { LayerBlobWriter, type LayerBlob } from './layer-blob.ts';
import type { TarEntry } from './tar-header.ts';
import { streamEntries } from './tar-stream.ts';
import { walkTree, type TreeEntry } from './tree-walk.ts';

const BLOCK_BYTES = 4096;
const EPOCH = 2_000_000_000;
const TIME = 1_500_000_000;
const LARGE = Buffer.alloc(3 * BLOCK_BYTES + 5, 'large ');
let folder: string;
let tree: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot growing-ü-'));
  tree = join(folder, 'tree');
  for (const path of ['usr/lib/sysimage', 'usr/share']) mkdirSync(join(tree, path), { recursive: true });
  put('usr/lib/large', LARGE);
  put('usr/lib/small', 'small');
  put('usr/lib/sysimage/list', 'written by dpkg');
  put('usr/share/empty', '');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

function put(path: string, contents: string | Buffer): void {
  writeFileSync(join(tree, path), contents);
  utimesSync(join(tree, path), TIME, TIME);
}

const common = { mode: 0o644, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtime: TIME };
const directory = (path: string): TarEntry => ({
  ...common,
  path,
  type: 'directory',
  mode: lstatSync(join(tree, path)).mode & 0o7777,
});
const file = (path: string, size: number): TarEntry & { type: 'file' } => ({ ...common, path, type: 'file', size });

function growing(path: string, there: number): GrowingFile {
  const fd = openSync(join(tree, path), 'r');
  const progress = new SharedArrayBuffer(8);
  new BigInt64Array(progress)[0] = BigInt(there);
  return { fd, inode: fstatSync(fd).ino, progress };
}

/** As the tree has them. */
function entries(filesFrom: number | undefined): { entries: readonly TreeEntry[]; time: number } {
  const attributes = { kept: () => undefined, isOpaque: () => false };
  const [chunk, large] = divideEntries(walkTree(tree, { epoch: EPOCH, attributes }), {
    chunks: [{ name: 'package' }, { name: 'package:files' }],
    chunksOf: (path) => [filesFrom !== undefined && path === 'usr/lib/large' ? 1 : 0],
  });
  const wanted = filesFrom === undefined ? chunk : large;
  if (wanted === undefined) throw new Error('no chunk');
  return wanted;
}

function writer(name: string): { fd: number; level: number; onProgress: () => void } {
  return { fd: openSync(join(folder, name), 'w'), level: 3, onProgress: () => undefined };
}

function packed(filesFrom: number | undefined): LayerBlob {
  const options = writer('packed');
  const blob = new LayerBlobWriter(options);
  const chunk = entries(filesFrom);
  streamEntries(chunk.entries, chunk.time, Buffer.alloc(BLOCK_BYTES), blob);
  closeSync(options.fd);
  return blob.finish();
}

function grown(filesFrom: number | undefined, change: () => void = () => undefined): LayerBlob {
  const options = writer('grown');
  const block = Buffer.alloc(BLOCK_BYTES);
  try {
    const archive = new GrowingArchive({ ...options, block, epoch: EPOCH, filesFrom });
    for (const path of ['usr', 'usr/lib']) archive.add(directory(path));
    archive.addGrowing(file('usr/lib/large', LARGE.length), growing('usr/lib/large', LARGE.length));
    archive.add(file('usr/lib/small', 5), Buffer.from('small'));
    archive.add(directory('usr/share'));
    archive.add(file('usr/share/empty', 0), Buffer.alloc(0));
    archive.pause();
    block.fill('others use it meanwhile');
    change();
    const chunk = entries(filesFrom);
    return archive.finish(chunk.entries, chunk.time, block);
  } finally {
    closeSync(options.fd);
  }
}

describe.each([
  ['a whole package', undefined],
  ['its large files', BLOCK_BYTES],
])('%s', (_what, filesFrom) => {
  test('is archived to the bit as from the tree', () => {
    expect(grown(filesFrom)).toEqual(packed(filesFrom));
  });

  test.each([
    ['another file in its place', () => { rmAndPut('usr/lib/large', LARGE); }],
    ['another time', () => { utimesSync(join(tree, 'usr/lib/large'), TIME, TIME + 1); }],
    ['a file before it', () => { put('usr/lib/added', LARGE); }],
  ])('is not when the tree has %s', (_change, change) => {
    if (_change === 'a file before it' && filesFrom !== undefined) return; // it is of another chunk
    expect(() => grown(filesFrom, change)).toThrow(NoArchive);
  });
});

function rmAndPut(path: string, contents: Buffer): void {
  put(`${path}.other`, contents); // beside the first one, so that it cannot have its inode
  renameSync(join(tree, `${path}.other`), join(tree, path));
}

test('small files are compared by what is in them', () => {
  expect(() => grown(undefined, () => { put('usr/lib/small', 'SMALL'); })).toThrow('other contents');
});

test('a writer that gives up ends the wait, and the file is closed', () => {
  const archive = new GrowingArchive({ ...writer('blob'), block: Buffer.alloc(BLOCK_BYTES), epoch: EPOCH });
  const broken = growing('usr/lib/large', -1);
  expect(() => { archive.addGrowing(file('usr/lib/large', LARGE.length), broken); }).toThrow(NoArchive);
  expect(() => fstatSync(broken.fd)).toThrow('EBADF');
});

test('what is newer than the lock has no time of its own', () => {
  const archive = new GrowingArchive({ ...writer('blob'), block: Buffer.alloc(BLOCK_BYTES), epoch: TIME - 1 });
  expect(() => { archive.add(file('usr/lib/small', 5), Buffer.from('small')); }).toThrow('newer than the lock');
});
