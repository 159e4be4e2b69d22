import { describe, expect, it } from 'vitest';

import { catalogOf, imageOf, layer, solutionOf, solved } from '../../test/support/resolve.ts';
import type { CatalogLayer, LayerDefinition } from '../catalog/layer.ts';
import { digestOf } from '../digest.ts';
import type { Solution } from '../packages/solution.ts';
import { checkLock } from './check-lock.ts';
import { requireChoice } from './choose.ts';
import type { LayerRequest } from './layers.ts';
import { lockAccelerators } from './lock-accelerators.ts';
import type { Lock } from './lock.ts';
import { parseLock, renderLock } from './lock-text.ts';
import { makeLock } from './make-lock.ts';

function layerWith(base: CatalogLayer, change: Partial<LayerDefinition>, versionOf?: string[]): CatalogLayer {
  const { definition } = base;
  const { debian } = definition.install;
  return {
    ...base,
    definition: {
      ...definition,
      ...change,
      install:
        debian === undefined ? {} : { debian: { ...debian, ...(versionOf !== undefined && { versionOf }) } },
    },
  };
}

const IN = ['debian@13'];
const NVIDIA = layerWith(
  layer('driver', 'nvidia-open', ['libcuda1', 'firmware']),
  {
    provides: ['nvidia'],
    offers: [{ in: IN, version: '550.163.01' }],
    modules: { source: 'nvidia-dkms', flavour: 'open' },
  },
  ['libcuda1', 'firmware'],
);
const CUDA = layerWith(
  layer('cuda', 'runtime', ['libcudart12']),
  { provides: ['cuda'], offers: [{ in: IN, version: '12.4' }] },
  ['libcudart12'],
);
const SERVER = layerWith(layer('runtime', 'server', [], ['nvidia', 'cuda']), {
  offers: [{ in: IN, version: '1.0', tag: 'v1.0' }],
  container: { name: 'server', image: 'example.com/server', content: 'Image={image}' },
});
const CATALOG = catalogOf(
  layer('base', 'debian', ['init']),
  layer('kernel', 'cloud', ['linux-image-6.12.57-cloud-amd64']),
  NVIDIA,
  CUDA,
  SERVER,
);
const DIGEST = digestOf('server image');
const IMAGE = imageOf({ runtimes: [{ use: 'server', digest: DIGEST }] });

function solution(change: Record<string, string> = {}): Solution {
  const version = (name: string, usual: string): { version: string } => ({ version: change[name] ?? usual });
  const source = solved('nvidia-dkms', version('nvidia-dkms', '550.163.01-4')).package;
  return {
    ...solutionOf(
      solved('init', { essential: true }),
      solved('linux-image-6.12.57-cloud-amd64'),
      solved('libcuda1', version('libcuda1', '550.163.01-5.1')),
      solved('firmware', version('firmware', '550.163.01-5.1')),
      solved('libcudart12', version('libcudart12', '12.4.127~12.4.1-2')),
    ),
    sources: [source],
  };
}

const PATCH = { name: 'mend-it', sha256: 'a'.repeat(64) };

function lockOf(change: Record<string, string> = {}): Lock {
  return makeLock({
    image: IMAGE,
    catalog: CATALOG,
    choice: requireChoice(IMAGE, CATALOG),
    solution: solution(change),
    modules: {
      compile: solutionOf(solved('linux-headers-6.12.57-cloud-amd64'), solved('make')),
      patches: new Map([['driver-nvidia-open', [PATCH]]]),
    },
    tools: { definition: digestOf('tools'), solution: solutionOf(solved('ostree')) },
    compressor: { name: 'zstd', version: '1.5.7', level: 3 },
    now: new Date('2026-01-01T00:00:00Z'),
  });
}

const BUILDER = {
  compressor: { name: 'zstd', version: '1.5.7', level: 3 },
  toolsDefinition: digestOf('tools'),
} as const;

