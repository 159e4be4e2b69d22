import { expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import { comparePull, withDeltas } from './pull.ts';

const blob = (name: string, size: number): { digest: ReturnType<typeof digestOf>; size: number } => ({
  digest: digestOf(name),
  size,
});

const pull = comparePull([blob('a', 10)], [blob('a', 10), blob('b', 200), blob('c', 3000)]);

test('deltas stand for the blobs that have one, and the others are pulled', () => {
  const deltas = new Map([
    [digestOf('c'), 40],
    [digestOf('a'), 1], // is there
    [digestOf('elsewhere'), 1],
  ]);
  expect(withDeltas(pull, deltas)).toEqual({ ...pull, byDeltas: { bytes: 240, blobs: 1 } });
  expect(pull).toMatchObject({ bytes: 3200, reused: 10 });
});

test('without any that is of use, nothing is said', () => {
  expect(withDeltas(pull, new Map([[digestOf('a'), 1]]))).toBe(pull);
});
