import { describe, expect, test } from 'vitest';

import { catalogOf, imageOf, layer, solutionOf, solved } from '../../test/support/resolve.ts';
import { digestOf } from '../digest.ts';
import { declarationDigest } from '../spec/normalise.ts';
import type { NodeImage } from '../spec/node-image.ts';
import type { Choice } from './choice.ts';
import { checkLock, requireFresh } from './check-lock.ts';
import { compareLocks, differenceOf } from './compare-locks.ts';
import { layersOf } from './layers.ts';
import type { Lock } from './lock.ts';
import { makeLock, nextVersion, type LockInput } from './make-lock.ts';

const KERNEL = 'linux-image-6.12.57+deb13-cloud-amd64';
const CATALOG = catalogOf(
  layer('base', 'debian', ['init']),
  layer('kernel', 'cloud', ['linux-image-cloud-amd64']),
  layer('addon', 'ssh', ['openssh-server']),
  layer('addon', 'git', ['git'], ['ssh', 'base']),
);
const SOLUTION = solutionOf(
  solved('libc6', { essential: true, depends: 'libgcc' }),
  solved('libgcc'),
  solved('init', { depends: 'libc6' }),
  solved('linux-image-cloud-amd64', { depends: KERNEL }),
  solved(KERNEL, { version: '6.12.57-1' }),
  solved('openssh-server', { depends: 'libc6' }),
);
const TOOLS = { definition: digestOf('tools'), solution: solutionOf(solved('ostree')) };
const COMPRESSOR = { name: 'zstd', version: '1.5.7', level: 3 } as const;
const NOTHING: Choice = { cuda: [], runtimes: [], addons: [] };
const NOW = new Date('2025-11-22T10:20:30.456Z');

function lockOf(image: NodeImage, overrides: Partial<LockInput> = {}): ReturnType<typeof makeLock> {
  const input = {
    image,
    catalog: CATALOG,
    choice: NOTHING,
    solution: SOLUTION,
    tools: TOOLS,
    compressor: COMPRESSOR,
    now: NOW,
  };
  return makeLock({ ...input, ...overrides });
}

const IMAGE = imageOf({ addons: ['ssh'] });

describe('a lock', () => {
  test('names every input', () => {
    const lock = lockOf(IMAGE);
    expect(lock).toMatchObject({
      name: 'node',
      declaration: declarationDigest(IMAGE),
      created: '2025-11-22T10:20:30Z',
      version: '20251122.1',
      base: { name: 'debian', release: '13', suite: 'trixie', architecture: 'amd64' },
      kernel: {
        flavour: 'cloud',
        package: KERNEL,
        version: '6.12.57-1',
        release: '6.12.57+deb13-cloud-amd64',
      },
      tools: { definition: TOOLS.definition, suite: 'trixie' },
    });
    expect(lock.layers.map(({ name, packages }) => [name, packages.map((item) => item.name)])).toEqual([
      ['base', ['init', 'libc6', 'libgcc']],
      ['kernel', [KERNEL, 'linux-image-cloud-amd64']],
      ['addon-ssh', ['openssh-server']],
    ]);
  });

  test('names the facts it was judged by, and is no new image for others that choose the same', () => {
    const [old, fresh] = [digestOf('facts'), digestOf('facts, a row later')];
    const first = lockOf(IMAGE, { facts: old });
    const tomorrow = new Date(NOW.getTime() + 86_400_000);
    const later = lockOf(IMAGE, { facts: fresh, now: tomorrow, previous: first });
    expect(first.facts).toBe(old);
    expect(later).toEqual({ ...first, facts: fresh });
    expect(differenceOf(first, later).moves).toMatchObject([{ what: 'facts' }]);
    expect(lockOf(IMAGE)).not.toHaveProperty('facts');
  });

  test('marks the essential packages and what they pull in', () => {
    const essential = lockOf(IMAGE)
      .layers.flatMap((item) => item.packages)
      .filter((item) => item.essential);
    expect(essential.map((item) => item.name)).toEqual(['libc6', 'libgcc']);
  });

  test('has a layer for the declaration’s own packages', () => {
    const solution = solutionOf(...SOLUTION.packages, solved('htop', { depends: 'libc6' }));
    const lock = lockOf(imageOf({ packages: ['htop=1.0-1'] }), { solution });
    expect(lock.layers.at(-1)).toMatchObject({
      name: 'packages',
      kind: 'addon',
      packages: [{ name: 'htop' }],
    });
    expect(lock.layers.at(-1)?.definition).toBeUndefined();
  });

  test('takes a kernel image that was chosen in the metapackage’s stead', () => {
    const packages = SOLUTION.packages.filter((item) => item.package.name !== 'linux-image-cloud-amd64');
    const lock = lockOf(IMAGE, { solution: solutionOf(...packages) });
    expect(lock.layers.find((item) => item.name === 'kernel')?.packages.map((item) => item.name)).toEqual([
      KERNEL,
    ]);
  });

  test.each([
    ['no kernel', SOLUTION.packages.filter((item) => !item.package.name.startsWith('linux'))],
    ['two kernels', [...SOLUTION.packages, solved('linux-image-6.1.0-9-cloud-amd64')]],
  ])('of an image with %s is refused', (_what, packages) => {
    expect(() => lockOf(IMAGE, { solution: solutionOf(...packages) })).toThrow(
      expect.objectContaining({ code: 'CATALOG_INVALID' }),
    );
  });
});

