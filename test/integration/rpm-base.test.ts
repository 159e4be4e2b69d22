/** Packages of rpm on a base that has them: locked with dnf, installed with rpm, the base's own layers as they are. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';

import { planRpmTools } from '../../src/plan/make-plan.ts';
import { rootBuilderDigest } from '../../src/build/builder-digest.ts';
import { unpackBase } from '../../src/build/image-base/base-tree.ts';
import { loadLock } from '../../src/cli/load-lock.ts';
import { hexOf } from '../../src/digest.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { readRpmDatabase } from '../../src/packages/rpm/rpm-database.ts';
import { run } from '../../src/proc/run.ts';
import { Store } from '../../src/store/store.ts';
import { TEST_FOLDER, TEST_STORE } from '../support/built-image.ts';
import { type CliResult, ingot, ingotJson } from '../support/cli.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { buildRpm, indexRepository, makeSmallBase, verifyRpms } from '../support/rpm-repository.ts';

const DATABASE = '/usr/lib/sysimage/rpm';

let scratch: string;
let work: string;
let repository: string;
let registry: TestRegistry;
let base: string;
let baseRef: string;

beforeAll(async () => {
  await mkdir(join(TEST_FOLDER, 'scratch'), { recursive: true });
  scratch = await mkdtemp(join(TEST_FOLDER, 'scratch/rpm-'));
  // rpmbuild knows no paths with spaces.
  work = await mkdtemp(join(tmpdir(), 'ingot-rpm-'));
  repository = join(work, 'repository');
  await mkdir(repository);
  const repositoryFile = [
    '[small]',
    'name=Small $releasever',
    `baseurl=file://${repository}`,
    'enabled=1',
    'gpgcheck=0',
    '[elsewhere]',
    'baseurl=https://example.invalid/$basearch',
    'enabled=0',
    '',
  ].join('\n');
  for (const spec of PACKAGES) await buildRpm(work, repository, spec);
  await indexRepository(repository);
  const image = await makeSmallBase(work, join(scratch, 'base-layout'), repositoryFile);
  baseRef = image.ref;
  registry = await startRegistry();
  base = `${registry.host}/small/base:7`;
  await ingotJson(['--store', TEST_STORE, 'push', baseRef, base, '--insecure', registry.host]);
}, 600_000);

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  for (const folder of [scratch, work]) await rm(folder, { recursive: true, force: true });
});

const PACKAGES = [
  {
    name: 'greeter',
    preamble: ['Requires: libgreet >= 2', 'Requires: /usr/share/greet/words'],
    files: { '/usr/bin/greet': '#!/bin/sh\ncat /etc/greet.conf\n', '/etc/greet.conf': 'word=hello\n' },
    configuration: ['/etc/greet.conf'],
    scripts: { post: 'echo "greeter $1" >/usr/lib/greeter-was-configured' },
  },
  { name: 'libgreet', version: '2.1', preamble: ['Epoch: 1'], files: { '/usr/lib/libgreet': 'library\n' } },
  { name: 'greet_Words', files: { '/usr/share/greet/words': 'hello\n' } },
  {
    name: 'daemon',
    files: { '/usr/lib/daemon/state': 'state\n' },
    scripts: {
      pre: 'useradd --system --no-create-home --shell /sbin/nologin daemon-user',
      post: 'grep -q daemon-user /etc/passwd',
    },
  },
  {
    name: 'broken-post',
    files: { '/usr/lib/broken': '' },
    scripts: { post: 'echo no such thing >&2; exit 3' },
  },
  { name: 'broken-pre', files: { '/usr/lib/broken-pre': '' }, scripts: { pre: 'exit 4' } },
  {
    name: 'wants-network',
    files: { '/usr/lib/wants-network': '' },
    scripts: { post: 'nc -w 2 192.0.2.1 80 </dev/null' },
  },
  { name: 'hanging', files: { '/usr/lib/hanging': '' }, scripts: { post: 'sleep 600' } },
  { name: 'left', preamble: ['Conflicts: right'], files: { '/usr/lib/left': '' } },
  { name: 'right', files: { '/usr/lib/right': '' } },
  { name: 'same-file', files: { '/usr/lib/libgreet': 'another\n' } },
  { name: 'new-kernel', files: { '/usr/lib/modules/9.9-small/vmlinuz': 'a kernel\n' } },
  { name: 'wants-kernel', preamble: ['Requires: new-kernel'], files: { '/usr/lib/wants-kernel': '' } },
  { name: 'needs-nothing', preamble: ['Requires: nobody-has-this'], files: { '/usr/lib/needs': '' } },
] as const;

const withStore = (...args: string[]): string[] => [
  '--store',
  TEST_STORE,
  ...args,
  '--insecure',
  registry.host,
];

async function declare(name: string, rest: object): Promise<string> {
  const file = join(scratch, `${name}.yaml`);
  await writeFile(file, stringify({ name, base: { image: base }, ...rest }));
  return file;
}

const layoutOf = (file: string): string => file.replace(/\.yaml$/, '');
const lockOf = (file: string): string => file.replace(/\.yaml$/, '.lock.yaml');

/** All layers of a layout in a folder. */
async function unpack(layout: string, folder: string): Promise<string> {
  const { manifest, config, digest } = await resolveImage({ directory: layout, name: undefined });
  await mkdir(folder);
  const layers = manifest.layers.map((layer, index) => ({
    ...layer,
    diffId: config.rootfs.diff_ids[index] ?? digest,
  }));
  const planned = { reference: layout, digest, family: 'none' as const, layers };
  const store = await Store.open(TEST_STORE);
  await unpackBase(folder, planned, { store, openBase: () => LayoutSource.open(layout) });
  return folder;
}

