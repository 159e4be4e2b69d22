import { expect, test } from 'vitest';

import { admitsVersion, parseDependencies } from './dependencies.ts';

test('groups, alternatives, versions and qualifiers', () => {
  expect(
    parseDependencies('libc6 (>= 2.38), perl:any, dracut | linux-initramfs-tool (<< 2~), a(=1)'),
  ).toEqual([
    [{ name: 'libc6', relation: '>=', version: '2.38' }],
    [{ name: 'perl', qualifier: 'any' }],
    [{ name: 'dracut' }, { name: 'linux-initramfs-tool', relation: '<<', version: '2~' }],
    [{ name: 'a', relation: '=', version: '1' }],
  ]);
});

test('fields of several lines, empty fields, and terms that are none', () => {
  expect(parseDependencies('a,\n b (>= 1),\n')).toEqual([
    [{ name: 'a' }],
    [{ name: 'b', relation: '>=', version: '1' }],
  ]);
  expect(parseDependencies('')).toEqual([]);
  expect(parseDependencies('${misc:Depends}, a')).toEqual([[{ name: 'a' }]]);
});

test('the deprecated relations', () => {
  expect(parseDependencies('a (< 2), b (> 1)')).toEqual([
    [{ name: 'a', relation: '<=', version: '2' }],
    [{ name: 'b', relation: '>=', version: '1' }],
  ]);
});

test.each([
  ['<<', [true, false, false]],
  ['<=', [true, true, false]],
  ['=', [false, true, false]],
  ['>=', [false, true, true]],
  ['>>', [false, false, true]],
] as const)('a bound %s', (relation, expected) => {
  const dependency = { name: 'a', relation, version: '2' };
  expect(['2~1', '2', '2+b1'].map((version) => admitsVersion(dependency, version))).toEqual(expected);
});

test('a package provided without a version meets no bound', () => {
  expect(admitsVersion({ name: 'a', relation: '>=', version: '0' }, undefined)).toBe(false);
  expect(admitsVersion({ name: 'a' }, undefined)).toBe(true);
});
