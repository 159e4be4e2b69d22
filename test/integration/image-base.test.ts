/** Images on other images: their layers stay as they are, and just what was declared comes on top. */
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';

import { unpackBase } from '../../src/build/image-base/base-tree.ts';
import { loadLock } from '../../src/cli/load-lock.ts';
import { hexOf } from '../../src/digest.ts';
import { type ResolvedImage, resolveImage } from '../../src/oci/layout.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { run } from '../../src/proc/run.ts';
import { Store } from '../../src/store/store.ts';
import { imageOfTree } from '../support/base-image.ts';
import { type BuiltImage, builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { type CliResult, ingot, ingotJson } from '../support/cli.ts';
import { MirrorServer, TestKey, TinyArchive } from '../support/mirror.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { writeTree } from '../support/small-image.ts';

const MARKS = 'usr/lib/sysimage/apt/extended_states';

let image: BuiltImage;
let scratch: string;
let registry: TestRegistry;
let store: Store;

beforeAll(async () => {
  image = await builtImage();
  await mkdir(join(TEST_FOLDER, 'scratch'), { recursive: true });
  scratch = await mkdtemp(join(TEST_FOLDER, 'scratch/on-image-'));
  registry = await startRegistry();
  store = await Store.open(image.store);
}, 600_000);

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

const withStore = (): string[] => ['--store', image.store];

async function declare(name: string, base: string, rest: object = {}): Promise<string> {
  const file = join(scratch, `${name}.yaml`);
  await writeFile(file, stringify({ name, base: { image: base }, ...rest }));
  return file;
}

/** Locks and builds. */
async function build(file: string, more: readonly string[] = []): Promise<Record<string, unknown>> {
  const plain = ['--insecure', registry.host];
  await ingotJson([...withStore(), 'lock', file, ...plain]);
  return ingotJson([...withStore(), 'build', file, '--output', layoutOf(file), ...plain, ...more]);
}

const layoutOf = (file: string): string => file.replace(/\.yaml$/, '');

async function open(layout: string, name?: string): Promise<ResolvedImage> {
  return resolveImage({ directory: layout, name });
}

/** Packages that apt holds to have come along, by what the topmost layer with marks says. */
async function marksOf(layout: string, name?: string): Promise<string[]> {
  const { manifest } = await open(layout, name);
  for (const { digest } of manifest.layers.toReversed()) {
    const blob = join(layout, 'blobs/sha256', hexOf(digest));
    const argv = ['tar', '--zstd', '--extract', '--to-stdout', '--file', blob, MARKS] as const;
    const { exitCode, stdout } = await run(argv, { okExitCodes: [0, 2] });
    if (exitCode === 0) return [...stdout.matchAll(/^Package: (\S+)$/gm)].map(([, one = '']) => one);
  }
  throw new Error('no layer has marks');
}

/** All layers of a layout in a folder. */
async function unpack(layout: string, folder: string, name?: string): Promise<string> {
  const { manifest, config, digest } = await open(layout, name);
  await mkdir(folder);
  const layers = manifest.layers.map((layer, index) => ({
    ...layer,
    diffId: config.rootfs.diff_ids[index] ?? digest,
  }));
  const planned = { reference: layout, digest, family: 'none' as const, layers };
  await unpackBase(folder, planned, { store, openBase: () => LayoutSource.open(layout) });
  return folder;
}

describe('a Debian image out of a registry', () => {
  const declared = {
    // The second one is there already, since others need it.
    packages: ['hello', 'libbpf1'],
    users: [{ name: 'ops', groups: ['systemd-journal'] }],
    files: [{ path: '/etc/on-image', content: 'yes\n' }],
    units: [
      {
        name: 'on-image.service',
        enabled: true,
        content: '[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n',
      },
    ],
    kernelArguments: ['quiet'],
  };
  let file: string;
  let built: Record<string, unknown>;
  let pushed: string;

  beforeAll(async () => {
    pushed = `${registry.host}/base/minimal:1`;
    await ingotJson([...withStore(), 'push', image.ref, pushed, '--insecure', registry.host]);
    file = await declare('on-debian', pushed, declared);
    built = await build(file, ['--verify']);
  }, 600_000);

  test('is built twice with one digest', () => {
    expect(built['verification']).toMatchObject({ reproducible: true });
  });

  test('keeps the layers of its base as they are', async () => {
    const base = await resolveImage(image.ref);
    const { manifest, config } = await open(layoutOf(file));
    const count = base.manifest.layers.length;
    expect(manifest.layers.slice(0, count).map(({ digest }) => digest)).toEqual(
      base.manifest.layers.map(({ digest }) => digest),
    );
    expect(config.rootfs.diff_ids.slice(0, count)).toEqual(base.config.rootfs.diff_ids);
    const own = manifest.layers.slice(count).reduce((sum, { size }) => sum + size, 0);
    expect(own).toBeLessThan(1024 * 1024);
  });

  test('differs from its base in what was declared', async () => {
    const found = await ingotJson(['diff', image.ref, `oci:${layoutOf(file)}`]);
    expect(found).toMatchObject({
      packages: { added: [{ name: 'hello' }], removed: [], changed: [] },
      kernelArguments: { added: ['quiet'], removed: [] },
      users: { added: [{ name: 'ops' }], removed: [], changed: [] },
    });
    expect(found['kernel']).toBeUndefined();
  });

  test('marks as wanted what is asked for, and leaves the marks of the base', async () => {
    const before = await marksOf(image.layout, image.version);
    expect(before).toContain('libbpf1');
    expect(await marksOf(layoutOf(file))).toEqual(before.filter((name) => name !== 'libbpf1'));
  });

  test('has its base in the lock, by digest', async () => {
    const lock = await loadLock(file.replace(/\.yaml$/, '.lock.yaml'));
    expect(lock.base).toMatchObject({
      name: 'debian',
      release: '13',
      image: { reference: pushed, digest: image.digest, family: 'debian' },
    });
    expect(lock.base.image?.layers.length).toBeGreaterThan(1);
    expect(lock.kernel.version).not.toBe('');
  });

  test('stays on its base until that is to move on, and needs no registry for what the store has', async () => {
    const other = await imageOfTree(
      join(scratch, 'other'),
      await treeOf({ 'usr/lib/os-release': 'ID=other\n' }),
    );
    await ingotJson([...withStore(), 'push', other.ref, pushed, '--insecure', registry.host]);
    const digest = async (...more: string[]): Promise<string | undefined> => {
      await ingotJson([
        ...withStore(),
        'lock',
        file,
        '--insecure',
        registry.host,
        '-o',
        join(scratch, 'moved.lock.yaml'),
        ...more,
      ]);
      return (await loadLock(join(scratch, 'moved.lock.yaml'))).base.image?.digest;
    };
    await run(['cp', file.replace(/\.yaml$/, '.lock.yaml'), join(scratch, 'moved.lock.yaml')]);
    expect(await digest()).toBe(image.digest);
    const plain = { ...declared, packages: [] };
    await declare('on-debian', pushed, plain);
    expect(await digest('--update')).not.toBe(image.digest);
  });
});

describe('a container of Ubuntu’s, with its package database in /var', () => {
  const GREETER = { name: 'greeter', depends: 'greeter-data', postinst: ': >>/usr/bin/less' };
  let file: string;
  let result: string;
  let key: TestKey;
  let server: MirrorServer;
  let marked: readonly string[];

  /** What Ubuntu's own has: its archive's address and keyring, in the base. The archive is the test's. */
  beforeAll(async () => {
    key = await TestKey.create();
    const archive = join(scratch, 'archive');
    await new TinyArchive(archive, key, 'noble').publish([
      { ...GREETER, version: '1' },
      { name: 'greeter-data', version: '1' },
    ]);
    await new TinyArchive(archive, key, 'noble-updates').publish([{ ...GREETER, version: '2' }]);
    server = await MirrorServer.start(archive);
    const root = await unpack(image.layout, join(scratch, 'root'), image.version);
    const tree = join(scratch, 'container-tree');
    await writeTree(tree, {
      'usr/lib/os-release': 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n',
      'etc/apt/sources.list': '# See sources.list.d\n',
      'etc/apt/sources.list.d/ubuntu.sources': [
        'Types: deb',
        `URIs: ${server.url}/`,
        'Suites: noble noble-updates',
        'Components: main',
        'Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg',
        '',
      ].join('\n'),
      'usr/lib/sysimage/.wh.dpkg': '',
      'usr/lib/sysimage/.wh.apt': '',
      'var/lib/apt/.keep': '',
      'var/lib/junk/state': 'of the machine that made it',
      'var/log/build.log': 'a log',
      'usr/lib/one': 'linked',
      'usr/share/keyrings/.keep': '',
    });
    await copyFile(key.keyring, join(tree, 'usr/share/keyrings/ubuntu-archive-keyring.gpg'));
    await run(['cp', '--archive', join(root, 'usr/lib/sysimage/dpkg'), join(tree, 'var/lib/dpkg')]);
    await copyFile(join(root, MARKS), join(tree, 'var/lib/apt/extended_states'));
    await run(['ln', join(tree, 'usr/lib/one'), join(tree, 'usr/lib/two')]);
    await writeFile(join(tree, 'usr/lib/capable'), '');
    await run(['setcap', 'cap_net_raw=ep', join(tree, 'usr/lib/capable')]);
    const container = await imageOfTree(join(scratch, 'container'), tree, {
      below: { layout: image.layout, name: image.version },
    });
    marked = await marksOf(image.layout, image.version);
    const pushed = `${registry.host}/base/ubuntu:24.04`;
    await ingotJson([...withStore(), 'push', container.ref, pushed, '--insecure', registry.host]);
    file = await declare('on-container', pushed, { packages: ['greeter'] });
    await build(file);
    result = await unpack(layoutOf(file), join(scratch, 'result'));
  }, 600_000);
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await key[Symbol.asyncDispose]();
  });

  test('gets packages from the archive that it names itself, trusted by its own keyring', async () => {
    const { base, archives, layers } = await loadLock(file.replace(/\.yaml$/, '.lock.yaml'));
    expect(base).toMatchObject({ name: 'ubuntu', release: '24.04', suite: 'noble' });
    expect(archives).toEqual([
      {
        name: `127.0.0.1:${server.port}`,
        url: server.url,
        suites: ['noble', 'noble-updates'],
        components: ['main'],
        keys: [await key.fingerprint()],
      },
    ]);
    const packages = layers.flatMap((layer) => layer.packages.map(({ name, version }) => [name, version]));
    expect(packages).toEqual([
      ['greeter', '2'],
      ['greeter-data', '1'],
    ]);
    const status = await readFile(join(result, 'usr/lib/sysimage/dpkg/status'), 'utf8');
    expect(status).toMatch(/^Package: greeter\nStatus: install ok installed$/m);
    const { stdout } = await run(['chroot', result, '/usr/bin/cat', '/usr/share/greeter/content']);
    expect(stdout).toContain('greeter 2');
  });

  test('has its database below /usr, and leaves /var to the node', async () => {
    expect(existsSync(join(result, 'var/lib'))).toBe(false);
    expect(existsSync(join(result, 'var/log'))).toBe(false);
    const { stdout } = await run([
      'dpkg',
      `--admindir=${join(result, 'usr/lib/sysimage/dpkg')}`,
      `--root=${result}`,
      '--audit',
    ]);
    expect(stdout).toBe('');
    const { stdout: capability } = await run(['getcap', join(result, 'usr/lib/capable')]);
    expect(capability).toContain('cap_net_raw=ep');
  });

  test('has its marks and those of what came along', async () => {
    expect(await marksOf(layoutOf(file))).toEqual([...marked, 'greeter-data'].sort());
  });

  test('has no second copy of a file that a script opened and did not change', async () => {
    const { manifest } = await open(layoutOf(file));
    const count = (await open(join(scratch, 'container'), '1')).manifest.layers.length;
    const paths = new Set<string>();
    for (const { digest } of manifest.layers.slice(count)) {
      const blob = join(layoutOf(file), 'blobs/sha256', hexOf(digest));
      const { stdout } = await run(['tar', '--zstd', '--list', '--file', blob]);
      for (const path of stdout.split('\n')) paths.add(path);
    }
    expect(paths).toContain('usr/share/greeter/content');
    expect(paths).not.toContain('usr/bin/less');
  });

  test('takes no index that its keyring does not vouch for', async () => {
    server.misbehave(/InRelease$/, { kind: 'corrupt' });
    const { exitCode, stderr } = await ingot([...withStore(), 'lock', file, '--insecure', registry.host]);
    expect(stderr).toContain('error[MIRROR_UNTRUSTED]');
    expect(exitCode).toBe(1);
  });
});

