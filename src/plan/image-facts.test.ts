import fc from 'fast-check';
import { expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import { Lock } from '../resolve/lock.ts';
import { factsOfLock, parseFacts, renderFacts, type ImageFacts } from './image-facts.ts';

const LOCK = Lock.parse({
  schemaVersion: 1,
  name: 'node',
  declaration: digestOf('declaration'),
  created: '2026-01-02T00:00:00Z',
  version: '1',
  base: { name: 'debian', release: '13', suite: 'trixie', architecture: 'amd64' },
  kernel: {
    flavour: 'generic',
    package: 'linux-image-6',
    version: '6.12.1-1',
    release: '6.12.1+deb13-amd64',
  },
  gpus: [
    { name: 'h100-sxm', pci: ['10de:2330'] },
    { name: 'hopper', pci: ['10de:2330', '10de:2331'] },
  ],
  driver: { name: 'nvidia', layer: 'driver-nvidia-open', version: '550.163.01', modules: 'open' },
  cuda: { name: 'cuda', layer: 'cuda-runtime', version: '12.4' },
  runtimes: [{ name: 'llama.cpp', layer: 'runtime-llama', package: '0.1-2' }],
  compressor: { name: 'zstd', version: '1.5.7', level: 3 },
  archives: [],
  layers: [{ name: 'base', kind: 'base', created: '2026-01-02T00:00:00Z', packages: [] }],
  tools: { definition: digestOf('tools'), suite: 'trixie', archives: [], packages: [] },
});

test('says what a scheduler matches by, each PCI id once', () => {
  expect(renderFacts(factsOfLock(LOCK))).toEqual({
    'dev.ingot.base': 'debian@13',
    'dev.ingot.architecture': 'amd64',
    'dev.ingot.kernel': '6.12.1+deb13-amd64',
    'dev.ingot.kernel.version': '6.12.1-1',
    'dev.ingot.kernel.flavour': 'generic',
    'dev.ingot.driver': 'nvidia',
    'dev.ingot.driver.version': '550.163.01',
    'dev.ingot.driver.modules': 'open',
    'dev.ingot.cuda': '12.4',
    'dev.ingot.runtimes': '[{"name":"llama.cpp","version":"0.1-2"}]',
    'dev.ingot.gpus':
      '[{"name":"h100-sxm","pci":["10de:2330"]},{"name":"hopper","pci":["10de:2330","10de:2331"]}]',
    'dev.ingot.pci': '10de:2330,10de:2331',
  });
});

test('a driver of the kernel has no version and says where its modules are', () => {
  const { driver } = factsOfLock({ ...LOCK, driver: { name: 'amdgpu', layer: 'driver-amdgpu' } });
  expect(driver).toEqual({ name: 'amdgpu', modules: 'kernel' });
});

test('leaves out what is not there', () => {
  const { gpus: _gpus, driver: _driver, cuda: _cuda, runtimes: _runtimes, ...plain } = LOCK;
  expect(Object.keys(renderFacts(factsOfLock(plain)))).toEqual(
    ['base', 'architecture', 'kernel', 'kernel.version', 'kernel.flavour'].map((name) => `dev.ingot.${name}`),
  );
});

test('what is rendered is read back', () => {
  const text = fc.string({ minLength: 1 });
  const named = fc.record({ name: text, version: text }, { requiredKeys: ['name'] });
  const facts: fc.Arbitrary<ImageFacts> = fc.record(
    {
      base: text,
      architecture: text,
      kernel: fc.record({ release: text, version: text, flavour: text }),
      driver: fc.record({ name: text, version: text, modules: text }),
      cuda: text,
      runtimes: fc.array(named),
      gpus: fc.array(fc.record({ name: text, pci: fc.constant(['10de:2330']) })),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(facts, (value) => {
      expect(parseFacts(renderFacts(value))).toEqual(value);
    }),
  );
});

test('a stranger’s annotations are read as far as they make sense', () => {
  expect(
    parseFacts({ 'dev.ingot.kernel': '6', 'dev.ingot.gpus': '{', 'dev.ingot.runtimes': '[{"name":1}]' }),
  ).toEqual({ kernel: { release: '6' } });
});
