import { appendFileSync, readFileSync } from 'node:fs';
import { link, mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { digestOf, hexOf } from '../../digest.ts';
import { run } from '../../proc/run.ts';
import { Store } from '../../store/store.ts';
import { FRAME_BYTES } from './layer-blob.ts';
import { packChunks, packTree } from './pack.ts';
import { deviceNumbers, sortByBytes } from './tree-walk.ts';

const EPOCH = 1_700_000_000;
let scratch: string;
let tree: string;
let store: Store;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot pack-ü-'));
  tree = join(scratch, 'tree');
  await mkdir(tree);
  store = await Store.open(join(scratch, 'store'));
});

afterEach(async () => {
  await rm(scratch, { recursive: true });
});

async function listing(hex: string): Promise<string[]> {
  const { stdout } = await run(['tar', '-t', '--quoting-style=literal', '-f', '-'], {
    stdin: zstdDecompressSync(readFileSync(store.blobPath(hex))),
  });
  return stdout.split('\n');
}

describe('packTree', () => {
  test('both digests and both sizes are of the bytes in the store', async () => {
    await writeFile(join(tree, 'file'), Buffer.alloc(3 * FRAME_BYTES + 17, 'ingot '));
    const layer = await packTree(store, tree, { epoch: EPOCH });
    const blob = readFileSync(store.blobPath(hexOf(layer.digest)));
    const plain = zstdDecompressSync(blob);
    expect(digestOf(blob)).toBe(layer.digest);
    expect(digestOf(plain)).toBe(layer.diffId);
    expect([layer.size, layer.uncompressedSize]).toEqual([blob.length, plain.length]);
    expect(layer.entries).toBe(1);
    expect(await readdir(store.path('tmp'))).toEqual([]);
  });

  test('an empty tree is an empty archive', async () => {
    const layer = await packTree(store, tree, { epoch: EPOCH });
    expect(layer).toMatchObject({ uncompressedSize: 1024, entries: 0 });
  });

  test('contents that end exactly at a block leave no empty frame', async () => {
    await writeFile(join(tree, 'file'), Buffer.alloc(FRAME_BYTES - 512 - 1024));
    const layer = await packTree(store, tree, { epoch: EPOCH });
    expect(layer.uncompressedSize).toBe(FRAME_BYTES);
  });

  test('lists depth first in byte order, links last, without the root and without ./', async () => {
    await mkdir(join(tree, 'b/inner'), { recursive: true });
    await writeFile(join(tree, 'b/inner/z'), '');
    await writeFile(join(tree, 'b.d'), '');
    await writeFile(join(tree, 'B'), '');
    await writeFile(join(tree, 'é'), '');
    await symlink('nowhere', join(tree, 'b/link'));
    const layer = await packTree(store, tree, { epoch: EPOCH });
    expect(await listing(hexOf(layer.digest))).toEqual([
      'B',
      'b/',
      'b/inner/',
      'b/inner/z',
      'b.d',
      'é',
      'b/link',
    ]);
  });

  test('does not depend on the order of creation, on times after the epoch, or on what is dropped', async () => {
    const names = ['one', 'two', 'three', 'ü'];
    const make = async (root: string, order: readonly string[], time: number): Promise<void> => {
      await mkdir(join(root, 'dir'), { recursive: true });
      for (const name of order) {
        await writeFile(join(root, 'dir', name), name);
        await utimes(join(root, 'dir', name), time, time);
      }
      await link(join(root, 'dir/one'), join(root, 'dir/zz'));
      await utimes(join(root, 'dir/one'), time, time);
      await mkdir(join(root, 'cache'));
      await writeFile(join(root, 'cache/x'), String(time));
    };
    await make(join(scratch, 'a'), names, EPOCH + 5);
    await make(join(scratch, 'b'), names.toReversed(), EPOCH + 900.5);
    const drop = (path: string): boolean => path === 'cache';
    const a = await packTree(store, join(scratch, 'a'), { epoch: EPOCH, drop });
    const b = await packTree(store, join(scratch, 'b'), { epoch: EPOCH, drop });
    expect(b).toEqual(a);
    expect(await listing(hexOf(a.digest))).toEqual([
      'dir/',
      'dir/one',
      'dir/three',
      'dir/two',
      'dir/zz',
      'dir/ü',
    ]);
  });

  test('a file that changed since it was listed fails the build and leaves nothing', async () => {
    const path = join(tree, 'log');
    await writeFile(path, Buffer.alloc(2 * FRAME_BYTES));
    const chunksOf = (): readonly number[] => {
      appendFileSync(path, 'more');
      return [];
    };
    const packing = packChunks(store, tree, { chunks: [{ name: 'all' }], chunksOf }, { epoch: EPOCH });
    await expect(packing).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: 'log changed while it was archived',
      hint: 'something still writes to the tree; end it before packing',
    });
    expect(await readdir(store.path('tmp'))).toEqual([]);
    expect(await readdir(store.path('blobs/sha256'))).toEqual([]);
  });

  test('an abort ends it and leaves nothing', async () => {
    await writeFile(join(tree, 'file'), Buffer.alloc(4 * FRAME_BYTES));
    const controller = new AbortController();
    const packing = packTree(store, tree, {
      epoch: EPOCH,
      signal: controller.signal,
      onProgress: () => {
        controller.abort();
      },
    });
    await expect(packing).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(store.path('tmp'))).toEqual([]);
  });

  test('refuses names that stand for removals', async () => {
    await writeFile(join(tree, '.wh.file'), '');
    await expect(packTree(store, tree, { epoch: EPOCH })).rejects.toMatchObject({ code: 'BUILD_FAILED' });
  });

  test('refuses names that are not UTF-8, and takes a real U+FFFD', async () => {
    await writeFile(join(tree, '\ufffd'), '');
    await packTree(store, tree, { epoch: EPOCH });
    await writeFile(Buffer.concat([Buffer.from(`${tree}/caf`), Buffer.from([0xe9])]), '');
    await expect(packTree(store, tree, { epoch: EPOCH })).rejects.toMatchObject({ code: 'BUILD_FAILED' });
  });

  test('refuses sockets unless they are dropped', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(tree, 's'), resolve));
    try {
      await expect(packTree(store, tree, { epoch: EPOCH })).rejects.toMatchObject({ code: 'BUILD_FAILED' });
      await packTree(store, tree, { epoch: EPOCH, drop: (path) => path === 's' });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

test('sortByBytes is the order of the encoded names', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary' })), (names) => {
      const expected = names.map((name) => Buffer.from(name)).sort(Buffer.compare.bind(Buffer));
      expect(sortByBytes([...names]).map((name) => Buffer.from(name))).toEqual(expected);
    }),
  );
});

test('deviceNumbers is the inverse of makedev', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xfff }), fc.integer({ min: 0, max: 0xfffff }), (major, minor) => {
      const rdev = ((minor & 0xff) | (major << 8)) + (minor >>> 8) * 2 ** 20;
      expect(deviceNumbers(rdev)).toEqual({ major, minor });
    }),
  );
});
