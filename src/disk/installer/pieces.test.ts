import fc from 'fast-check';
import { expect, test } from 'vitest';

import { PIECE_BYTES } from './medium.ts';
import { inPieces, isZero, WordFinder } from './pieces.ts';

const WORDS = { boot: '0b6c7f0e-0c44-4d3b-9d56-0b7b3f1e5a11', esp: '1A2B-3C4D' };

test('words are found once each, wherever a stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(WORDS.boot, WORDS.esp, 'x', '0b6c7f0e-', '1A2B'), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 30 }),
      (parts, cuts) => {
        const text = Buffer.from(parts.join('-'));
        const finder = new WordFinder(WORDS);
        for (let at = 0, index = 0; at < text.length; index++) {
          const length = cuts[index % cuts.length] ?? 1;
          finder.see(4096 + at, text.subarray(at, at + length));
          at += length;
        }
        const expected = [...text.toString().matchAll(new RegExp(Object.values(WORDS).join('|'), 'g'))].map(
          ({ index, 0: word }) => ({ offset: 4096 + index, of: word === WORDS.boot ? 'boot' : 'esp' }),
        );
        expect([...finder.found].sort((a, b) => a.offset - b.offset)).toEqual(expected);
      },
    ),
  );
});

test('a gap of zeros joins nothing', () => {
  const finder = new WordFinder({ esp: 'ab' });
  finder.see(0, Buffer.from('xa'));
  finder.see(100, Buffer.from('bx'));
  expect(finder.found).toEqual([]);
});

test('a stream is cut into whole pieces, and one that ends within is damaged', async () => {
  const source = function* (bytes: number): Generator<Buffer> {
    for (let left = bytes; left > 0; left -= 700_000) yield Buffer.alloc(Math.min(left, 700_000), 1);
  };
  const whole = await Array.fromAsync(inPieces(toAsync(source(2 * PIECE_BYTES))));
  expect(whole.map(({ length }) => length)).toEqual([PIECE_BYTES, PIECE_BYTES]);
  expect(whole.some(isZero)).toBe(false);
  await expect(Array.fromAsync(inPieces(toAsync(source(PIECE_BYTES + 1))))).rejects.toMatchObject({
    code: 'DISK_FAILED',
  });
});

async function* toAsync(items: Iterable<Buffer>): AsyncGenerator<Buffer> {
  for (const item of items) yield await Promise.resolve(item);
}
