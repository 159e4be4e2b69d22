import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

import { loadCatalog } from '../catalog/load.ts';
import { digestOf } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Lock } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import type { PlanChunk } from './chunks.ts';
import { makePlan, planTools } from './make-plan.ts';
import type { Plan } from './plan.ts';

const catalog = await loadCatalog([join(resolve(import.meta.dirname, '../..'), 'layers')]);
const builder = digestOf('builder');

const image: NodeImage = {
  name: 'node',
  architecture: 'amd64',
  base: { name: 'debian', release: '13' },
  kernel: { flavour: 'cloud' },
  addons: ['ssh'],
  packages: [],
  groups: [],
  users: [],
  files: [],
  units: [],
  kernelArguments: ['quiet'],
  health: [],
};

function file(name: string, version = '1'): LockedPackage {
  const sha256 = digestOf(`${name} ${version}`).slice('sha256:'.length);
  return {
    name,
    version,
    architecture: 'amd64',
    sha256,
    size: 10,
    filename: `pool/${name}.deb`,
    archive: 'debian',
  };
}

function lockWith(change: Partial<Record<'base' | 'kernel' | 'addon-ssh', LockedPackage[]>> = {}): Lock {
  const layer = (
    name: 'base' | 'kernel' | 'addon-ssh',
    kind: string,
    packages: LockedPackage[],
  ): Lock['layers'][0] => ({
    name,
    kind,
    created: '2026-01-01T00:00:00Z',
    packages: change[name] ?? packages,
  });
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
    layers: [
      layer('base', 'base', [file('libc6')]),
      layer('kernel', 'kernel', [file('linux-image-6')]),
      layer('addon-ssh', 'addon', [file('openssh-server')]),
    ],
    tools: { definition: digestOf('tools'), suite: 'trixie', archives: [], packages: [file('qemu')] },
  };
}

const planOf = (lock: Lock, node = image, code = builder): Plan =>
  makePlan({ image: node, lock, catalog, builder: code });
const keysOf = (plan: Plan): Record<string, string> =>
  Object.fromEntries(plan.steps.map((step) => [step.name, step.key]));
function changed(before: Plan, after: Plan): string[] {
  const earlier = keysOf(before);
  return Object.entries(keysOf(after))
    .filter(([name, key]) => earlier[name] !== key)
    .map(([name]) => name);
}

