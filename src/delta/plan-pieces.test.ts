/** Which old files a new archive is told in terms of. */
import { describe, expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import { MAX_DICTIONARY_BYTES, MAX_PIECE_BYTES, type Piece } from './format.ts';
import { type ArchiveFile, OldFiles, planPieces, similarPath } from './plan-pieces.ts';

const LAYER = digestOf('old');
const OTHER = digestOf('other');
const BLOCK = 512;

/** Files one behind the other, each behind a header. */
function archiveOf(sizes: Readonly<Record<string, number>>): { files: ArchiveFile[]; size: number } {
  const files: ArchiveFile[] = [];
  let at = 0;
  for (const [path, size] of Object.entries(sizes)) {
    files.push({ path, offset: at + BLOCK, size });
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return { files, size: at + 2 * BLOCK };
}

function oldFiles(sizes: Readonly<Record<string, number>>): OldFiles {
  const old = new OldFiles();
  old.add(LAYER, archiveOf(sizes).files);
  return old;
}

const found = (old: OldFiles, path: string, size = 1): string | undefined => old.find({ path, size })?.path;

describe('an old file is found', () => {
  test('by its path, in the first layer that has it', () => {
    const old = oldFiles({ 'a/b': 10 });
    old.add(OTHER, [{ path: 'a/b', offset: 0, size: 20 }]);
    expect(old.find({ path: 'a/b', size: 20 })).toEqual({
      ...{ layer: LAYER, path: 'a/b', offset: 0, size: 10, begin: BLOCK },
    });
  });

  test('under the numbers of another release', () => {
    const old = oldFiles({ 'fw/535.261.03/gsp_ga10x.bin': 9, 'fw/535.261.03/gsp_tu10x.bin': 9 });
    expect(found(old, 'fw/535.274.02/gsp_tu10x.bin')).toBe('fw/535.261.03/gsp_tu10x.bin');
    expect(found(old, 'fw/535.274.02/gsp_ga10x.bin')).toBe('fw/535.261.03/gsp_ga10x.bin');
    expect(found(old, 'fw/535.274.02/gsp_ad10x.bin')).toBeUndefined();
    expect(similarPath('modules/6.12.41+deb13-amd64/x.ko')).toBe('modules/#+deb#-amd#/x.ko');
  });

  test('of several, with most numbers in common, then of the nearest size', () => {
    const old = oldFiles({ 'v1/lib.so.1': 500, 'v1/lib.so.2': 100, 'v3/lib.so.9': 300 });
    expect(found(old, 'v2/lib.so.1', 100)).toBe('v1/lib.so.1');
    expect(found(old, 'v2/lib.so.5', 290)).toBe('v3/lib.so.9');
  });

  test('and each its own, of thousands that numbers alone tell apart', () => {
    const sizes = Object.fromEntries(
      Array.from({ length: 5000 }, (_, index) => [`app-1.2/data/${index}.bin`, 64]),
    );
    const old = oldFiles(sizes);
    for (const index of [0, 64, 4999]) {
      expect(found(old, `app-1.3/data/${index}.bin`, 64)).toBe(`app-1.2/data/${index}.bin`);
    }
  });

  test('never without content', () => {
    expect(found(oldFiles({ empty: 0 }), 'empty')).toBeUndefined();
  });
});

describe('pieces', () => {
  /** One behind the other, and together all of it. */
  function requireWhole(pieces: readonly Piece[], size: number): void {
    let at = 0;
    for (const piece of pieces) {
      expect(piece.offset).toBe(at);
      expect(piece.size).toBeGreaterThan(0);
      expect(piece.size).toBeLessThanOrEqual(MAX_PIECE_BYTES);
      const dictionary = piece.from.reduce((sum, source) => sum + source.size, 0);
      expect(dictionary).toBeLessThanOrEqual(MAX_DICTIONARY_BYTES);
      at += piece.size;
    }
    expect(at).toBe(size);
  }

  test.each([
    ['nothing at all', {}],
    ['one small file', { a: 1 }],
    ['a file that fills a piece with its header', { a: MAX_PIECE_BYTES - BLOCK }],
    ['a file that fills a piece alone', { a: MAX_PIECE_BYTES }],
    ['a file that is cut', { before: 100, a: 3 * MAX_PIECE_BYTES + 7, after: 100 }],
    ['many files', Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`f${index}x`, 1e6]))],
  ])('hold all of an archive: %s', (_name, sizes) => {
    const { files, size } = archiveOf(sizes);
    requireWhole(planPieces(files, size, new OldFiles()), size);
    requireWhole(planPieces(files, size, oldFiles(sizes)), size);
  });

  test('hold what stands between files, however much it is', () => {
    const size = 5 * MAX_PIECE_BYTES;
    const file = { path: 'a', offset: size - 1024, size: 100 };
    requireWhole(planPieces([file], size, oldFiles({ a: 100 })), size);
  });

  test('of a large file are told by what stands about the same place in the old one', () => {
    const size = MAX_DICTIONARY_BYTES * 2;
    const { files, size: all } = archiveOf({ 'lib.so.2': size });
    const pieces = planPieces(files, all, oldFiles({ 'lib.so.1': size })).filter(
      ({ from }) => from.length > 0,
    );
    expect(pieces).toHaveLength(size / MAX_PIECE_BYTES);
    for (const [index, { from }] of pieces.entries()) {
      const [source] = from;
      expect(source).toMatchObject({ path: 'lib.so.1', size: MAX_DICTIONARY_BYTES });
      const begin = index * MAX_PIECE_BYTES;
      expect(source?.offset).toBeLessThanOrEqual(begin);
      expect((source?.offset ?? 0) + MAX_DICTIONARY_BYTES).toBeGreaterThanOrEqual(begin + MAX_PIECE_BYTES);
    }
  });

  test('name an old file once, however many are like it', () => {
    const { files, size } = archiveOf({ a1: 10, a2: 10, a3: 10 });
    expect(planPieces(files, size, oldFiles({ a0: 10 }))[0]?.from.map(({ path }) => path)).toEqual(['a0']);
  });

  test('end where old files would take more than a dictionary', () => {
    const { files, size } = archiveOf({ 'a/1': 1000, 'b/1': 1000 });
    const old = oldFiles({ 'a/1': MAX_DICTIONARY_BYTES - 10, 'b/1': 20 });
    expect(planPieces(files, size, old).map(({ from }) => from.map(({ path }) => path))).toEqual([
      ['a/1'],
      ['b/1'],
    ]);
  });
});
