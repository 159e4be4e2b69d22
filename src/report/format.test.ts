import { expect, test } from 'vitest';

import { formatBytes, formatCount, formatSeconds, formatTable, wrapText } from './format.ts';

test.each([
  [0, '0 B'],
  [812, '812 B'],
  [1024, '1.0 KiB'],
  [4_608, '4.5 KiB'],
  [10 * 1024, '10 KiB'],
  [1024 * 1024 - 1, '1.0 MiB'],
  [64_000_000, '61 MiB'],
  [1.5 * 2 ** 30, '1.5 GiB'],
])('%d bytes', (bytes, expected) => {
  expect(formatBytes(bytes)).toBe(expected);
});

test.each([
  [0.04, '0.0 s'],
  [1.25, '1.3 s'],
  [9.96, '10 s'],
  [59.7, '1 min 0 s'],
  [125, '2 min 5 s'],
  [3_720, '1 h 2 min'],
])('%d seconds', (seconds, expected) => {
  expect(formatSeconds(seconds)).toBe(expected);
});

test('counts agree with their noun', () => {
  expect([formatCount(1, 'package'), formatCount(0, 'package'), formatCount(2, 'entry', 'entries')]).toEqual([
    '1 package',
    '0 packages',
    '2 entries',
  ]);
});

test('a table aligns, and has no white space at its ends', () => {
  const text = formatTable(
    [{ title: 'kind' }, { title: 'size', align: 'right' }, { title: 'note' }],
    [
      ['blobs', '4.5 KiB', ''],
      ['x', '1 B', 'small'],
    ],
  );
  expect(text.split('\n')).toEqual(['kind      size  note', 'blobs  4.5 KiB', 'x          1 B  small']);
});

test('text is broken at spaces, and a long word is left whole', () => {
  expect(wrapText('one two three', 7)).toEqual(['one two', 'three']);
  expect(wrapText('one incomprehensibilities two', 8)).toEqual(['one', 'incomprehensibilities', 'two']);
  expect(wrapText('', 8)).toEqual(['']);
});