async function treeOf(files: Readonly<Record<string, string>>): Promise<string> {
  const tree = await mkdtemp(join(scratch, 'tree-'));
  await chmod(tree, 0o755);
  await writeTree(tree, files);
  return tree;
}

const OS_RELEASE = {
  'usr/lib/os-release': 'ID=small\nVERSION_ID="1"\n',
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
  'etc/group': 'root:x:0:\n',
};

describe('a base without packages', () => {
  test('takes files, and says which checks could not run', async () => {
    const tree = await treeOf(OS_RELEASE);
    for (const name of ['dev', 'proc', 'run', 'sys', 'tmp', 'var']) await mkdir(join(tree, name));
    await symlink('../usr/lib/os-release', join(tree, 'etc/os-release'));
    const small = await imageOfTree(join(scratch, 'small'), tree);
    const file = await declare('on-small', small.ref, { files: [{ path: '/etc/motd', content: 'hello\n' }] });
    await ingotJson([...withStore(), 'lock', file]);
    const { exitCode, stderr } = await ingot([...withStore(), 'build', file, '--output', layoutOf(file)]);
    expect(stderr).toContain('kernel could not run: the base has no kernel');
    expect(stderr).toContain('package-database could not run: the base has no package database');
    expect(exitCode).toBe(0);
    const { config } = await open(layoutOf(file));
    expect(config.config?.Labels).not.toHaveProperty('containers.bootc');
    const result = await unpack(layoutOf(file), join(scratch, 'small-result'));
    expect(await readFile(join(result, 'etc/motd'), 'utf8')).toBe('hello\n');
  });
});

