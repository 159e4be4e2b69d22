import { describe, expect, it } from 'vitest';

import { catalogOf, imageOf, layer, solutionOf, solved } from '../../test/support/resolve.ts';
import type { CatalogLayer, LayerInstall } from '../catalog/layer.ts';
import { digestOf } from '../digest.ts';
import { checkLock } from './check-lock.ts';
import type { Choice } from './choice.ts';
import { choose, requireChoice } from './choose.ts';
import { differenceOf } from './compare-locks.ts';
import { layersOf } from './layers.ts';
import type { AgentFacts } from './lock-agent.ts';
import { parseLock, renderLock } from './lock-text.ts';
import type { Lock } from './lock.ts';
import { makeLock } from './make-lock.ts';

function withProducts(agent: CatalogLayer): CatalogLayer {
  const files = [
    { path: '/usr/lib/ingot/node', product: 'node' as const, mode: 0o755 },
    { path: '/usr/lib/ingot/ingot.mjs', product: 'ingot.mjs' as const, mode: 0o644 },
    { path: '/usr/bin/ingot', content: '#!/bin/sh\n', mode: 0o755 },
  ];
  const install = { packages: ['libc6'], files, units: [], kernelArguments: [] };
  return { ...agent, definition: { ...agent.definition, install: { debian: install } } };
}

const AGENT = withProducts(layer('agent', 'ingot', []));
const CATALOG = catalogOf(
  layer('base', 'debian', ['init']),
  layer('kernel', 'cloud', ['linux-image-6.12.57-cloud-amd64']),
  AGENT,
);
const PLAIN = imageOf();
const IMAGE = imageOf({ agent: 'ingot' });

function factsOf(change: Partial<AgentFacts> & { readonly bundle?: string } = {}): AgentFacts {
  const file = (name: 'node' | 'ingot.mjs' | 'LICENSES', text: string): AgentFacts['files'][number] => ({
    name,
    digest: digestOf(text),
    size: text.length,
  });
  const { bundle = 'bundle', ...rest } = change;
  const files = [file('node', 'node'), file('ingot.mjs', bundle), file('LICENSES', 'terms')];
  return { version: '0.1.0', node: '24.21.0', files, ...rest };
}

function lockOf(agent: AgentFacts, previous?: Lock, now = '2026-01-01T00:00:00Z', image = IMAGE): Lock {
  return makeLock({
    image,
    catalog: CATALOG,
    choice: requireChoice(image, CATALOG),
    solution: solutionOf(
      solved('libc6', { essential: true }),
      solved('init', { depends: 'libc6' }),
      solved('linux-image-6.12.57-cloud-amd64'),
    ),
    tools: { definition: digestOf('tools'), solution: solutionOf(solved('ostree')) },
    compressor: { name: 'zstd', version: '1.5.7', level: 3 },
    agent,
    now: new Date(now),
    previous,
  });
}

const builderWith = (agent: AgentFacts): Parameters<typeof checkLock>[3] => ({
  compressor: { name: 'zstd', version: '1.5.7', level: 3 },
  toolsDefinition: digestOf('tools'),
  agent,
});
const staleOf = (lock: Lock, agent: AgentFacts, image = IMAGE): string[] =>
  checkLock(lock, image, CATALOG, builderWith(agent)).map(({ message }) => message);

