import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import {
  branchOf,
  compareVersions,
  isDriverVersion,
  parseCudaVersion,
  parseDriverVersion,
  parseKernelVersion,
  parseRange,
  parseSoftwareVersion,
  rangeAdmits,
  rangeIsEmpty,
  seriesOf,
  type DriverVersion,
  type FactVersion,
} from './versions.ts';

const driver = fc
  .tuple(
    fc.integer({ min: 300, max: 999 }),
    fc.integer({ min: 0, max: 300 }),
    fc.option(fc.integer({ min: 0, max: 99 }), { nil: undefined }),
  )
  .map(([branch, minor, patch]) =>
    parseDriverVersion(
      patch === undefined ? `${branch}.${minor}` : `${branch}.${minor}.${String(patch).padStart(2, '0')}`,
    ),
  );

function range(text: string): NonNullable<ReturnType<typeof parseRange<FactVersion>>> {
  const parsed = parseRange<FactVersion>(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

const admits = (text: string, version: string): boolean => rangeAdmits(range(text), version as FactVersion);

describe('the order of drivers', () => {
  test('is total', () => {
    fc.assert(
      fc.property(driver, driver, driver, (a, b, c) => {
        expect(compareVersions(a, a)).toBe(0);
        expect(Math.sign(compareVersions(a, b))).toBe(-Math.sign(compareVersions(b, a)) || 0);
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0) {
          expect(compareVersions(a, c)).toBeLessThanOrEqual(0);
        }
      }),
    );
  });

  test('keeps branches together', () => {
    fc.assert(
      fc.property(driver, driver, (a, b) => {
        if (branchOf(a) < branchOf(b)) expect(compareVersions(a, b)).toBeLessThan(0);
      }),
    );
  });

  test.each([
    ['570.86.15', '570.124.04'],
    ['565.57.01', '565.77'],
    ['580.95.05', '580.105.08'],
    ['575.64', '575.64.03'],
    ['580.142', '595.45.04'],
  ])('%s comes before %s', (older, newer) => {
    expect(compareVersions(parseDriverVersion(older), parseDriverVersion(newer))).toBeLessThan(0);
  });
});

test('a version is what it looks like', () => {
  expect(isDriverVersion('580')).toBe(false);
  expect(isDriverVersion('580.142')).toBe(true);
  expect(isDriverVersion('550.163.01-2')).toBe(false);
  expect(() => parseDriverVersion('12.4')).toThrow(TypeError);
  expect(() => parseCudaVersion('13')).toThrow(TypeError);
  expect(seriesOf(parseCudaVersion('13.0.2'))).toBe('13.0');
  expect(parseKernelVersion('6.12.94+deb13-cloud-amd64')).toBe('6.12.94');
  expect(() => parseKernelVersion('linux')).toThrow(TypeError);
});

test('releases of software follow their candidates', () => {
  const sorted = ['1.3.0rc2', '1.3.0rc24', '1.3.0', '1.3.0.post1', '1.3.1', '1.10'].map(parseSoftwareVersion);
  expect([...sorted].reverse().sort(compareVersions)).toEqual(sorted);
});

describe('a range', () => {
  test.each([
    ['>= 525.60.13', '525.60.13', true],
    ['>= 525.60.13', '525.53', false],
    ['>= 450.80.02, < 525', '470.256.02', true],
    ['>= 450.80.02, < 525', '525.53', false],
    ['580', '580.142', true],
    ['= 6.12', '6.12.94', true],
    ['= 6.12', '6.1', false],
    ['<= 6.15', '6.15.3', true],
    ['> 580', '580.142', false],
    ['> 580', '590.44.01', true],
    ['>= 6.12.107, < 6.13', '6.12.94', false],
    ['<= 6.2', '6.1', true],
  ])('%s on %s', (text, version, expected) => {
    expect(admits(text, version)).toBe(expected);
  });

  test.each(['', '>=', '~ 5', '>= x', '>= 5 < 6', '=> 5'])('%j is none', (text) => {
    expect(parseRange(text)).toBeUndefined();
  });

  test.each([
    ['>= 580, < 570', true],
    ['> 580, < 581', true],
    ['>= 580, <= 580', false],
    ['>= 580.10, < 580.10', true],
    ['>= 580, < 580.65.06', false],
    ['< 515', false],
    ['= 6.12, = 6.13', true],
    ['>= 7.1.2, < 7.2', false],
  ])('%s is empty: %s', (text, expected) => {
    expect(rangeIsEmpty(range(text))).toBe(expected);
  });

  test('that is empty admits nothing', () => {
    const bound = fc
      .tuple(fc.constantFrom('>=', '>', '<=', '<', '='), driver, fc.integer({ min: 1, max: 3 }))
      .map(([operator, version, length]) => `${operator} ${version.split('.').slice(0, length).join('.')}`);
    fc.assert(
      fc.property(
        fc.array(bound, { minLength: 1, maxLength: 3 }),
        driver,
        (bounds, version: DriverVersion) => {
          const made = range(bounds.join(', '));
          if (rangeIsEmpty(made)) expect(rangeAdmits(made, version)).toBe(false);
        },
      ),
    );
  });
});
