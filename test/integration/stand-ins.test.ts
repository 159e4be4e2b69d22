/** Layers unpacked with stand-ins for packages are to the bit those that dpkg unpacks by itself. */
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { GrowingArchives } from '../../src/build/archive/growing-archives.ts';
import { packChunks } from '../../src/build/archive/pack.ts';
import { chunksByPath } from '../../src/build/debian/package-files.ts';
import { RootFs } from '../../src/build/root-fs.ts';
import { leftOutOf, makeUnpackTree } from '../../src/build/steps.ts';
import { settleTimes } from '../../src/build/tree-times.ts';
import { loadLock } from '../../src/cli/load-lock.ts';
import { digestOf, hexOf } from '../../src/digest.ts';
import { fetchPackages } from '../../src/packages/fetch.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { GROUP_BYTES, planChunks } from '../../src/plan/chunks.ts';
import type { PlanStep } from '../../src/plan/plan.ts';
import { run } from '../../src/proc/run.ts';
import { createReporter } from '../../src/report/events.ts';
import { hashTrees } from '../../src/store/hashing.ts';
import { Store } from '../../src/store/store.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { storeWithPackages } from '../support/thin-store.ts';
import { describeTree } from '../support/tree.ts';
import { planOf } from '../support/unpacked-root.ts';

let image: BuiltImage;
let store: Store;
let folder: string;
let base: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/stand-ins-'));
  // Its own: what is made here, some of it damaged, is of no use to others.
  store = await Store.open(storeWithPackages(image, join(folder, 'store')));
  const step = (await planOf(image)).steps.find(({ name }) => name === 'base');
  if (step === undefined) throw new Error('the plan has no base');
  base = join(image.store, 'trees', hexOf(step.treeKey), 'root');
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Unpacked {
  /** What is told of stand-ins. */
  readonly told: readonly string[];
  readonly files: Awaited<ReturnType<typeof describeTree>>;
  readonly contents: string | undefined;
  readonly chunks: readonly (readonly string[])[];
  /** What was archived while it was unpacked, and what was not, with the reason. */
  readonly grown: ReadonlyMap<string, 'taken' | { readonly why: string }>;
}

async function unpack(packages: readonly LockedPackage[], standInsFrom: number): Promise<Unpacked> {
  const root = mkdtempSync(join(folder, 'tree-'));
  const told: string[] = [];
  const reporter = createReporter([
    (event) => {
      if (event.type === 'log' && /dpkg unpacks|unpacked beside/.test(event.message))
        told.push(event.message);
    },
  ]);
  const epoch = 1_790_000_000; // before now: what is newer was made by the build
  const common = {
    name: 'layer',
    kind: 'unpack',
    treeKey: digestOf(''),
    needs: ['base'],
    packages,
    files: [],
    epoch,
    summary: '',
  } as const;
  const step: PlanStep = { ...common, key: digestOf(''), chunks: planChunks([common])[0] ?? [] };
  const grows = standInsFrom !== Infinity;
  await using growing = grows
    ? await GrowingArchives.open(store, { chunks: step.chunks, epoch, level: 3 })
    : undefined;
  await makeUnpackTree(root, step, [{ name: 'base', root: base, needs: [] }], {
    store,
    reporter,
    standInsFrom,
    growing,
  });
  rmSync(join(root, 'var/log/dpkg.log')); // when what was done; in no layer
  settleTimes(root, epoch);
  const hash = (await hashTrees([root])).get(root);
  const files = await describeTree(root);
  await using scratch = await store.scratch('stand-ins');
  const blobs = await Store.open(scratch.path);
  const division = { chunks: step.chunks, chunksOf: await chunksByPath(new RootFs(root), step.chunks) };
  const grown: [string, 'taken' | { why: string }][] = [];
  const chunks = await packChunks(blobs, root, division, {
    epoch,
    drop: leftOutOf(step, root, undefined),
    level: 3,
    growing,
    onGrown: (chunk, result) => grown.push([chunk, result]),
  });
  for (const { digest } of chunks) expect(digestOf(readFileSync(blobs.blobPath(hexOf(digest))))).toBe(digest);
  rmSync(root, { recursive: true });
  return {
    told,
    files,
    contents: hash !== undefined && 'hex' in hash ? hash.hex : undefined,
    chunks: chunks.map(({ name, diffId, digest }) => [name, diffId, digest]),
    grown: new Map(grown),
  };
}