describe('what cannot be built on', () => {
  async function lock(name: string, base: string, rest: object = {}): Promise<CliResult> {
    const file = await declare(name, base, rest);
    return ingot([...withStore(), 'lock', file, '--insecure', registry.host]);
  }

  test('an image that is not there', async () => {
    const { exitCode, stderr } = await lock('gone', `${registry.host}/base/gone:1`);
    expect(stderr).toContain('error[NOT_FOUND]');
    expect(stderr).toMatch(/gone\.yaml:\d+:\d+/);
    expect(exitCode).toBe(1);
  });

  test('one of another architecture', async () => {
    const { ref } = await imageOfTree(join(scratch, 'arm'), await treeOf(OS_RELEASE), {
      architecture: 'arm64',
    });
    const { exitCode, stderr } = await lock('foreign', ref);
    expect(stderr).toContain('error[ARCHITECTURE_FOREIGN]');
    expect(exitCode).toBe(2);
  });

  test('one that holds no system', async () => {
    const { ref } = await imageOfTree(join(scratch, 'no-root'), await treeOf({ 'data/model': 'weights' }));
    const { exitCode, stderr } = await lock('no-system', ref);
    expect(stderr).toContain('error[IMAGE_UNREADABLE]');
    expect(stderr).toContain('no /usr/lib/os-release');
    expect(exitCode).toBe(2);
  });

  test('packages on a base that has none, a driver or a second kernel on any', async () => {
    const { ref } = await imageOfTree(join(scratch, 'bare'), await treeOf(OS_RELEASE));
    const packages = await lock('bare', ref, { packages: ['hello'] });
    expect(packages.stderr).toMatch(
      /error\[SPEC_INVALID\]: packages cannot be added to .*: it has no package/,
    );
    expect(packages.exitCode).toBe(2);
    const driver = await lock('driver', ref, { driver: 'nvidia@550', kernel: 'cloud' });
    expect(driver.stderr).toContain('driver cannot be chosen on a base that is an image');
    expect(driver.stderr).toContain('kernel cannot be chosen on a base that is an image');
    expect(driver.exitCode).toBe(2);
    const kernel = await lock('kernel', image.ref, { packages: ['hello', 'linux-image-rt-amd64'] });
    expect(kernel.stderr).toMatch(
      /error\[SPEC_INVALID\]: linux-image-\S+-rt-amd64 \S+ would be another kernel/,
    );
    expect(kernel.stderr).toMatch(/kernel\.yaml:6:\d+/);
    expect(kernel.exitCode).toBe(2);
    const nameless = await lock('nameless', 'debian');
    expect(nameless.stderr).toContain('error[SPEC_INVALID]: "debian" names no image in a registry');
    expect(nameless.exitCode).toBe(2);
  });

  test('layers that are not what the lock says', async () => {
    const tree = await treeOf({ ...OS_RELEASE, 'usr/lib/x': 'x' });
    const { ref, layers } = await imageOfTree(join(scratch, 'spoilt'), tree);
    const file = await declare('spoilt', ref);
    await ingotJson([...withStore(), 'lock', file]);
    const [layer] = layers;
    if (layer === undefined) throw new Error('the image has no layer');
    const blob = join(scratch, 'spoilt/blobs/sha256', hexOf(layer.digest));
    const bytes = await readFile(blob);
    bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40);
    await writeFile(blob, bytes);
    const { exitCode, stderr } = await ingot([...withStore(), 'build', file, '--output', layoutOf(file)]);
    expect(stderr).toContain('error[DIGEST_MISMATCH]');
    expect(exitCode).toBe(1);
    expect(existsSync(layoutOf(file))).toBe(true);
  });
});
