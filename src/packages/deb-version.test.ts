import fc from 'fast-check';
import { expect, test } from 'vitest';

import { compareDebVersions, hasVersionPrefix, isDebVersion, parseDebVersion } from './deb-version.ts';

const upstream = fc.stringMatching(/^\d[0-9a-z.+~]{0,8}$/);
const revision = fc.stringMatching(/^[0-9a-z.+~]{1,5}$/);
const version = fc
  .tuple(fc.option(fc.nat(3)), upstream, fc.option(revision))
  .map(([epoch, main, last]) =>
    parseDebVersion(`${epoch === null ? '' : `${epoch}:`}${main}${last === null ? '' : `-${last}`}`),
  );

test('is a total order', () => {
  const sign = (left: number): number => Math.sign(left);
  fc.assert(
    fc.property(version, version, version, (a, b, c) => {
      expect(compareDebVersions(a, a)).toBe(0);
      expect(sign(compareDebVersions(a, b))).toBe(0 - sign(compareDebVersions(b, a)));
      const [low, middle, high] = [a, b, c].sort(compareDebVersions);
      if (low === undefined || middle === undefined || high === undefined) throw new Error('three went in');
      expect(compareDebVersions(low, middle)).toBeLessThanOrEqual(0);
      expect(compareDebVersions(middle, high)).toBeLessThanOrEqual(0);
      expect(compareDebVersions(low, high)).toBeLessThanOrEqual(0);
      // What compares equal compares alike with everything else.
      if (compareDebVersions(a, b) === 0) {
        expect(sign(compareDebVersions(a, c))).toBe(sign(compareDebVersions(b, c)));
      }
    }),
  );
});

test.each([
  ['1.0~rc1', '1.0'],
  ['1.0', '1.0a'],
  ['1.0a', '1.0+b1'],
  ['1.9', '1.10'],
  ['9.9', '1:0.1'],
  ['6.12.57-1', '6.12.57-1+b1'],
  ['1.0-1~deb13u1', '1.0-1'],
])('%s is older than %s', (older, newer) => {
  expect(compareDebVersions(parseDebVersion(older), parseDebVersion(newer))).toBeLessThan(0);
});

test('takes Debian versions alone', () => {
  expect(['1', '1:2.3-4', '0~0', '2.41-12+deb13u1'].every(isDebVersion)).toBe(true);
  expect(['', 'a1', '1 2', '1-', '1:', ':1', '1_2', '1/2'].some(isDebVersion)).toBe(false);
  expect(() => parseDebVersion('latest')).toThrow(TypeError);
});

test('a prefix ends at a boundary', () => {
  const kernel = parseDebVersion('6.12.57-1');
  expect(['6', '6.12', '6.12.57', '6.12.57-1'].every((prefix) => hasVersionPrefix(kernel, prefix))).toBe(
    true,
  );
  expect(['6.1', '6.12.5', '6.12.57-10', '7'].some((prefix) => hasVersionPrefix(kernel, prefix))).toBe(false);
  expect(hasVersionPrefix(parseDebVersion('2:6.12-1'), '6.12')).toBe(true);
});
