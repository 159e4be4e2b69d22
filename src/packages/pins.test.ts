import { describe, expect, it } from 'vitest';

import { distributionPins, exactDependencies, sameRelease } from './pins.ts';
import { PackageIndex, sourceOfText } from './package-index.ts';

function textOf(
  ...packages: readonly (readonly [name: string, version: string, depends?: string])[]
): string {
  return packages
    .map(([name, version, depends]) =>
      [
        `Package: ${name}`,
        `Version: ${version}`,
        ...(depends === undefined ? [] : [`Depends: ${depends}`]),
        '',
      ].join('\n'),
    )
    .join('\n');
}

const index = new PackageIndex([
  sourceOfText('debian', textOf(['tool', '1-1'], ['lib', '1-1'], ['other', '3'])),
  sourceOfText(
    'vendor',
    textOf(
      ['driver', '2-1', 'lib (= 2-1), tool, other | none (= 2-1), late (>= 3)'],
      ['lib', '2-1', 'deep (= 5)'],
      ['lib', '9-1'],
      ['tool', '2-1'],
      ['tool', '9-1'],
      ['deep', '5', 'lib (= 2-1)'],
      ['deep', '6'],
      ['late', '2-1'],
      ['late', '3'],
    ),
  ),
]);
const DRIVER = [{ name: 'driver', version: '2-1' }];

describe('versions that go with a package', () => {
  it('are those it depends on exactly, and what these do', () => {
    expect(exactDependencies(index, DRIVER)).toEqual([
      { name: 'lib', version: '2-1' },
      { name: 'deep', version: '5' },
    ]);
  });

  it('are its own where any would do, unless the bound says otherwise', () => {
    const found = sameRelease(index, DRIVER).map(({ name, version }) => `${name}=${version}`);
    expect(found).toEqual(['lib=2-1', 'tool=2-1', 'deep=5']);
  });

  it('leave what was asked for alone, and what there is not', () => {
    expect(exactDependencies(index, [...DRIVER, { name: 'lib', version: '9-1' }])).toEqual([]);
    expect(exactDependencies(index, [{ name: 'driver', version: '7-1' }])).toEqual([]);
  });
});

describe('another release', () => {
  const mixed = new PackageIndex([
    sourceOfText('debian', textOf(['kernel', '7-1', 'image-7 (= 7-1)'], ['image-7', '7-1'], ['tool', '2'])),
    sourceOfText(
      'debian',
      textOf(
        ['kernel', '6-1', 'image-6 (= 6-1), tool (= 1)'],
        ['image-6', '6-1'],
        ['tool', '1'],
        ['only-there', '1'],
      ),
      true,
    ),
  ]);

  it('gives a package with its own parts where its very version is asked for', () => {
    expect(exactDependencies(mixed, [{ name: 'kernel', version: '6-1' }])).toEqual([
      { name: 'image-6', version: '6-1' },
      { name: 'tool', version: '1' },
    ]);
    expect(exactDependencies(mixed, [{ name: 'kernel', version: '7-1' }])).toEqual([
      { name: 'image-7', version: '7-1' },
    ]);
    expect(mixed.find('kernel', '6-1')).toMatchObject({ archive: 'debian', foreign: true });
  });

  it('is not seen otherwise', () => {
    expect(mixed.versions('kernel')).toEqual(['7-1']);
    expect(mixed.has('only-there')).toBe(false);
    expect(mixed.has('kernel', '6-1')).toBe(false);
    expect(mixed.hasForeign('kernel', '6-1')).toBe(true);
    expect([...mixed.names()]).toEqual(['image-7', 'kernel', 'tool']);
  });
});

describe('a package that a vendor has too', () => {
  it('is the distribution’s, unless it was asked of the vendor', () => {
    const pins = distributionPins(index, new Set(['vendor']), new Set(['tool']));
    expect(pins).toEqual([{ name: 'lib', version: '1-1' }]);
    expect(distributionPins(index, new Set(), new Set())).toEqual([]);
  });
});
