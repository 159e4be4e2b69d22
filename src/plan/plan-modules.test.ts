import { describe, expect, it } from 'vitest';

import { digestOf } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Lock } from '../resolve/lock.ts';
import { planModules, type ModuleFacts } from './plan-modules.ts';

function file(name: string, version = '1'): LockedPackage {
  const sha256 = digestOf(`${name} ${version}`).slice('sha256:'.length);
  const filename = `pool/${name}.deb`;
  return { name, version, architecture: 'amd64', sha256, size: 10, filename, archive: 'debian' };
}

const patch = (text: string): { name: string; sha256: string } => ({
  name: 'mend-it',
  sha256: digestOf(text).slice('sha256:'.length),
});

function lockWith(change: Partial<Lock> = {}): Lock {
  return {
    schemaVersion: 1,
    name: 'node',
    declaration: digestOf('declaration'),
    created: '2026-01-02T00:00:00Z',
    version: '1',
    base: { name: 'debian', release: '13', suite: 'trixie', architecture: 'amd64' },
    kernel: { flavour: 'cloud', package: 'linux-image-6', version: '6', release: '6-cloud' },
    compressor: { name: 'zstd', version: '1.5.7', level: 3 },
    archives: [],
    layers: [],
    modules: [
      { layer: 'driver-nvidia', source: file('nvidia-dkms'), flavour: 'open', patches: [patch('one')] },
    ],
    compile: { packages: [file('linux-headers-6-cloud'), file('gcc')] },
    tools: { definition: digestOf('tools'), suite: 'trixie', archives: [], packages: [] },
    ...change,
  };
}

const FACTS: ModuleFacts = {
  builder: digestOf('module code'),
  rootBuilder: digestOf('root code'),
  packer: digestOf('packing code'),
  patches: new Map([['mend-it', '--- a/x\n']]),
  known: new Map([['driver-nvidia', ['fails on Linux 6']]]),
};

const keyOf = (lock: Lock, facts = FACTS): string | undefined => planModules(lock, facts)[0]?.treeKey;

describe('the step of kernel modules', () => {
  it('stands on no other, and says what to build with what', () => {
    expect(planModules(lockWith(), FACTS)).toMatchObject([
      {
        name: 'modules-nvidia',
        kind: 'modules',
        needs: [],
        epoch: 0,
        summary: 'kernel modules of nvidia-dkms 1, open, patched: mend-it',
        modules: {
          kernelRelease: '6-cloud',
          patches: [{ name: 'mend-it', text: '--- a/x\n' }],
          known: ['fails on Linux 6'],
        },
      },
    ]);
    expect(planModules(lockWith({ modules: [] }), undefined)).toEqual([]);
  });

  it('has another key for whatever can change its bits', () => {
    const [modules] = lockWith().modules ?? [];
    if (modules === undefined) throw new TypeError('no modules');
    const changes: Partial<Lock>[] = [
      { kernel: { flavour: 'cloud', package: 'linux-image-7', version: '7', release: '7-cloud' } },
      { modules: [{ ...modules, source: file('nvidia-dkms', '2') }] },
      { modules: [{ ...modules, flavour: 'proprietary' }] },
      { modules: [{ ...modules, patches: [patch('two')] }] },
      { modules: [{ ...modules, patches: [] }] },
      { compile: { packages: [file('linux-headers-6-cloud'), file('gcc', '2')] } },
    ];
    const keys = [
      keyOf(lockWith()),
      ...changes.map((change) => keyOf(lockWith(change))),
      keyOf(lockWith(), { ...FACTS, builder: digestOf('other') }),
      keyOf(lockWith(), { ...FACTS, rootBuilder: digestOf('other') }),
      keyOf(lockWith(), { ...FACTS, signer: digestOf('certificate') }),
    ];
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('keeps its key in a new lock of the same kernel and source', () => {
    const later = lockWith({ created: '2027-01-01T00:00:00Z', version: '2', declaration: digestOf('other') });
    expect(keyOf(later)).toBe(keyOf(lockWith()));
    expect(keyOf(lockWith(), { ...FACTS, known: new Map() })).toBe(keyOf(lockWith()));
  });

  it('has a name of its own when two layers share theirs', () => {
    const [modules] = lockWith().modules ?? [];
    const second = { layer: 'addon-nvidia', source: file('other-dkms') };
    const lock = lockWith({ modules: modules === undefined ? [] : [modules, second] });
    expect(planModules(lock, FACTS).map(({ name }) => name)).toEqual([
      'modules-nvidia',
      'modules-addon-nvidia',
    ]);
  });
});
