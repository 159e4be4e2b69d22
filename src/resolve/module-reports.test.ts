import { resolve } from 'node:path';
import { expect, test } from 'vitest';

import { loadFacts } from '../catalog/facts/load.ts';
import { patchesFor, reportsOn, type ModulePair } from './module-reports.ts';

const facts = await loadFacts(resolve(import.meta.dirname, '../../drivers'));
const PAIR: ModulePair = {
  component: 'driver',
  version: '550.163.01',
  flavour: 'open',
  packageVersion: '550.163.01-2',
  distribution: 'debian@13',
  kernelVersion: '6.12.117-1',
};

const namesFor = (change: Partial<ModulePair>): string[] =>
  patchesFor(facts, { ...PAIR, ...change }).map(({ name }) => name);

test('Debian’s driver takes a patch from the kernel on that changed under it', () => {
  expect(namesFor({})).toEqual(['pci-resize-resource']);
  expect(namesFor({ kernelVersion: '6.12.97-1' })).toEqual(['pci-resize-resource']);
  expect(namesFor({ kernelVersion: '6.12.96-1' })).toEqual([]);
});

test.each([
  ['another package', { packageVersion: '550.163.01-5' }],
  ['another driver', { version: '580.95.05' }],
  ['the proprietary flavour', { flavour: 'proprietary' }],
  ['another distribution', { distribution: 'ubuntu@24.04' }],
  ['something else than a driver', { component: 'nvidia-fs' }],
  ['a kernel without a version', { kernelVersion: 'experimental' }],
] satisfies [string, Partial<ModulePair>][])('and %s does not', (_what, change) => {
  expect(namesFor(change)).toEqual([]);
});

test('a driver that mends it is not spoken of', () => {
  const reports = (version: string): number =>
    reportsOn(facts, { ...PAIR, version, packageVersion: '1', kernelVersion: '7.1' }).length;
  expect(reports('580.142')).toBeGreaterThan(0);
  expect(reports('580.178.04')).toBe(0);
});

test('reports on what an addon brings are found by its name', () => {
  const pair = { ...PAIR, component: 'nvidia-fs', packageVersion: '2.26-1', kernelVersion: '6.17-1' };
  expect(reportsOn(facts, pair)).toMatchObject([{ result: 'fails', component: 'nvidia-fs' }]);
});