/** Both ways. Gives what was told of the second. */
async function expectSame(packages: readonly LockedPackage[]): Promise<Pick<Unpacked, 'told' | 'grown'>> {
  const byDpkg = await unpack(packages, Infinity);
  const beside = await unpack(packages, 1);
  expect(byDpkg.told).toEqual([]);
  expect(beside.files).toEqual(byDpkg.files);
  expect(beside.contents).toMatch(/^[0-9a-f]{64}$/);
  expect(beside.contents).toBe(byDpkg.contents);
  expect(beside.chunks).toEqual(byDpkg.chunks);
  return beside;
}

/** Names of the packages that had stand-ins, whichever was first. */
function namesIn([told = '', ...others]: readonly string[]): string[] {
  expect(others).toEqual([]);
  return told.replace('unpacked beside dpkg: ', '').split(', ').sort();
}

interface Made {
  readonly fields?: readonly string[];
  /** Contents by path; of the control part below DEBIAN. */
  readonly files: Readonly<Record<string, string>>;
  readonly sums?: boolean;
  readonly change?: (tree: string) => void;
}

const LARGE = 'large '.repeat(20_000);

/** A package made by dpkg-deb, in the store. */
async function makePackage(
  name: string,
  { fields = [], files, sums = true, change }: Made,
): Promise<LockedPackage> {
  const tree = mkdtempSync(join(folder, `${name}-`));
  chmodSync(tree, 0o755);
  const control = [
    `Package: ${name}`,
    'Version: 1',
    'Architecture: amd64',
    'Maintainer: T <t@t>',
    'Description: t',
    ...fields,
    '',
  ];
  const all = { 'DEBIAN/control': control.join('\n'), ...(sums && { 'DEBIAN/md5sums': '' }), ...files };
  for (const [path, content] of Object.entries(all)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), Buffer.from(content, 'latin1'), {
      mode: /DEBIAN\/(?:pre|post)/.test(path) ? 0o755 : 0o644,
    });
  }
  change?.(tree);
  const deb = `${tree}.deb`;
  await run(['dpkg-deb', '--build', tree, deb], {
    env: { SOURCE_DATE_EPOCH: '1700000000' },
  });
  const bytes = readFileSync(deb);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const target = store.packagePath(sha256);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(deb, target);
  return {
    name,
    version: '1',
    architecture: 'amd64',
    sha256,
    size: bytes.length,
    filename: `pool/${name}.deb`,
  } as LockedPackage;
}

/** As large as a package has to be for a chunk of its own, and different each time. */
const INCOMPRESSIBLE = randomBytes(GROUP_BYTES + 1).toString('latin1');

describe('packages that are archived while they are unpacked', () => {
  test('whole, or just their large files: dpkg and the archive get the same', async () => {
    const whole = await makePackage('aa-whole', {
      files: {
        'usr/lib/aa/data': INCOMPRESSIBLE,
        'usr/lib/aa/small': 'small',
        'usr/bin/aa': LARGE,
        'usr/share/doc/aa-whole/copyright': 'free',
        'DEBIAN/triggers': 'activate-noawait ldconfig\n',
      },
      change: (tree) => {
        symlinkSync('data', join(tree, 'usr/lib/aa/another-name'));
        chmodSync(join(tree, 'usr/bin/aa'), 0o4755);
        mkdirSync(join(tree, 'usr/share/aa-empty'));
      },
    });
    const split = {
      ...(await makePackage('bb-split', {
        files: {
          'usr/lib/bb/data': INCOMPRESSIBLE,
          'usr/lib/bb/large': LARGE.repeat(20),
          'usr/lib/bb/small': 'small',
          'usr/share/doc/bb-split/copyright': 'not free',
        },
      })),
      filename: 'pool/non-free/b/bb-split/bb-split.deb',
    };
    const { told, grown } = await expectSame([whole, split]);
    expect(namesIn(told)).toEqual(['aa-whole', 'bb-split']);
    expect(grown).toEqual(
      new Map([
        ['aa-whole', 'taken'],
        ['bb-split:files', 'taken'],
      ]),
    );
  });

  test('not where the tree came out otherwise', async () => {
    const { told, grown } = await expectSame([
      await makePackage('aa-linked', {
        files: { 'usr/lib/aa/data': INCOMPRESSIBLE },
        change: (tree) => {
          linkSync(join(tree, 'usr/lib/aa/data'), join(tree, 'usr/lib/aa/again'));
        },
      }),
      await makePackage('bb-merged', { files: { 'lib/bb/data': INCOMPRESSIBLE } }),
    ]);
    expect(namesIn(told)).toEqual(['aa-linked', 'bb-merged']);
    expect([...grown.keys()].sort()).toEqual(['aa-linked', 'bb-merged']);
    expect([...grown.values()]).not.toContain('taken');
  });
});

