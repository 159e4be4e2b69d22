import { describe, expect, test } from 'vitest';

import { renderBootedMark } from '../../../test/support/booted-mark.ts';
import { moveBootedMark } from './booted-mark.ts';

const from = { dev: 0xfe03n, ino: 131_204n };
const to = { dev: 0xfe03n, ino: 0x1_0000_0002n };

describe('the mark of the running deployment', () => {
  test('is moved to another folder, and nothing else changes', () => {
    expect(moveBootedMark(renderBootedMark(from), from, to)).toEqual(renderBootedMark(to));
  });

  test.each([
    ['names another folder', renderBootedMark({ dev: 1n, ino: 2n })],
    ['is empty', Buffer.alloc(0)],
    ['is cut short', renderBootedMark(from).subarray(0, 40)],
    ['has no such key', Buffer.from('a'.repeat(100))],
  ])('is left alone when it %s', (_name, mark) => {
    expect(() => moveBootedMark(mark, from, to)).toThrow(expect.objectContaining({ code: 'NODE_FAILED' }));
  });
});
