import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { solved } from '../../test/support/resolve.ts';
import type { SolvedPackage } from '../packages/solution.ts';
import { DependencyGraph } from './closure.ts';
import { ownPackages, type OwningLayer } from './own-packages.ts';

function owners(
  packages: readonly SolvedPackage[],
  layers: readonly OwningLayer[],
): Record<string, string[]> {
  return Object.fromEntries([...ownPackages(packages, layers)].map(([name, owned]) => [name, [...owned]]));
}

const BASE: OwningLayer = { name: 'base', roots: ['init'], below: [] };

describe('a package belongs to', () => {
  test('the layer that asks for it, with what it pulls in', () => {
    const packages = [
      solved('libc', { essential: true }),
      solved('init', { depends: 'libc' }),
      solved('server', { depends: 'lib-server (>= 1), libc' }),
      solved('lib-server'),
    ];
    expect(owners(packages, [BASE, { name: 'addon', roots: ['server'], below: ['base'] }])).toEqual({
      base: ['init', 'libc'],
      addon: ['lib-server', 'server'],
    });
  });

  test('the base when two layers want it that are not under each other', () => {
    const packages = [
      solved('init'),
      solved('a', { depends: 'shared' }),
      solved('b', { depends: 'shared' }),
      solved('shared', { depends: 'deeper' }),
      solved('deeper'),
    ];
    const layers = [
      BASE,
      { name: 'one', roots: ['a'], below: ['base'] },
      { name: 'two', roots: ['b'], below: ['base'] },
    ];
    expect(owners(packages, layers)).toEqual({ base: ['deeper', 'init', 'shared'], one: ['a'], two: ['b'] });
  });

  test('the lower layer when one that is over it wants it too', () => {
    const packages = [
      solved('init'),
      solved('a', { depends: 'shared' }),
      solved('b', { depends: 'shared' }),
      solved('shared'),
    ];
    const layers = [
      BASE,
      { name: 'low', roots: ['a'], below: ['base'] },
      { name: 'high', roots: ['b'], below: ['base', 'low'] },
    ];
    expect(owners(packages, layers)).toEqual({ base: ['init'], low: ['a', 'shared'], high: ['b'] });
  });

  test('the layer whose first choice it is, not the one that could also take it', () => {
    const packages = [
      solved('init', { depends: 'first | second' }),
      solved('first'),
      solved('second'),
      solved('a', { depends: 'second' }),
    ];
    const layers = [BASE, { name: 'one', roots: ['a'], below: ['base'] }];
    expect(owners(packages, layers)).toEqual({ base: ['first', 'init'], one: ['a', 'second'] });
  });

  test('whoever it could serve, when it is nobody’s first choice', () => {
    const packages = [
      solved('init'),
      solved('a', { depends: 'first | second' }),
      solved('first'),
      solved('second', { depends: 'third' }),
      solved('third'),
    ];
    const layers = [BASE, { name: 'one', roots: ['a'], below: ['base'] }];
    expect(owners(packages, layers)).toEqual({ base: ['init'], one: ['a', 'first', 'second', 'third'] });
  });

  test('a provider, within the version that it provides', () => {
    const packages = [
      solved('init'),
      solved('a', { depends: 'mta (>= 2)' }),
      solved('old-mta', { provides: 'mta (= 1)' }),
      solved('new-mta', { provides: 'mta (= 2)' }),
      solved('b', { depends: 'old-mta' }),
    ];
    const layers = [
      BASE,
      { name: 'one', roots: ['a'], below: ['base'] },
      { name: 'two', roots: ['b'], below: ['base'] },
    ];
    expect(owners(packages, layers)).toEqual({
      base: ['init'],
      one: ['a', 'new-mta'],
      two: ['b', 'old-mta'],
    });
  });
});

/** Any solution, cycles included, and any layers, each over some of those before it. */
const anything = fc.integer({ min: 2, max: 14 }).chain((count) => {
  const name = fc.integer({ min: 0, max: count - 1 }).map((number) => `p${number}`);
  const group = fc.array(name, { minLength: 1, maxLength: 2 }).map((names) => names.join(' | '));
  return fc.record({
    packages: fc
      .array(
        fc.record({
          depends: fc.array(group, { maxLength: 3 }).map((groups) => groups.join(', ')),
          provides: fc.option(fc.constantFrom('v0', 'v1'), { nil: '' }),
          essential: fc.boolean(),
        }),
        { minLength: count, maxLength: count },
      )
      .map((details) => details.map((detail, number) => solved(`p${number}`, detail))),
    layers: fc
      .array(
        fc.record({ roots: fc.array(name, { maxLength: 3 }), over: fc.array(fc.nat(5), { maxLength: 3 }) }),
        {
          minLength: 1,
          maxLength: 6,
        },
      )
      .map((drafts) => {
        const layers: OwningLayer[] = [];
        for (const [number, { roots, over }] of drafts.entries()) {
          const lower = over.flatMap((index) => layers[index] ?? []);
          const below = new Set(
            layers
              .slice(0, 1)
              .concat(lower)
              .flatMap((layer) => [...layer.below, layer.name]),
          );
          layers.push({ name: `l${number}`, roots, below: [...below] });
        }
        return layers;
      }),
  });
});

describe('always', () => {
  test('every package has exactly one owner', () => {
    fc.assert(
      fc.property(anything, ({ packages, layers }) => {
        const owned = [...ownPackages(packages, layers).values()].flat();
        expect(owned.sort()).toEqual(packages.map((item) => item.package.name).sort());
      }),
    );
  });

  test('a layer and those under it hold all that its packages depend on', () => {
    fc.assert(
      fc.property(anything, ({ packages, layers }) => {
        const owned = ownPackages(packages, layers);
        const graph = new DependencyGraph(packages);
        for (const layer of layers) {
          const reachable = [layer.name, ...layer.below].flatMap((name) => owned.get(name) ?? []);
          for (const name of graph.closure(owned.get(layer.name) ?? [])) expect(reachable).toContain(name);
        }
      }),
    );
  });

  test('the base holds everything essential', () => {
    fc.assert(
      fc.property(anything, ({ packages, layers }) => {
        const base = ownPackages(packages, layers).get('l0') ?? [];
        for (const item of packages) if (item.essential) expect(base).toContain(item.package.name);
      }),
    );
  });

  test('a layer’s own packages are in it or under it', () => {
    fc.assert(
      fc.property(anything, ({ packages, layers }) => {
        const owned = ownPackages(packages, layers);
        for (const layer of layers) {
          const reachable = [layer.name, ...layer.below].flatMap((name) => owned.get(name) ?? []);
          for (const root of layer.roots) expect(reachable).toContain(root);
        }
      }),
    );
  });

  test('the order of the packages does not matter', () => {
    const shuffled = anything.chain((value) =>
      fc
        .shuffledSubarray(value.packages, { minLength: value.packages.length })
        .map((other) => ({ ...value, other })),
    );
    fc.assert(
      fc.property(shuffled, ({ packages, other, layers }) => {
        expect(owners(other, layers)).toEqual(owners(packages, layers));
      }),
    );
  });
});