describe('packages that were made for it', () => {
  test('with links, rights, owners, triggers and files in merged folders', async () => {
    const { told } = await expectSame([
      await makePackage('aa-large', {
        files: {
          'usr/lib/aa/liba.so.1': LARGE,
          'usr/bin/aa': `#!/bin/sh\n${LARGE}`,
          'lib/aa-merged': `merged ${LARGE}`,
          'usr/share/doc/aa-large/copyright': 'free',
          'DEBIAN/triggers': 'activate-noawait ldconfig\n',
        },
        change: (tree) => {
          symlinkSync('liba.so.1', join(tree, 'usr/lib/aa/liba.so'));
          chownSync(join(tree, 'usr/bin/aa'), 0, 8);
          chmodSync(join(tree, 'usr/bin/aa'), 0o6755);
          linkSync(join(tree, 'usr/bin/aa'), join(tree, 'usr/bin/aa-again'));
        },
      }),
      await makePackage('bb-conffiles', {
        files: { 'etc/bb.conf': LARGE, 'DEBIAN/conffiles': '/etc/bb.conf\n' },
      }),
      await makePackage('cc-no-sums', { files: { 'usr/share/cc': LARGE }, sums: false }),
    ]);
    expect(told).toEqual(['unpacked beside dpkg: aa-large']);
  });

  test('have none where a script could look at their files', async () => {
    const looking = {
      files: { 'usr/share/bb': LARGE, 'DEBIAN/preinst': '#!/bin/sh\ncp /usr/share/aa /usr/share/seen\n' },
    };
    const { told } = await expectSame([
      await makePackage('aa-before', { files: { 'usr/share/aa': LARGE } }),
      await makePackage('bb-looking', looking),
      await makePackage('cc-after', { files: { 'usr/share/cc': LARGE } }),
    ]);
    expect(told).toEqual(['unpacked beside dpkg: cc-after']);
  });

  test.each([
    [
      'diverted',
      async () => [
        await makePackage('aa-diverting', {
          files: {
            'DEBIAN/preinst':
              '#!/bin/sh\ndpkg-divert --quiet --package aa-diverting --rename --divert /usr/share/elsewhere --add /usr/share/bb\n',
          },
        }),
        await makePackage('bb-diverted', { files: { 'usr/share/bb': LARGE } }),
      ],
    ],
    [
      'replaced',
      async () => [
        await makePackage('aa-replaced', { files: { 'usr/share/aa': LARGE, 'usr/share/own': LARGE } }),
        await makePackage('bb-replacing', {
          fields: ['Replaces: aa-replaced'],
          files: { 'usr/share/aa': 'small' },
        }),
      ],
    ],
  ])('dpkg unpacks all itself when a file of one is %s', async (_how, packages) => {
    const { told } = await expectSame(await packages());
    expect(told.at(-1)).toMatch(/^layer: dpkg unpacks everything itself: /);
  });

  test('a damaged one is left to dpkg, which says which it is', async () => {
    const file = await makePackage('aa-damaged', { files: { 'usr/share/aa': LARGE } });
    const bytes = readFileSync(store.packagePath(file.sha256));
    writeFileSync(store.packagePath(file.sha256), bytes.subarray(0, bytes.length - 40));
    const unpacking = unpack([file], 1);
    await expect(unpacking).rejects.toMatchObject({
      code: 'BUILD_FAILED',
      message: expect.stringContaining('aa-damaged') as string,
    });
  });
});

test("Debian's packages", async () => {
  const lock = await loadLock(image.declaration.replace('.yaml', '.lock.yaml'));
  const installed = new Set(lock.layers.flatMap(({ packages }) => packages.map(({ name }) => name)));
  const others = lock.tools.packages.filter(({ name }) => !installed.has(name));
  const mirrors = await loadMirrors(process.env);
  await fetchPackages(others, { store, mirrors, created: new Date(lock.created) });
  const fit: LockedPackage[] = [];
  for (const file of others) {
    const { stdout } = await run(['dpkg-deb', '--info', store.packagePath(file.sha256)]);
    if (!stdout.includes(' preinst ')) fit.push(file);
  }
  expect(fit.length).toBeGreaterThan(30);
  const {
    told: [told = ''],
  } = await expectSame(fit);
  expect(told.split(', ').length).toBeGreaterThan(20);
});
