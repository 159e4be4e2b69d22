import { expect, test } from 'vitest';

import { parseDu } from './du.ts';

test('reads sizes by path, whatever the path holds', () => {
  const captured = '4096\t/store/tmp/a b\0' + '813056\t/store/trees/new\nline\tand tab\0';
  expect([...parseDu(captured)]).toEqual([
    ['/store/tmp/a b', 4096],
    ['/store/trees/new\nline\tand tab', 813056],
  ]);
});

test('nothing is nothing', () => {
  expect(parseDu('').size).toBe(0);
});
