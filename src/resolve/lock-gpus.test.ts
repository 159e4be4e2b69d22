import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

import { loadFacts } from '../catalog/facts/load.ts';
import { lockGpus } from './lock-gpus.ts';

const facts = await loadFacts(join(resolve(import.meta.dirname, '../..'), 'drivers'));

test('a product has its ids, a family those of all its products, each once and sorted', () => {
  const [h100, hopper] = lockGpus({ gpus: ['h100-sxm', 'hopper'] }, facts);
  expect(h100).toEqual({ name: 'h100-sxm', pci: ['10de:2330'] });
  expect(hopper?.pci).toContain('10de:2330');
  expect(hopper?.pci.length).toBeGreaterThan(3);
  expect(hopper?.pci).toEqual([...new Set(hopper?.pci)].sort());
});

test('a PCI id promises itself alone, however many products share it', () => {
  expect(lockGpus({ gpus: ['10DE:2330'] }, facts)).toEqual([{ name: '10DE:2330', pci: ['10de:2330'] }]);
});

test('what the facts do not know is left out', () => {
  expect(lockGpus({ gpus: ['no-such-gpu'] }, facts)).toEqual([]);
});

test('a MIG layout stays with its GPU', () => {
  const mig = [{ gpu: 1, devices: { '1g.10gb': 7 } }];
  expect(lockGpus({ gpus: ['l4', 'h100-sxm'], mig }, facts)).toEqual([
    { name: 'l4', pci: ['10de:27b8'] },
    { name: 'h100-sxm', pci: ['10de:2330'], mig: { '1g.10gb': 7 } },
  ]);
});