describe('a lock with an agent', () => {
  it('names each file that the layer brings of Ingot, and no other', () => {
    const lock = lockOf(factsOf());
    expect(lock.agent).toEqual({
      name: 'ingot',
      layer: 'agent-ingot',
      version: '0.1.0',
      node: '24.21.0',
      files: [
        { name: 'ingot.mjs', digest: digestOf('bundle'), size: 6 },
        { name: 'node', digest: digestOf('node'), size: 4 },
      ],
    });
    expect(lock.layers.map(({ name }) => name)).toEqual(['base', 'kernel', 'agent-ingot']);
    // Everything else that the layer wants is in the base.
    expect(lock.layers.at(-1)?.packages).toEqual([]);
    expect(parseLock(renderLock(lock), 'x.lock.yaml')).toEqual(lock);
    expect(renderLock(lock)).toMatch(/^ {4}- \{name: ingot\.mjs, digest: sha256:\w{64}, size: 6\}$/m);
  });

  it('holds as long as the builder would bring the same', () => {
    expect(staleOf(lockOf(factsOf()), factsOf())).toEqual([]);
  });

  it('is stale when a byte of one file is another, and says which', () => {
    expect(staleOf(lockOf(factsOf()), factsOf({ bundle: 'bumdle' }))).toEqual([
      expect.stringMatching(
        /^its agent's ingot\.mjs is sha256:\w{12} of 6 bytes, now it is sha256:\w{12} of 6 bytes$/,
      ),
    ]);
  });

  it('is stale with another Ingot or Node.js, with a file less, and with an agent that nobody declared', () => {
    const lock = lockOf(factsOf());
    expect(staleOf(lock, factsOf({ version: '0.2.0', node: '24.22.0' }))).toEqual([
      "its agent's version is 0.1.0, now it is 0.2.0",
      "its agent's Node.js is 24.21.0, now it is 24.22.0",
    ]);
    const files = factsOf().files.filter(({ name }) => name !== 'node');
    const [agent] = [lock.agent];
    if (agent === undefined) throw new TypeError('the lock has an agent');
    const less: Lock = { ...lock, agent: { ...agent, files: agent.files.slice(0, 1) } };
    expect(staleOf(less, factsOf())).toEqual([
      expect.stringMatching(/^its agent's node is none, now it is sha256:\w{12} of 4 bytes$/),
    ]);
    expect(staleOf(lock, factsOf({ files }))).toEqual([expect.stringMatching(/node is .*, now it is none$/)]);
    const silent: Partial<Lock> = { ...lock };
    delete silent.agent;
    expect(staleOf(silent as Lock, factsOf())).toEqual(['it does not say what its agent is']);
    expect(staleOf(lock, factsOf(), PLAIN)).toContain('the layer agent-ingot is no longer part of the image');
    const plain = lockOf(factsOf(), undefined, undefined, PLAIN);
    expect(plain.agent).toBeUndefined();
    expect(staleOf({ ...plain, agent }, factsOf(), PLAIN)).toEqual([
      'it has an agent, which is not declared',
    ]);
  });

  it('gives the agent’s layer a new time when its files move, and leaves the others theirs', () => {
    const before = lockOf(factsOf());
    expect(lockOf(factsOf(), before, '2026-02-01T00:00:00Z')).toBe(before);
    const after = lockOf(factsOf({ bundle: 'new' }), before, '2026-02-01T00:00:00Z');
    expect(after.layers.map(({ name, created }) => [name, created.slice(0, 7)])).toEqual([
      ['base', '2026-01'],
      ['kernel', '2026-01'],
      ['agent-ingot', '2026-02'],
    ]);
  });

  it('tells what moved: the version, or what else two of one version differ in', () => {
    const moves = (change: Parameters<typeof factsOf>[0]): unknown =>
      differenceOf(lockOf(factsOf()), lockOf(factsOf(change))).moves;
    expect(moves({})).toEqual([]);
    expect(moves({ version: '0.2.0', bundle: 'new' })).toEqual([
      { what: 'agent', name: 'ingot', from: '0.1.0', to: '0.2.0' },
    ]);
    expect(moves({ bundle: 'new' })).toEqual([
      {
        what: 'agent',
        name: 'ingot',
        from: expect.stringMatching(/^0\.1\.0 \(Node\.js 24\.21\.0, sha256:\w{12}\)$/) as string,
        to: expect.stringMatching(/^0\.1\.0 \(Node\.js 24\.21\.0, sha256:\w{12}\)$/) as string,
      },
    ]);
    const plain = lockOf(factsOf(), undefined, undefined, PLAIN);
    expect(differenceOf(plain, lockOf(factsOf())).moves).toEqual([
      { what: 'agent', name: 'ingot', to: '0.1.0' },
    ]);
  });
});

it('refuses an agent that is not there on the release', () => {
  const elsewhere = { ...AGENT, definition: { ...AGENT.definition, in: ['debian@14'] } };
  const { problems } = choose(IMAGE, catalogOf(...CATALOG.layers.slice(0, 2), elsewhere));
  expect(problems).toEqual([
    { path: ['agent'], message: 'ingot is not there on debian@13', suggestions: [] },
  ]);
});

it('brings what it asks its GPUs with where the image has CUDA, and else not', () => {
  const [base, kernel] = CATALOG.layers as readonly [CatalogLayer, CatalogLayer];
  const debian = { ...AGENT.definition.install.debian, packagesWith: { cuda: ['python3'] } } as LayerInstall;
  const asking = { ...AGENT, definition: { ...AGENT.definition, install: { debian } } };
  const cuda = layer('cuda', 'runtime', ['libcudart12']);
  const catalog = catalogOf(base, kernel, asking, cuda);
  const packages = (choice: Partial<Choice>): unknown =>
    layersOf(IMAGE, catalog, { ...requireChoice(IMAGE, CATALOG), ...choice }).find(
      ({ kind }) => kind === 'agent',
    )?.packages;
  expect(packages({})).toEqual(['libc6']);
  expect(packages({ cuda: [{ layer: cuda }] })).toEqual(['libc6', 'python3']);
});
