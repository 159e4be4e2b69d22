import { describe, expect, test } from 'vitest';

import { divideEntries } from './divide.ts';
import type { TreeEntry } from './tree-walk.ts';

const common = { mode: 0o644, uid: 0, gid: 0 };
const directory = (path: string): TreeEntry => ({
  entry: { ...common, path, type: 'directory', mtime: 999 },
  dated: false,
});
const file = (path: string, mtime?: number, linked = false): TreeEntry => ({
  entry: { ...common, path, type: 'file', size: 0, mtime: mtime ?? 999 },
  dated: mtime !== undefined,
  linked,
});
const link = (path: string, target: string): TreeEntry => ({
  entry: { ...common, path, type: 'hardlink', target, mtime: 5 },
  dated: true,
});
const removal = (path: string): TreeEntry => ({ ...file(path), removal: true });

/** Chunk `one` has what is named `1`, `two` what is named `2`, the first all else. */
function divide(entries: readonly TreeEntry[]): { paths: Record<string, string[]>; times: number[] } {
  const chunks = divideEntries(entries, {
    chunks: [{ name: 'first', epoch: 50 }, { name: 'one' }, { name: 'two' }],
    chunksOf: (path) => [1, 2].filter((index) => path.split('/').at(-1)?.includes(String(index)) === true),
  });
  return {
    paths: Object.fromEntries(
      chunks.map(({ name, entries: own }) => [name, own.map(({ entry }) => entry.path)]),
    ),
    times: chunks.map(({ time }) => time),
  };
}

describe('divideEntries', () => {
  test('takes a directory into each chunk that has something below it, and an empty one to who wants it', () => {
    const { paths } = divide([
      directory('usr'),
      directory('usr/bin'),
      file('usr/bin/a1', 1),
      file('usr/bin/b2', 1),
      directory('usr/bin.d'),
      directory('usr/bin.d/nobody'),
      directory('usr/empty1'),
      directory('usr/lib'),
      file('usr/lib/c2', 1),
      file('usr/z', 1),
    ]);
    expect(paths).toEqual({
      first: ['usr', 'usr/bin.d', 'usr/bin.d/nobody', 'usr/z'],
      one: ['usr', 'usr/bin', 'usr/bin/a1', 'usr/empty1'],
      two: ['usr', 'usr/bin', 'usr/bin/b2', 'usr/lib', 'usr/lib/c2'],
    });
  });

  test('takes a directory that two chunks want into both, and a file into the first of them', () => {
    const { paths } = divide([directory('shared12'), file('shared12/file12', 1)]);
    expect(paths).toEqual({ first: [], one: ['shared12', 'shared12/file12'], two: ['shared12'] });
  });

  test('keeps the names of a hard-linked file together, whoever owns them', () => {
    const { paths } = divide([file('a', 1, true), file('b2', 1, true), link('c1', 'b2'), link('d1', 'a')]);
    expect(paths).toEqual({ first: ['a', 'd1'], one: [], two: ['b2', 'c1'] });
  });

  test('puts removals first, with their directories', () => {
    const { paths } = divide([directory('opt1'), removal('opt1/.wh..wh..opq'), file('opt1/x1', 1), removal('.wh.y2')]);
    expect(paths).toEqual({
      first: ['opt1', 'opt1/.wh..wh..opq', '.wh.y2'],
      one: ['opt1', 'opt1/x1'],
      two: [],
    });
  });

  test('dates a chunk by the first of its own files, unless it is told the time', () => {
    const { times } = divide([
      directory('d'),
      file('d/a1', 7),
      file('d/b1', 30),
      file('d/c1'),
      file('d/d2'),
      file('d/e', 40),
    ]);
    expect(times).toEqual([50, 7, 0]);
  });

  test('has links and the package database last', () => {
    const symlink: TreeEntry = {
      entry: { ...common, path: 'usr/lib/a1', type: 'symlink', target: 'b1', mtime: 3 },
      dated: true,
    };
    const { paths, times } = divide([
      directory('usr'),
      directory('usr/lib'),
      symlink,
      file('usr/lib/b1', 9),
      directory('usr/lib/sysimage'),
      file('usr/lib/sysimage/list1', 2),
      link('usr/lib/y1', 'usr/lib/a1'),
      file('usr/lib/z1', 4),
    ]);
    expect(paths['one']).toEqual([
      ...['usr', 'usr/lib', 'usr/lib/b1', 'usr/lib/z1'],
      ...['usr/lib/a1', 'usr/lib/sysimage', 'usr/lib/sysimage/list1', 'usr/lib/y1'],
    ]);
    expect(times[1]).toBe(9);
  });
});