describe('packages on a small rpm system', () => {
  let file: string;
  let built: Record<string, unknown>;
  let root: string;

  beforeAll(async () => {
    file = await declare('on-rpm', {
      packages: ['greeter', 'daemon', 'libgreet=1:2.1-1'],
      files: [{ path: '/etc/motd', content: 'ours\n' }],
    });
    await ingotJson(withStore('lock', file));
    built = await ingotJson(withStore('build', file, '--output', layoutOf(file), '--verify'));
    root = await unpack(layoutOf(file), join(scratch, 'result'));
  }, 1_200_000);

  test('are in the lock, each by version, hash and size, with the tools', async () => {
    const lock = await loadLock(lockOf(file));
    expect(lock.base).toMatchObject({ name: 'smallrpm', suite: 'smallrpm-7.2', image: { family: 'rpm' } });
    const packages = lock.layers.flatMap((layer) => layer.packages);
    expect(packages.map(({ name, version, architecture }) => [name, version, architecture])).toEqual([
      ['daemon', '1.0-1', 'noarch'],
      ['greet_Words', '1.0-1', 'noarch'],
      ['greeter', '1.0-1', 'noarch'],
      ['libgreet', '1:2.1-1', 'noarch'],
    ]);
    expect(
      packages.every(({ sha256, size, archive }) => sha256 !== '' && size > 0 && archive === 'small'),
    ).toBe(true);
    expect(lock.archives.map(({ name }) => name)).toEqual(['small']);
    expect(lock.rpm?.packages.map(({ name }) => name)).toEqual(expect.arrayContaining(['dnf', 'rpm']));
  });

  test('are locked the same again, from what the store has', async () => {
    const before = await readFile(lockOf(file), 'utf8');
    expect(await ingotJson(withStore('lock', file, '--offline'))).toMatchObject({
      locks: [{ written: false }],
    });
    expect(await readFile(lockOf(file), 'utf8')).toBe(before);
  });

  test('are built twice with one digest', () => {
    expect(built['verification']).toMatchObject({ reproducible: true });
  });

  test('stand beside what the base has, in one database below /usr', async () => {
    expect(await readFile(join(root, 'etc/motd'), 'utf8')).toBe('ours\n');
    expect(await readFile(join(root, 'usr/lib/greeter-was-configured'), 'utf8')).toBe('greeter 1\n');
    const names = readRpmDatabase(await readFile(join(root, DATABASE, 'rpmdb.sqlite'))).map(
      ({ name }) => name,
    );
    expect(names).toEqual(['daemon', 'greet_Words', 'greeter', 'libgreet', 'small-base']);
    expect(existsSync(join(root, 'var/lib'))).toBe(false);
    for (const debris of ['rpmdb.sqlite-shm', 'rpmdb.sqlite-wal', '.rpm.lock']) {
      expect(existsSync(join(root, DATABASE, debris))).toBe(false);
    }
    // The seal writes these itself.
    const ours = /\/(?:etc\/(?:passwd|group)|usr\/lib\/os-release)$/;
    expect((await verifyRpms(root, DATABASE)).filter((line) => !ours.test(line))).toEqual([]);
  });

  test('are in the bill of materials, as rpm says them', async () => {
    const { components } = await ingotJson(withStore('sbom', `oci:${layoutOf(file)}`));
    const told = (
      components as readonly { readonly purl: string; readonly source: { readonly name: string } }[]
    )
      .map(({ purl, source }) => `${purl} ${source.name}`)
      .sort();
    const format = '%{NAME}@%{VERSION}-%{RELEASE} %{ARCH} %{EPOCHNUM} %{SOURCERPM}\n';
    const { stdout } = await run(['rpm', '--dbpath', join(root, DATABASE), '-qa', '--qf', format]);
    const expected = stdout
      .trim()
      .split('\n')
      .filter((line) => !line.startsWith('gpg-pubkey'))
      .map((line) => {
        const [id = '', arch = '', epoch = '', source = ''] = line.split(' ');
        const qualifiers = `arch=${arch}&distro=smallrpm-7.2${epoch === '0' ? '' : `&epoch=${epoch}`}`;
        return `pkg:rpm/smallrpm/${id}?${qualifiers} ${source.replace(/-[^-]+-[^-]+$/, '')}`;
      });
    expect(told).toEqual(expected.sort());
    expect(told).toContain(
      'pkg:rpm/smallrpm/libgreet@2.1-1?arch=noarch&distro=smallrpm-7.2&epoch=1 libgreet',
    );
  });

  test('make accounts whose numbers follow from their names', async () => {
    const passwd = await readFile(join(root, 'etc/passwd'), 'utf8');
    const uid = Number(/^daemon-user:[^:]*:(\d+):/m.exec(passwd)?.[1]);
    const alone = await declare('alone', { packages: ['daemon'] });
    await ingotJson(withStore('lock', alone));
    await ingotJson(withStore('build', alone, '--output', layoutOf(alone)));
    const other = await readFile(
      join(await unpack(layoutOf(alone), join(scratch, 'alone-root')), 'etc/passwd'),
      'utf8',
    );
    expect(Number(/^daemon-user:[^:]*:(\d+):/m.exec(other)?.[1])).toBe(uid);
  });

  test('leave the layers of the base as they are, and are all that differs from it', async () => {
    const before = await resolveImage({ directory: join(scratch, 'base-layout'), name: '1' });
    const after = await resolveImage({ directory: layoutOf(file), name: undefined });
    expect(after.manifest.layers[0]?.digest).toBe(before.manifest.layers[0]?.digest);
    const found = await ingotJson(['diff', baseRef, `oci:${layoutOf(file)}`]);
    expect(found).toMatchObject({
      packages: {
        added: [
          { name: 'daemon' },
          { name: 'greet_Words' },
          { name: 'greeter' },
          { name: 'libgreet', version: '1:2.1-1' },
        ],
        removed: [],
        changed: [],
      },
      users: { added: [{ name: 'daemon-user' }], removed: [], changed: [] },
    });
  });

  test('come out of a cache, and a seal is made on them where nobody installed them', async () => {
    const cache = `${registry.host}/ci/rpm`;
    await ingotJson(withStore('build', file, '--output', layoutOf(file), '--cache-to', cache));
    const changed = join(scratch, 'changed.yaml');
    await writeFile(
      changed,
      (await readFile(file, 'utf8')).replace('content: |\n      ours', 'content: |\n      theirs'),
    );
    expect(await readFile(changed, 'utf8')).not.toBe(await readFile(file, 'utf8'));
    // From the lock before, so that what stays the same keeps its time.
    await copyFile(lockOf(file), lockOf(changed));
    await ingotJson(withStore('lock', changed));
    const ordinary = await ingotJson(withStore('build', changed, '--output', layoutOf(changed)));

    const elsewhere = join(scratch, 'elsewhere');
    const { rpm } = await loadLock(lockOf(changed));
    const tools = planRpmTools({ packages: rpm?.packages ?? [] }, await rootBuilderDigest());
    await mkdir(join(elsewhere, 'trees'), { recursive: true });
    // The root that rpm runs from: a build would make it in half a minute.
    const tree = join('trees', hexOf(tools.treeKey));
    await run(['cp', '--archive', '--link', join(TEST_STORE, tree), join(elsewhere, tree)]);
    const argv = ['build', changed, '--output', join(scratch, 'fetched'), '--cache-from', cache];
    const fetched = await ingotJson(['--store', elsewhere, ...argv, '--insecure', registry.host]);
    expect(fetched['digest']).toBe(ordinary['digest']);
    const layers = fetched['layers'] as readonly { name: string; cached: boolean; cache?: string }[];
    // The base has a registry of its own.
    expect(layers.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['base', 'seal']);
    expect(layers.find(({ name }) => name === 'packages')).toMatchObject({ cached: true, cache });
    expect(await readdir(join(elsewhere, 'packages'))).toEqual([]);
  });

  test('are planned, and nothing is left to do', async () => {
    const planned = await ingotJson(withStore('plan', file).slice(0, -2));
    expect(JSON.stringify(planned)).toContain('"name":"packages"');
    const again = await ingotJson(withStore('build', file, '--output', layoutOf(file)));
    expect(again['digest']).toBe(built['digest']);
    const layers = again['layers'] as readonly { readonly cached: boolean }[];
    expect(layers.map(({ cached }) => cached)).toEqual([true, true, true, true]);
  });
});