describe('a lock that follows another', () => {
  const later = new Date('2025-11-22T18:00:00Z');
  const first = lockOf(IMAGE);

  test('is the other when nothing has changed', () => {
    expect(lockOf(IMAGE, { previous: first, now: later })).toBe(first);
  });

  test('counts the version up and keeps the time of layers that are the same', () => {
    const solution = solutionOf(
      ...SOLUTION.packages.map((item) =>
        item.package.name === 'openssh-server'
          ? solved('openssh-server', { version: '2', depends: 'libc6' })
          : item,
      ),
    );
    const next = lockOf(IMAGE, { previous: first, now: later, solution });
    expect([next.created, next.version]).toEqual(['2025-11-22T18:00:00Z', '20251122.2']);
    expect(next.layers.map((item) => [item.name, item.created])).toEqual([
      ['base', first.created],
      ['kernel', first.created],
      ['addon-ssh', next.created],
    ]);
    expect(compareLocks(first, next)).toEqual({
      added: [],
      removed: [],
      changed: [{ name: 'openssh-server', from: '1.0-1', to: '2' }],
    });
  });

  test('has the declared version, when there is one', () => {
    expect(lockOf(imageOf({ version: '1.2' }), { previous: first }).version).toBe('1.2');
  });

  test.each([
    [undefined, '20251122.1'],
    ['20251121.7', '20251122.1'],
    ['20251122.9', '20251122.10'],
    // A clock that went back must not make versions go back.
    ['20260101.3', '20260101.4'],
    ['1.2.3', '20251122.1'],
  ])('after %s comes %s', (previous, next) => {
    expect(nextVersion(NOW, previous)).toBe(next);
  });
});