describe('a lock with driver, CUDA and a container', () => {
  it('says what was chosen, and what of it is not installed', () => {
    const lock = lockOf();
    expect(lock.driver).toEqual({
      name: 'nvidia',
      layer: 'driver-nvidia-open',
      version: '550.163.01',
      package: '550.163.01-5.1',
      modules: 'open',
    });
    expect(lock.cuda).toMatchObject({ version: '12.4', package: '12.4.127~12.4.1-2' });
    expect(lock.containers).toEqual([
      { layer: 'runtime-server', name: 'server', image: 'example.com/server', tag: 'v1.0', digest: DIGEST },
    ]);
    expect(lock.modules).toMatchObject([
      { layer: 'driver-nvidia-open', source: { name: 'nvidia-dkms' }, flavour: 'open', patches: [PATCH] },
    ]);
    expect(lock.compile?.packages.map(({ name }) => name)).toEqual([
      'linux-headers-6.12.57-cloud-amd64',
      'make',
    ]);
    expect(lock.layers.flatMap(({ packages }) => packages.map(({ name }) => name))).not.toContain(
      'nvidia-dkms',
    );
  });

  it('is the same after writing and reading', () => {
    const lock = lockOf();
    expect(parseLock(renderLock(lock), 'x.lock.yaml')).toEqual(lock);
    expect(renderLock(lock)).toContain(
      'driver: {name: nvidia, layer: driver-nvidia-open, version: 550.163.01, package: 550.163.01-5.1, modules: open}\n',
    );
  });

  it('tells when its modules cannot be built as it says', () => {
    const lock = lockOf();
    const check = (edited: Lock, patches: ReadonlyMap<string, string> = new Map()): string[] =>
      checkLock(edited, IMAGE, CATALOG, { ...BUILDER, patches }).map(({ message }) => message);
    expect(check(lock, new Map([[PATCH.name, PATCH.sha256]]))).toEqual([]);
    expect(check(lock, new Map([[PATCH.name, 'b'.repeat(64)]]))).toEqual(['the patch mend-it has changed']);
    expect(check(lock)).toEqual(['the patch mend-it has changed']);
    const { compile, ...older } = lock;
    expect(check(older)).toEqual(['it does not say what its kernel modules are built with']);
    const packages = compile?.packages.filter(({ name }) => name === 'make') ?? [];
    expect(check({ ...lock, compile: { packages } })).toContain(
      'it builds kernel modules without the headers of 6.12.57-cloud-amd64',
    );
  });

  it.each([
    ['libcuda1', '560.1-1'],
    ['firmware', '550.163.02-1'],
    ['libcudart12', '12.5.1-1'],
    ['nvidia-dkms', '550.142-1'],
  ])('refuses %s %s, which is not what was offered', (name, version) => {
    expect(() => lockOf({ [name]: version })).toThrow(
      expect.objectContaining({ code: 'OFFER_STALE', message: expect.stringContaining(name) as string }),
    );
  });

  it('holds for its declaration, and not when somebody put in another choice', () => {
    const lock = lockOf();
    const check = (edited: Lock): string[] =>
      checkLock(edited, IMAGE, CATALOG, BUILDER).map(({ message }) => message);
    expect(check(lock)).toEqual([]);
    const without = (kind: string): Lock => ({
      ...lock,
      layers: lock.layers.filter((one) => one.kind !== kind),
    });
    expect(check(without('runtime'))).toContain('it has no server');
    expect(check(without('driver'))).toEqual(['runtime-server needs nvidia, which the image does not have']);
    const [container] = lock.containers ?? [];
    const containers = container === undefined ? [] : [{ ...container, digest: digestOf('another') }];
    expect(check({ ...lock, containers })).toEqual([`it lacks the container ${DIGEST}`]);
    const changed = catalogOf(
      ...CATALOG.layers.map((one) => (one === NVIDIA ? { ...NVIDIA, digest: digestOf('changed') } : one)),
    );
    expect(checkLock(lock, IMAGE, changed, BUILDER).map(({ message }) => message)).toEqual([
      'the definition of the layer driver-nvidia-open has changed',
    ]);
  });
});

describe('a layer of which each version has packages of its own', () => {
  const manager = layerWith(
    layer('addon', 'manager', [], ['nvidia']),
    {
      offers: [
        { in: IN, version: '550.163.01', packages: ['manager-550'] },
        { in: IN, version: '580.178.04', packages: ['manager'] },
      ],
    },
    ['manager', 'manager-550'],
  );
  const requested = (version: string, name: string): LayerRequest => ({
    name: 'addon-manager',
    kind: 'addon',
    definition: manager,
    packages: [name],
    version,
    below: [],
  });
  const lockIt = (version: string, name: string, found: string): unknown =>
    lockAccelerators(
      { cuda: [], runtimes: [], addons: [] },
      [requested(version, name)],
      solutionOf(solved(name, { version: found })),
    );

  it.each([
    ['550.163.01', 'manager-550'],
    ['580.178.04', 'manager'],
  ])('is held against the package of %s', (version, name) => {
    expect(() => lockIt(version, name, `${version}-1`)).not.toThrow();
    expect(() => lockIt(version, name, '570.1-1')).toThrow(expect.objectContaining({ code: 'OFFER_STALE' }));
  });

  it('is refused with the package of another version', () => {
    expect(() => lockIt('580.178.04', 'manager-550', '580.178.04-1')).toThrow(
      expect.objectContaining({ code: 'CATALOG_INVALID' }),
    );
  });
});
