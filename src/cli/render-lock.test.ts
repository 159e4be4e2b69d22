import { describe, expect, it } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import { differenceOf } from '../resolve/compare-locks.ts';
import type { Lock } from '../resolve/lock.ts';
import { renderDifference } from './render-lock.ts';

function file(name: string, version: string, archive = 'debian'): LockedPackage {
  const sha256 = hexOf(digestOf(`${name} ${version} ${archive}`));
  return {
    name,
    version,
    architecture: 'amd64',
    sha256,
    size: 1 << 20,
    filename: `pool/${name}.deb`,
    archive,
  };
}

function lockWith(packages: readonly LockedPackage[], more: Partial<Lock> = {}): Lock {
  return {
    schemaVersion: 1,
    name: 'node',
    declaration: digestOf('declaration'),
    created: '2026-01-02T00:00:00Z',
    version: '1',
    base: { name: 'debian', release: '13', suite: 'trixie', architecture: 'amd64' },
    kernel: { flavour: 'cloud', package: 'linux-image-6', version: '6.12.94-1', release: '6.12.94-cloud' },
    compressor: { name: 'zstd', version: '1.5.7', level: 3 },
    archives: [],
    layers: [{ name: 'base', kind: 'base', created: '2026-01-01T00:00:00Z', packages: [...packages] }],
    tools: { definition: digestOf('tools'), suite: 'trixie', archives: [], packages: [] },
    ...more,
  };
}

const driver = (revision: string): Partial<Lock> => ({
  driver: {
    name: 'nvidia',
    layer: 'driver-nvidia-open',
    version: '550.163.01',
    package: `550.163.01-${revision}`,
    modules: 'open',
  },
  modules: [
    { layer: 'driver-nvidia-open', source: file('nvidia-open-kernel-dkms', `550.163.01-${revision}`) },
  ],
});
const runtime = { name: 'llama.cpp', layer: 'runtime-llama.cpp-cpu', version: '0.7', package: '1:0.7.0-2' };
const container = {
  layer: 'runtime-vllm',
  name: 'vllm',
  image: 'docker.io/vllm/vllm-openai',
  tag: 'v0.28.0',
  digest: digestOf('vllm'),
};

describe('a difference of locks, in words', () => {
  it('names what a person knows first, then security fixes, then the rest', () => {
    const before = lockWith(
      [file('openssl', '3.5.1-1'), file('jq', '1.8-1'), file('same', '1'), file('old', '1')],
      {
        ...driver('1'),
        runtimes: [runtime],
        agent: { name: 'ingot', layer: 'agent-ingot', version: '0.1.0', node: '24.21.0', files: [] },
      },
    );
    const after = lockWith(
      [
        file('openssl', '3.5.1-1+deb13u1', 'debian-security'),
        file('jq', '1.7-1'),
        file('same', '1', 'debian-rebuilt'),
        file('htop', '3.4-1'),
        file('curl', '8-1', 'debian-security'),
      ],
      {
        ...driver('2'),
        kernel: { ...before.kernel, version: '6.12.117-1', release: '6.12.117-cloud' },
        cuda: { name: 'cuda', layer: 'cuda-runtime', version: '12.4', package: '12.4.127-2' },
        containers: [container],
        agent: { name: 'ingot', layer: 'agent-ingot', version: '0.2.0', node: '24.21.0', files: [] },
      },
    );
    const difference = differenceOf(before, after);
    expect(difference).toMatchObject({ security: ['openssl'], older: ['jq'] });
    expect(renderDifference(difference))
      .toBe(`  kernel                           6.12.94-cloud (6.12.94-1) → 6.12.117-cloud (6.12.117-1)
  driver                           nvidia 550.163.01-1 open → nvidia 550.163.01-2 open
  modules nvidia-open-kernel-dkms  550.163.01-1 → 550.163.01-2
  CUDA                             + 12.4.127-2
  container vllm                   + v0.28.0 (${container.digest.slice(0, 19)})
  agent                            0.1.0 → 0.2.0
  runtime llama.cpp                - 1:0.7.0-2
  security fixes (1)
    ~ openssl 3.5.1-1 → 3.5.1-1+deb13u1
  other packages (5)
    + curl 8-1
    + htop 3.4-1
    - old 1
    ~ jq 1.8-1 → 1.7-1 (older)
    ~ same 1 → 1 (same version, other content)
  to fetch, in all: 4.0 MiB → 5.0 MiB
`);
  });

  it('says when nothing moved', () => {
    const lock = lockWith([file('jq', '1')], driver('2'));
    expect(renderDifference(differenceOf(lock, { ...lock, version: '2' }))).toBe('  nothing moved\n');
  });

  it('tells a driver that came from one that moved to another', () => {
    const amd: Partial<Lock> = { driver: { name: 'amd', layer: 'driver-amdgpu' } };
    const moved = (from: Partial<Lock>, to: Partial<Lock>): unknown =>
      differenceOf(lockWith([], from), lockWith([], to)).moves;
    expect(moved({}, amd)).toEqual([{ what: 'driver', name: 'amd', to: 'amd with kernel 6.12.94-1' }]);
    expect(moved(amd, { driver: driver('2').driver })).toEqual([
      { what: 'driver', name: 'nvidia', from: 'amd with kernel 6.12.94-1', to: 'nvidia 550.163.01-2 open' },
    ]);
  });
});