describe('what goes wrong', () => {
  async function locked(name: string, rest: object): Promise<{ file: string; result: CliResult }> {
    const file = await declare(name, rest);
    return { file, result: await ingot(withStore('lock', file)) };
  }

  async function failing(name: string, env: Readonly<Record<string, string>> = {}): Promise<CliResult> {
    const { file, result } = await locked(`bad-${name}`, { packages: [name] });
    expect(result.stderr).not.toContain('error');
    return ingot(withStore('build', file, '--output', layoutOf(file)), { env });
  }

  test('a name and a version that no repository has, all at once with their places', async () => {
    const { result } = await locked('unknown', { packages: ['greter', 'libgreet=9.9'] });
    expect(result.stderr).toContain('error[PACKAGE_UNKNOWN]');
    expect(result.stderr).toMatch(/unknown\.yaml:5:\d+/);
    expect(result.stderr).toContain('greeter');
    expect(result.stderr).toContain('libgreet=1:2.1-1');
    expect(result.exitCode).toBe(2);
  });

  test('packages that conflict, or need what there is not', async () => {
    const { result } = await locked('conflict', { packages: ['left', 'right'] });
    expect(result.stderr).toContain('error[PACKAGES_CONFLICT]');
    expect(result.stderr).toContain('left (asked for by packages)');
    expect(result.exitCode).toBe(2);
    const needs = await locked('needs', { packages: ['needs-nothing'] });
    expect(needs.result.stderr).toContain('nobody-has-this');
    expect(needs.result.exitCode).toBe(2);
  });

  test('a package that brings a kernel along', async () => {
    const { result } = await locked('kernel', { packages: ['greeter', 'wants-kernel'] });
    expect(result.stderr).toContain('error[SPEC_INVALID]: new-kernel 1.0-1 would be another kernel');
    expect(result.stderr).toMatch(/kernel\.yaml:\d+:\d+/);
    expect(result.exitCode).toBe(2);
  });

  test('an addon that is nothing on rpm', async () => {
    const { result } = await locked('addon', { addons: ['node-exporter'] });
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toMatch(/addon\.yaml:\d+:\d+/);
    expect(result.stderr).toContain('addon-node-exporter installs nothing on');
  });

  test('a script that fails, before or after its package is there', async () => {
    const post = await failing('broken-post');
    expect(post.stderr).toContain('error[BUILD_FAILED]');
    expect(post.stderr).toContain('broken-post: its script %post failed (exit status 3)');
    expect(post.exitCode).toBe(1);
    const pre = await failing('broken-pre');
    expect(pre.stderr).toContain('broken-pre: its script %pre failed (exit status 4)');
    expect(pre.exitCode).toBe(1);
  });

  test('a script that wants the network', async () => {
    const { stderr, exitCode } = await failing('wants-network');
    expect(stderr).toContain('wants-network: its script %post failed');
    expect(stderr).toContain('package scripts run without network');
    expect(exitCode).toBe(1);
  });

  test('a script that hangs', async () => {
    const { stderr, exitCode } = await failing('hanging', { INGOT_SCRIPT_SILENCE: '3s' });
    expect(stderr).toContain('error[TIMEOUT]');
    expect(stderr).toContain('at work on hanging');
    expect(exitCode).toBe(1);
  });

  test('two packages with one file', async () => {
    const { file } = await locked('same', { packages: ['libgreet', 'same-file'] });
    const { stderr, exitCode } = await ingot(withStore('build', file, '--output', layoutOf(file)));
    expect(stderr).toContain('/usr/lib/libgreet is also a file of');
    expect(exitCode).toBe(1);
  });

  test('a package that is not what the lock says', async () => {
    const { file } = await locked('damaged', { packages: ['right'] });
    const text = await readFile(lockOf(file), 'utf8');
    await writeFile(lockOf(file), text.replace(/(filename: right-1\.0-1\.noarch\.rpm)/, '$1'));
    const [own] = (await loadLock(lockOf(file))).layers.flatMap((layer) => layer.packages);
    const wrong = own?.sha256.startsWith('0') === true ? 'f' : '0';
    await writeFile(lockOf(file), text.replace(own?.sha256 ?? '-', `${wrong}${own?.sha256.slice(1) ?? ''}`));
    const { stderr, exitCode } = await ingot(withStore('build', file, '--output', layoutOf(file)));
    expect(stderr).toContain('error[DIGEST_MISMATCH]');
    expect(stderr).toContain('right 1.0-1');
    expect(exitCode).toBe(1);
  });
});
