import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { compareRpmVersions } from './rpm-version.ts';

describe('compareRpmVersions', () => {
  it.each([
    ['1.0-1', '1.0-2'],
    ['1.0-1', '1.10-1'],
    ['2.0-1', '1:1.0-1'],
    ['1.0~rc1-1', '1.0-1'],
    ['1.0-1', '1.0^git1-1'],
    ['1.0^git1-1', '1.0.1-1'],
    ['1.0a-1', '1.0.1-1'],
    ['1.0-1.fc41', '1.0-1.fc42'],
    ['1.0-1', '1.0-1.1'],
  ])('%s is older than %s', (older, newer) => {
    expect(compareRpmVersions(older, newer)).toBeLessThan(0);
    expect(compareRpmVersions(newer, older)).toBeGreaterThan(0);
  });

  it('passes over zeros in front and what separates', () => {
    expect(compareRpmVersions('1.01-1', '1.1-1')).toBe(0);
    expect(compareRpmVersions('1_1-1', '1.1-1')).toBe(0);
    expect(compareRpmVersions('0:1-1', '1-1')).toBe(0);
  });

  it('is an order', () => {
    const part = fc.stringMatching(/^[0-9a-b.~^]{0,6}$/);
    const version = fc
      .tuple(fc.nat(2), part, part)
      .map(([epoch, left, right]) => `${epoch}:${left}-${right}`);
    fc.assert(
      fc.property(version, version, version, (one, two, three) => {
        expect(Math.sign(compareRpmVersions(one, two))).toBe(0 - Math.sign(compareRpmVersions(two, one)));
        if (compareRpmVersions(one, two) <= 0 && compareRpmVersions(two, three) <= 0) {
          expect(compareRpmVersions(one, three)).toBeLessThanOrEqual(0);
        }
      }),
    );
  });
});
