import { expect, test } from 'vitest';

import { parseSize } from './size.ts';

test.each([
  ['0', 0],
  ['1073741824', 2 ** 30],
  ['8GiB', 8 * 2 ** 30],
  ['8 GiB', 8 * 2 ** 30],
  ['8g', 8 * 2 ** 30],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['8GB', 8e9],
  ['500MiB', 500 * 2 ** 20],
])('%s', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(['', 'GiB', '8 apples', '-1GiB', '8GiB!', '1e9'])('%j is refused', (text) => {
  expect(() => parseSize(text)).toThrow(/8GiB/);
});
