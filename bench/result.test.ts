import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { figuresOf, median, renderResult, rowOf, type BenchResult } from './result.ts';

describe('the median', () => {
  test.each([
    [[3], 3],
    [[5, 1, 3], 3],
    [[4, 1, 3, 2], 2.5],
    [[10, 9, 100], 10],
  ])('of %j is %d', (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  test('of nothing does not exist', () => {
    expect(() => median([])).toThrow(RangeError);
  });

  test('has as many values above as below, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
        const middle = median(values);
        const above = values.filter((value) => value > middle).length;
        const below = values.filter((value) => value < middle).length;
        expect(Math.max(above, below)).toBeLessThanOrEqual(values.length / 2);
        expect(median(values.toReversed())).toBe(middle);
      }),
    );
  });
});

const MIB = 1024 * 1024;
const ours = figuresOf([
  { wall: 20, cpu: 30, rss: 300 * MIB, bytes: 131 * MIB },
  { wall: 22, cpu: 29, rss: 310 * MIB, bytes: 131 * MIB },
  { wall: 90, cpu: 31, rss: 305 * MIB, bytes: 131 * MIB },
]);
const theirs = figuresOf([{ wall: 44, cpu: 50, rss: 330 * MIB, bytes: 292 * MIB }]);

test('takes each figure by itself, and keeps the samples', () => {
  expect(ours).toMatchObject({ wall: 22, cpu: 30, rss: 305 * MIB });
  expect(ours.samples).toHaveLength(3);
});

test('compares wall and processor time', () => {
  const row = rowOf('cold', ours, { name: 'other', version: '1.2', ...theirs });
  expect(row).toMatchObject({ ratio: 0.5, cpuRatio: 0.6 });
});

test('a case without a peer has no ratio', () => {
  expect(rowOf('cold', ours, null)).toMatchObject({ peer: null, ratio: null, cpuRatio: null });
});

test('prints a table', () => {
  const result: BenchResult = {
    schemaVersion: 1,
    name: 'base',
    machine: {
      architecture: 'x64',
      processor: 'Some Processor',
      cores: 2,
      memory: 24 * 1024 * MIB,
      system: 'Debian GNU/Linux 12 (bookworm)',
      node: '24.0.0',
      loadBefore: 0.12,
    },
    rounds: 3,
    rows: [rowOf('cold', ours, { name: 'other', version: '1.2', ...theirs }), rowOf('again', ours, null)],
  };
  expect(renderResult(result)).toBe(
    [
      'base: medians of 3 rounds; 2 cores (Some Processor), 24 GiB, Debian GNU/Linux 12 (bookworm), load 0.1',
      '',
      'CASE   BY         WALL   CPU   MEMORY   RESULT',
      'cold   ingot      22 s  30 s  305 MiB  131 MiB',
      '       other 1.2  44 s  50 s  330 MiB  292 MiB',
      '       ratio      0.50  0.60',
      'again  ingot      22 s  30 s  305 MiB  131 MiB',
      '',
    ].join('\n'),
  );
});
