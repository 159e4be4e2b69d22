import { appendFileSync, lstatSync, truncateSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { streamEntries } from './tar-stream.ts';
import type { TreeEntry } from './tree-walk.ts';

const BLOCK_BYTES = 4096;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot stream-ü-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function fileOf(bytes: number): Promise<{ readonly path: string; readonly entry: TreeEntry }> {
  const path = join(folder, 'log');
  await writeFile(path, Buffer.alloc(bytes, 'ingot '));
  const { size, ino: inode, mtimeMs } = lstatSync(path);
  const entry = { path: 'log', type: 'file', size, mode: 0o644, uid: 0, gid: 0, mtime: 1 } as const;
  return { path, entry: { entry, dated: true, source: { absolute: path, size, inode, mtimeMs } } };
}

/** What is taken, and `then` done after each block. */
function stream(entry: TreeEntry, then: () => void = () => undefined): number[] {
  const lengths: number[] = [];
  const take = (block: Buffer): void => {
    lengths.push(block.length);
    then();
  };
  streamEntries([entry], 0, Buffer.alloc(BLOCK_BYTES), { take });
  return lengths;
}

describe('streamEntries', () => {
  test('gives full blocks, and what is left', async () => {
    const { entry } = await fileOf(2 * BLOCK_BYTES);
    expect(stream(entry)).toEqual([BLOCK_BYTES, BLOCK_BYTES, 512 + 1024]); // header and end
  });

  test.each([
    ['grows', (path: string) => { appendFileSync(path, 'more'); }],
    ['shrinks', (path: string) => { truncateSync(path, 10); }],
  ])('refuses a file that %s while it is read', async (_how, change) => {
    const { path, entry } = await fileOf(4 * BLOCK_BYTES);
    expect(() => stream(entry, () => { change(path); })).toThrow('log changed while it was archived');
  });

  test('refuses another file in its place, of the same size', async () => {
    const { path, entry } = await fileOf(10);
    await writeFile(`${path}.new`, Buffer.alloc(10));
    await rename(`${path}.new`, path);
    expect(() => stream(entry)).toThrow('log changed while it was archived');
  });
});