describe('layers', () => {
  test('bring what they need, under them', () => {
    expect(
      layersOf(imageOf({ addons: ['git'], packages: ['x'] }), CATALOG, NOTHING).map(({ name, below }) => [
        name,
        below,
      ]),
    ).toEqual([
      ['base', []],
      ['kernel', ['base']],
      ['addon-ssh', ['base']],
      ['addon-git', ['base', 'addon-ssh']],
      ['packages', ['base']],
    ]);
  });

  test('may need the kernel', () => {
    const catalog = catalogOf(...CATALOG.layers, layer('addon', 'k', [], ['kernel']));
    expect(layersOf(imageOf({ addons: ['k'] }), catalog, NOTHING).at(-1)?.below).toEqual(['base', 'kernel']);
  });

  test.each([
    ['a layer that is not there', imageOf({ addons: ['none'] }), /no addon layer none/],
    ['a circle', imageOf({ addons: ['a'] }), /a → b → a/],
  ])('%s is refused', (_what, image, message) => {
    const catalog = catalogOf(
      ...CATALOG.layers,
      layer('addon', 'a', [], ['b']),
      layer('addon', 'b', [], ['a']),
    );
    expect(() => layersOf(image, catalog, NOTHING)).toThrow(
      expect.objectContaining({ code: 'CATALOG_INVALID' }),
    );
    expect(() => layersOf(image, catalog, NOTHING)).toThrow(message);
  });
});

describe('a lock is stale when', () => {
  const lock = lockOf(IMAGE);
  const facts = { compressor: COMPRESSOR, toolsDefinition: TOOLS.definition };

  test('nothing has changed: not at all', () => {
    expect(checkLock(lock, IMAGE, CATALOG, facts)).toEqual([]);
    requireFresh([], 'x.lock.yaml', 'x.yaml');
  });

  test('the declaration has changed', () => {
    expect(checkLock(lock, imageOf({ addons: ['ssh'], hostname: 'x' }), CATALOG, facts)).toEqual([
      { what: 'declaration', message: 'the declaration has changed' },
    ]);
  });

  test('a layer has come, gone, or changed', () => {
    const changed = catalogOf(...CATALOG.layers.slice(1), layer('base', 'debian', ['init', 'more']));
    expect(
      checkLock(lock, imageOf({ packages: ['x'] }), changed, facts).map(({ message }) => message),
    ).toEqual([
      'the declaration has changed',
      'the definition of the layer base has changed',
      'the layer packages is not in it',
      'the layer addon-ssh is no longer part of the image',
    ]);
  });

  test.each<[string, Partial<Lock>, RegExp]>([
    ['another image’s', { name: '../../../etc/cron.d/x' }, /its name is \.\.\/.* instead of/],
    ['a variant’s', { variant: 'gpu' }, /its variant is gpu instead of none/],
    ['of another release', { base: { ...lock.base, release: '12' } }, /its base is debian@12 instead of/],
    ['of no possible version', { version: 'x"\nEVIL="1' }, /its version "x\\"\\nEVIL=\\"1" cannot be one/],
    ['out of order', { layers: lock.layers.toReversed() }, /layers are not in the order base, /],
    ['with a layer twice', { layers: [...lock.layers, ...lock.layers] }, /the layer base is in it twice/],
    [
      'with a package twice',
      { layers: lock.layers.map((item) => ({ ...item, packages: lock.layers[0]?.packages ?? [] })) },
      /the package \S+ is in it twice/,
    ],
  ])('it is %s by hand', (_what, edit, message) => {
    const edited = { ...lock, ...edit };
    const reasons = checkLock(edited, IMAGE, CATALOG, facts);
    expect(reasons.map((reason) => reason.message).join('; ')).toMatch(message);
    // And `ingot lock`, which the hint names, mends it.
    expect(checkLock(lockOf(IMAGE, { previous: edited }), IMAGE, CATALOG, facts)).toEqual([]);
  });

  test('the builder has changed', () => {
    const other = { compressor: { ...COMPRESSOR, version: '1.6.0' }, toolsDefinition: digestOf('other') };
    const reasons = checkLock(lock, IMAGE, CATALOG, other);
    expect(reasons.map(({ what }) => what)).toEqual(['compressor', 'tools']);
    expect(() => {
      requireFresh(reasons, 'x.lock.yaml', "it's x.yaml");
    }).toThrow(
      expect.objectContaining({
        code: 'LOCK_STALE',
        hint: expect.stringContaining(`ingot lock 'it'\\''s x.yaml'`) as string,
      }),
    );
  });
});
