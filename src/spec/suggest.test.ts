import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { editDistance, nearest } from './suggest.ts';

describe('nearest', () => {
  it('finds slips of the finger, nearest first', () => {
    expect(nearest('kernal', ['kernel', 'packages', 'kernelArguments'])).toEqual(['kernel']);
    expect(nearest('pakcages', ['kernel', 'packages'])).toEqual(['packages']);
    expect(nearest('Users', ['users', 'user'])).toEqual(['users', 'user']);
  });

  it('is silent when nothing is near', () => {
    expect(nearest('gpus', ['users', 'units', 'groups'])).toEqual([]);
    expect(nearest('', ['a'])).toEqual([]);
    expect(nearest('x'.repeat(100_000), ['a'])).toEqual([]);
  });
});

describe('editDistance', () => {
  it('counts a swap once', () => {
    expect(editDistance('ab', 'ba')).toBe(1);
    expect(editDistance('kitten', 'sitting')).toBe(3);
  });

  it('is symmetric, zero only on equal words, and bounded by the longer word', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(word, word, (left, right) => {
        const distance = editDistance(left, right);
        expect(distance).toBe(editDistance(right, left));
        expect(distance === 0).toBe(left === right);
        expect(distance).toBeLessThanOrEqual(Math.max(left.length, right.length));
      }),
    );
  });
});