describe('makePlan', () => {
  it('is a graph with the seal on top', () => {
    const plan = planOf(lockWith());
    expect(plan.steps.map(({ name, kind, needs }) => [name, kind, needs])).toEqual([
      ['base', 'base', []],
      ['kernel', 'unpack', ['base']],
      ['initramfs', 'initramfs', ['base', 'kernel']],
      ['addon-ssh', 'unpack', ['base']],
      ['seal', 'seal', ['base', 'kernel', 'initramfs', 'addon-ssh']],
    ]);
    expect(plan.epoch).toBe(Date.parse('2026-01-02T00:00:00Z') / 1000);
  });

  it('gives equal inputs equal keys', () => {
    expect(planOf(lockWith())).toEqual(planOf(lockWith()));
  });

  it('rebuilds a layer whose package changed, and the seal, and nothing else', () => {
    const after = planOf(lockWith({ 'addon-ssh': [file('openssh-server', '2')] }));
    expect(changed(planOf(lockWith()), after)).toEqual(['addon-ssh', 'seal']);
  });

  it('rebuilds the initramfs too when the kernel changed', () => {
    const after = planOf(lockWith({ kernel: [file('linux-image-6', '2')] }));
    expect(changed(planOf(lockWith()), after)).toEqual(['kernel', 'initramfs', 'seal']);
  });

  it('rebuilds everything on a changed base', () => {
    const after = planOf(lockWith({ base: [file('libc6', '2')] }));
    expect(changed(planOf(lockWith()), after)).toEqual(['base', 'kernel', 'initramfs', 'addon-ssh', 'seal']);
  });

  it('rebuilds a base whose packages are installed in another order', () => {
    const after = planOf(lockWith({ base: [{ ...file('libc6'), essential: true }] }));
    expect(changed(planOf(lockWith()), after)).toContain('base');
  });

  it('rebuilds just the seal for what the declaration alone says', () => {
    const before = planOf(lockWith());
    for (const change of [
      { kernelArguments: ['debug'] },
      { hostname: 'node-1' },
      { files: [{ path: '/etc/motd', content: 'x', mode: 0o644, user: 'root', group: 'root' }] },
      { health: [{ name: 'up', run: 'true', timeoutSeconds: 1 }] },
      { units: [{ name: 'ssh.service', enabled: false, masked: false }] },
      { users: [{ name: 'ops', gecos: '', shell: '/bin/sh', groups: [], sshKeys: [] }] },
    ] satisfies Partial<NodeImage>[]) {
      expect(changed(before, planOf(lockWith(), { ...image, ...change }))).toEqual(['seal']);
    }
  });

  it('has the building code in every key', () => {
    expect(changed(planOf(lockWith()), planOf(lockWith(), image, digestOf('other')))).toHaveLength(5);
  });

  it('divides a layer into chunks without making its tree anew', () => {
    const large = { ...file('linux-image-6'), size: 30_000_000 };
    const { steps } = planOf(lockWith({ kernel: [large, file('linux-base')] }));
    const chunksOf = (name: string): readonly PlanChunk[] =>
      steps.find((step) => step.name === name)?.chunks ?? [];
    expect(chunksOf('kernel').map((chunk) => chunk.packages)).toEqual([
      [],
      ['linux-image-6'],
      ['linux-base'],
    ]);
    // The initramfs is as old as the kernel, however new the lock is.
    expect(chunksOf('seal')).toEqual([
      { name: 'rest', packages: [], level: 9, epoch: Date.parse('2026-01-02T00:00:00Z') / 1000 },
      {
        name: 'initramfs',
        packages: [],
        level: 9,
        paths: ['usr/lib/modules/6-cloud/initramfs.img'],
        epoch: Date.parse('2026-01-01T00:00:00Z') / 1000,
      },
    ]);
    const before = planOf(lockWith());
    const level = { ...lockWith(), compressor: { name: 'zstd', version: '1.5.7', level: 9 } } satisfies Lock;
    const after = planOf(level);
    expect(changed(before, after)).toHaveLength(5);
    expect(after.steps.map((step) => step.treeKey)).toEqual(before.steps.map((step) => step.treeKey));
  });

  it('marks what neither the declaration nor a layer names as having come along', () => {
    const lock = lockWith({
      base: [file('libc6'), { ...file('dash'), essential: true }, file('systemd')],
      'addon-ssh': [file('openssh-server'), file('htop'), { ...file('ucf'), architecture: 'all' }],
    });
    const { seal } = planOf(lock, { ...image, packages: ['htop=1'] });
    expect(seal.automatic).toEqual([
      { name: 'libc6', architecture: 'amd64' },
      { name: 'ucf', architecture: 'amd64' },
    ]);
  });

  it('runs a container by its digest, as a quadlet of its layer', () => {
    const digest = digestOf('vllm');
    const lock = lockWith();
    lock.layers.push({ name: 'runtime-vllm', kind: 'runtime', created: lock.created, packages: [] });
    const runtime = lock.layers.at(-1);
    if (runtime !== undefined) runtime.definition = { name: 'vllm', digest: digestOf('definition') };
    const container = {
      layer: 'runtime-vllm',
      name: 'vllm',
      image: 'docker.io/vllm/vllm-openai',
      tag: 'v0.28.0',
      digest,
    };
    const vllm = catalog.find('runtime', 'vllm');
    if (vllm === undefined) throw new TypeError('the catalogue has no vllm');
    // By itself: what it needs is not the matter here.
    const alone = { ...vllm, definition: { ...vllm.definition, needs: [] } };
    const seen = {
      ...catalog,
      find: (kind: string, name: string) => (name === 'vllm' ? alone : catalog.find(kind as 'base', name)),
    };
    const plan = makePlan({ image, lock: { ...lock, containers: [container] }, catalog: seen, builder });
    const [quadlet] = plan.steps.find(({ name }) => name === 'runtime-vllm')?.files ?? [];
    expect(quadlet?.path).toBe('/usr/share/containers/systemd/vllm.container');
    expect(quadlet).toMatchObject({
      content: expect.stringContaining(`Image=docker.io/vllm/vllm-openai@${digest}\n`) as string,
    });
  });

  it('names the agent’s files by digest, and rebuilds its layer and the seal when one is another', () => {
    const withAgent = (bundle: string, version = '0.1.0'): Plan => {
      const lock = lockWith();
      const files = (
        ['LICENSES', 'hash-worker.mjs', 'ingot-node.mjs', 'ingot.mjs', 'node', 'package.json'] as const
      ).map((name) => ({
        name,
        digest: digestOf(name === 'ingot.mjs' ? bundle : name),
        size: name === 'node' ? 100_000_000 : 10,
      }));
      lock.layers.push({ name: 'agent-ingot', kind: 'agent', created: lock.created, packages: [] });
      const agent = { name: 'ingot', layer: 'agent-ingot', version, node: '24.21.0', files };
      return planOf({ ...lock, agent }, { ...image, agent: 'ingot' });
    };
    const plan = withAgent('one');
    expect(changed(plan, withAgent('one'))).toEqual([]);
    expect(changed(plan, withAgent('other'))).toEqual(['agent-ingot', 'seal']);
    const { files = [], chunks } = plan.steps.find(({ name }) => name === 'agent-ingot') ?? {};
    // A node pulls Node.js again only when it is another.
    expect(chunks).toMatchObject([
      { name: 'rest' },
      { name: 'node', paths: ['usr/lib/ingot/node'], epoch: 0 },
    ]);
    expect(files.find(({ path }) => path === '/usr/lib/ingot/ingot.mjs')).toEqual({
      path: '/usr/lib/ingot/ingot.mjs',
      mode: 0o644,
      user: 'root',
      group: 'root',
      blob: { digest: digestOf('one'), size: 10 },
    });
    expect(files.find(({ path }) => path === '/usr/bin/ingot')).toHaveProperty('content');
    const checks = withAgent('one', '1.2.3').seal.health.map(({ run }) => run);
    expect(checks).toContain('test "$(ingot --version)" = "1.2.3"');
  });

  it('takes files, units and kernel arguments from the layers, the declaration’s last', () => {
    const { seal, steps } = planOf(lockWith());
    expect(seal.kernelArguments.map(({ origin }) => origin)).toEqual(['base', 'declaration']);
    expect(seal.kernelArguments.at(-1)?.values).toEqual(['quiet']);
    expect(steps[0]?.files.map(({ path }) => path)).toContain('/usr/lib/ostree/prepare-root.conf');
  });
});

describe('planTools', () => {
  it('changes with a package of the tools alone', () => {
    const lock = lockWith();
    const other = { tools: { ...lock.tools, packages: [file('qemu', '2')] } };
    expect(planTools(lock, builder).treeKey).not.toBe(planTools(other, builder).treeKey);
    expect(planTools(lock, builder)).toEqual(planTools(lockWith({ kernel: [] }), builder));
  });
});
