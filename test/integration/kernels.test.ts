/** The kernel of a lock: chosen among those of an archive that keeps several, and told by `explain`. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { loadFacts } from '../../src/catalog/facts/load.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { fetchPackages } from '../../src/packages/fetch.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { run } from '../../src/proc/run.ts';
import { Store } from '../../src/store/store.ts';
import { TEST_STORE } from '../support/built-image.ts';
import { ingot, ingotJson, PRODUCT_ROOT } from '../support/cli.ts';
import { TestKey, TinyArchive, type TinyPackage } from '../support/mirror.ts';
import { TinyProject } from '../support/tiny-project.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-kernels-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function readLock(path: string): Promise<Lock> {
  return parseLock(await readFile(path, 'utf8'), path);
}

/** Names of the modules that the kernel package of a lock has, built in or not. */
async function modulesOf(lock: Lock): Promise<ReadonlySet<string>> {
  const item = lock.layers
    .flatMap(({ packages }) => packages)
    .find(({ name }) => name === lock.kernel.package);
  if (item === undefined) throw new TypeError('the lock has no kernel');
  const store = await Store.open(TEST_STORE);
  const mirrors = await loadMirrors(process.env);
  await fetchPackages([item], { store, mirrors, created: new Date() });
  const root = await mkdtemp(join(folder, 'kernel-'));
  await run(['dpkg-deb', '--extract', store.packagePath(item.sha256), root]);
  const { stdout } = await run(['find', root, '-name', '*.ko*', '-printf', '%f\n']);
  const builtIn = await readFile(
    join(root, 'usr/lib/modules', lock.kernel.release, 'modules.builtin'),
    'utf8',
  );
  await rm(root, { recursive: true });
  return new Set(
    [...stdout.split('\n'), ...builtIn.split('\n').map((path) => basename(path))].map((name) =>
      name.replace(/\.ko.*$/, '').replaceAll('-', '_'),
    ),
  );
}

interface Alternative {
  readonly value: string;
  readonly verdict: string;
  readonly reasons: readonly string[];
}

describe('a small archive', () => {
  const REST: readonly TinyPackage[] = [
    { name: 'tiny-libc', version: '1', essential: true },
    { name: 'init', version: '1', depends: 'tiny-libc' },
    { name: 'libcuda1', version: '590.48.01-1' },
    { name: 'vendor-dkms', version: '590.48.01-1' },
    // What kernel modules are built with.
    ...['make', 'kmod', 'patch', 'libc6-dev'].map((name) => ({ name, version: '1' })),
    { name: 'hammer', version: '1' },
  ];
  let key: TestKey;
  let project: string;
  let archive: TinyArchive;
  let env: Readonly<Record<string, string>>;
  let declare: (kernel: string, driver?: string) => Promise<void>;
  let round = 0;

  beforeAll(async () => {
    key = await TestKey.create();
  });

  afterAll(async () => {
    await key[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    const tiny = await TinyProject.start(join(folder, `project ${(round += 1)}`), key);
    ({ folder: project, archive, env } = tiny);
    declare = (kernel, driver = '') => tiny.declare(driver, kernel);
    await tiny.writeLayer(
      'driver/vendor.yaml',
      `name: vendor
kind: driver
summary: x
provides: [nvidia]
requires: [{vendor: nvidia}, {modules: open}]
offers: [{in: [tiny@1], version: 590.48.01}]
modules: {source: vendor-dkms, flavour: open}
install: {debian: {packages: [libcuda1], versionOf: [libcuda1]}}
`,
    );
    return () => tiny[Symbol.asyncDispose]();
  });

  /** Kernels of these versions; the metapackage stands for the last. */
  function kernelPackages(...versions: string[]): TinyPackage[] {
    const newest = versions.at(-1) ?? '';
    return [
      ...versions.flatMap((version): TinyPackage[] => [
        { name: `linux-image-${version}-tiny`, version: `${version}-1` },
        { name: `linux-image-${version}-tiny-unsigned`, version: `${version}-1` },
        {
          name: `linux-headers-${version}-tiny`,
          version: `${version}-1`,
          depends: `linux-image-${version}-tiny (= ${version}-1)`,
        },
      ]),
      { name: 'linux-image-9.9.9-tiny-unsigned', version: '9.9.9-1' },
      {
        name: 'linux-image-tiny',
        version: `${newest}-1`,
        depends: `linux-image-${newest}-tiny (= ${newest}-1)`,
      },
    ];
  }

  async function publish(...versions: string[]): Promise<void> {
    await archive.publish([...REST, ...kernelPackages(...versions)]);
  }

  async function lockedKernel(...args: string[]): Promise<[release: string, said: string]> {
    const result = await ingot(['lock', ...args, '--', 'node.yaml'], { cwd: project, env });
    expect(result).toMatchObject({ exitCode: 0, stderr: expect.not.stringContaining('error[') as unknown });
    const lock = await readLock(join(project, 'node.lock.yaml'));
    const packages = lock.layers.find(({ name }) => name === 'kernel')?.packages ?? [];
    expect(packages.filter(({ name }) => /^linux-image-\d/.test(name)).map(({ name }) => name)).toEqual([
      lock.kernel.package,
    ]);
    return [lock.kernel.release, result.stderr];
  }

  const DRIVER = 'driver: nvidia\n';

  test('whose newest kernel is bad for the driver gives an older one, and says why', async () => {
    await publish('6.19.5', '6.19.6', '6.19.7', '6.19.9');
    await declare('tiny', DRIVER);
    const [release, said] = await lockedKernel();
    expect(release).toBe('6.19.6-tiny');
    expect(said).toMatch(
      /kernel 6\.19\.6-1 and not 6\.19\.9-1: .*driver 590\.48\.01-1 does not build on Linux 6\.19\.9/,
    );
    const lock = await readLock(join(project, 'node.lock.yaml'));
    expect(lock.modules?.[0]?.source).toMatchObject({ name: 'vendor-dkms', version: '590.48.01-1' });
    expect(lock.compile?.packages).toContainEqual(
      expect.objectContaining({ name: 'linux-headers-6.19.6-tiny', version: '6.19.6-1' }),
    );

    const explained = await ingotJson(['explain', 'node.yaml', 'kernel'], { cwd: project, env });
    const [choice] = explained['choices'] as { value: string; alternatives: readonly Alternative[] }[];
    expect(choice?.value).toBe('6.19.6-1, the package linux-image-6.19.6-tiny');
    expect(choice?.alternatives.map(({ value, verdict }) => `${value} ${verdict}`)).toEqual([
      '6.19.9-1 refused',
      '6.19.7-1 refused',
      '6.19.5-1 warning',
    ]);
    const elsewhere = { cwd: project, env: { ...env, INGOT_STORE: join(project, 'none') } };
    expect((await ingotJson(['explain', 'node.yaml'], elsewhere))['choices']).not.toContainEqual(
      expect.objectContaining({ topic: 'kernel' }),
    );
    await expect(stat(join(project, 'none'))).rejects.toThrow();
  });

  test('without a kernel that fits refuses, with the pair, the rule, the source and a change', async () => {
    await publish('6.19.6', '6.19.9');
    await declare("{flavour: tiny, version: '6.19.9'}", DRIVER);
    const asked = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(asked).toMatchObject({ exitCode: 2 });
    expect(asked.stderr).toMatch(
      /error\[INCOMPATIBLE\].*driver 590\.48\.01 does not build on Linux 6\.19\.9/,
    );
    expect(asked.stderr).toMatch(
      /node\.yaml:3:\d+[^]*rule: kernel-report[^]*fact: drivers\/nvidia\/kernels\.yaml:\d+/,
    );
    expect(asked.stderr).toMatch(/hint: .*kernel: \{version: "6\.19"\}/);
    await expect(stat(join(project, 'node.lock.yaml'))).rejects.toThrow();

    await publish('6.19.7', '6.19.9');
    await declare('tiny', DRIVER);
    const none = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(none).toMatchObject({ exitCode: 2 });
    expect(none.stderr).toMatch(/error\[INCOMPATIBLE\].*does not build on Linux 6\.19/);
  });

  test('left open is that of another release, where the image’s own is bad for the driver', async () => {
    const stable = new TinyArchive(archive.root, key, 'stable');
    const kernel = '6.19.6-tiny';
    await stable.publish([
      { name: `linux-image-${kernel}`, version: '6.19.6-1', depends: 'linux-base' },
      {
        name: `linux-headers-${kernel}`,
        version: '6.19.6-1',
        depends: `linux-image-${kernel} (= 6.19.6-1), cc`,
      },
      { name: 'linux-image-tiny', version: '6.19.6-1', depends: `linux-image-${kernel} (= 6.19.6-1)` },
      // Of these the image has its own; the compile root is all of the kernel's release.
      { name: 'tiny-libc', version: '0', essential: true },
      { name: 'linux-base', version: '9' },
      { name: 'cc', version: '14' },
      { name: 'only-there', version: '1' },
      ...['make', 'kmod', 'patch', 'libc6-dev'].map((name) => ({ name, version: '0' })),
    ]);
    const archives = `[{name: debian, suites: [stable], components: [main], keyring: '${key.keyring}'}]`;
    const layers = join(project, 'layers');
    await writeFile(
      join(layers, 'base/older.yaml'),
      `name: older\nkind: base\nsummary: x\nreleases: {'0': {suite: stable, archives: ${archives}}}\n`,
    );
    const install = 'install: {debian: {release: older@0, packages: [linux-image-tiny]}}';
    await writeFile(join(layers, 'kernel/lts.yaml'), `name: lts\nkind: kernel\nsummary: x\n${install}\n`);
    await archive.publish([
      ...REST,
      ...kernelPackages('6.19.7', '6.19.9'),
      { name: 'linux-base', version: '3' },
    ]);

    await declare('auto', DRIVER);
    const [release, said] = await lockedKernel();
    expect(release).toBe(kernel);
    expect(said).toMatch(/kernel 6\.19\.6-1 and not 6\.19\.9-1: .*does not build on Linux 6\.19\.9/);
    const lock = await readLock(join(project, 'node.lock.yaml'));
    expect(lock.kernel.flavour).toBe('lts');
    expect(lock.archives.map(({ suites }) => suites)).toEqual([['tiny'], ['stable']]);
    const versions = (packages: Lock['tools']['packages'] = []): string[] =>
      packages.map(({ name, version }) => `${name}=${version}`);
    expect(versions(lock.layers.flatMap(({ packages }) => packages)).sort()).toEqual([
      'init=1',
      'libcuda1=590.48.01-1',
      'linux-base=3',
      `linux-image-${kernel}=6.19.6-1`,
      'linux-image-tiny=6.19.6-1',
      'tiny-libc=1',
    ]);
    expect(versions(lock.compile?.packages)).toEqual(expect.arrayContaining(['cc=14', 'tiny-libc=0']));
    expect(lock.modules?.[0]?.source).toMatchObject({ name: 'vendor-dkms', version: '590.48.01-1' });

    const explained = await ingotJson(['explain', 'node.yaml', 'kernel'], { cwd: project, env });
    const [choice] = explained['choices'] as { value: string; alternatives: readonly Alternative[] }[];
    expect(choice?.value).toBe(`6.19.6-1, the package linux-image-${kernel}, from the layer lts`);
    expect(choice?.alternatives.map(({ value, verdict }) => `${value} ${verdict}`)).toEqual([
      '6.19.9-1 refused',
      '6.19.7-1 refused',
    ]);
    expect((await ingot(['lock', 'node.yaml', '--check'], { cwd: project, env })).stdout).toBe(
      'node.lock.yaml: fresh',
    );

    // Named, the kernel of the image's release is refused, with the one that would do.
    await declare('tiny', DRIVER);
    const refused = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(refused).toMatchObject({ exitCode: 2 });
    expect(refused.stderr).toMatch(/error\[INCOMPATIBLE\][^]*hint: .*kernel: lts/);

    // Nothing but the kernel comes from there, and no other kernel than there is.
    await declare('lts', 'packages: [only-there=1]\n');
    const other = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(other.stderr).toMatch(/error\[PACKAGE_UNKNOWN\].*no package only-there/);
    await declare("{flavour: lts, version: '5.10'}");
    const none = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(none.stderr).toMatch(/error\[PACKAGE_UNKNOWN\].*older@0 has no kernel 5\.10[^]*6\.19\.6-1/);
  });

  test('keeps the kernel of the lock while it is there and works', async () => {
    await publish('6.19.5', '6.19.6', '6.19.9');
    await declare('tiny');
    expect((await lockedKernel())[0]).toBe('6.19.9-tiny');

    // What comes with the driver cannot be built for it.
    await declare('tiny', DRIVER);
    const [moved, said] = await lockedKernel();
    expect(moved).toBe('6.19.6-tiny');
    expect(said).toContain('kernel 6.19.6-1 and not 6.19.9-1');

    await declare('tiny');
    expect((await lockedKernel())[0]).toBe('6.19.6-tiny');
    await publish('6.19.5', '6.19.6', '6.19.9', '6.20.1');
    expect((await lockedKernel('--update', 'init'))[0]).toBe('6.19.6-tiny');
    expect((await lockedKernel('--update', 'linux-image-tiny'))[0]).toBe('6.20.1-tiny');

    await publish('6.19.5', '6.19.9');
    expect((await lockedKernel())[0]).toBe('6.19.9-tiny');
    await publish('6.19.5', '6.19.9', '6.20.1');
    expect((await lockedKernel('--update'))[0]).toBe('6.20.1-tiny');
  });

  test('gives a declared kernel, by version or release, and with the metapackage where that stands for it', async () => {
    await publish('6.18.20', '6.19.5', '6.19.6');
    const names = async (): Promise<readonly string[]> =>
      (await readLock(join(project, 'node.lock.yaml'))).layers[1]?.packages.map(({ name }) => name) ?? [];
    await declare("{flavour: tiny, version: '6.18'}");
    await lockedKernel();
    expect(await names()).toEqual(['linux-image-6.18.20-tiny']);
    await declare("{flavour: tiny, version: '6.19.5'}");
    await lockedKernel();
    expect(await names()).toEqual(['linux-image-6.19.5-tiny']);
    await declare("{flavour: tiny, version: '6.19.6-1'}");
    await lockedKernel();
    expect(await names()).toEqual(['linux-image-6.19.6-tiny', 'linux-image-tiny']);
    await declare("{flavour: tiny, version: '5.10'}", DRIVER);
    const result = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(result.stderr).toMatch(/error\[PACKAGE_UNKNOWN\].*no version 5\.10[^]*6\.19\.5-1/);
  });
});

describe('the machine’s own mirror', () => {
  const DRIVER = 'driver: nvidia@550\ngpus: [a30]\nkernelArguments: [nokaslr]\n';

  test('an exact kernel of trixie, and the newest, for a driver that needs a patch from some kernel on', async () => {
    const file = join(folder, 'real.yaml');
    const env = { INGOT_STORE: join(folder, 'store') };
    const path = join(folder, 'real.lock.yaml');
    await writeFile(file, `name: real\nbase: debian@13\nkernel: generic\n${DRIVER}`);
    const newest = await ingot(['lock', file], { env });
    expect(newest).toMatchObject({ exitCode: 0 });
    const { kernel } = await readLock(path);

    const explained = await ingotJson(['explain', file, 'kernel'], { env });
    const [choice] = explained['choices'] as { value: string; alternatives: readonly Alternative[] }[];
    expect(choice?.value).toBe(`${kernel.version}, the package ${kernel.package}`);
    const others = choice?.alternatives ?? [];
    expect(others.length).toBeGreaterThan(0);
    // Debian's 550.163.01-2 builds as it is up to some update of 6.12, and with a patch from there on. Mirrors forget the
    // headers of older kernels, so there may be none left that needs no patch.
    const possible = others.filter(
      ({ value, verdict }) => value.startsWith('6.12.') && verdict !== 'refused',
    );
    const older = possible.find(({ reasons }) => reasons.length === 0) ?? possible.at(-1);
    expect(older).toBeDefined();
    expect(newest.stderr).toContain('only with the patch pci-resize-resource');

    const version = older?.value.replace(/-\d+$/, '') ?? '';
    const asked = join(folder, 'asked.yaml');
    await writeFile(
      asked,
      `name: asked\nbase: debian@13\nkernel: {flavour: generic, version: '${version}'}\n${DRIVER}`,
    );
    const exact = await ingot(['lock', asked], { env });
    expect(exact).toMatchObject({ exitCode: 0 });
    const needsPatch = older?.reasons.some((reason) => reason.includes('only with the patch')) === true;
    expect(exact.stderr.includes('patch')).toBe(needsPatch);
    const lock = await readLock(join(folder, 'asked.lock.yaml'));
    expect(lock.kernel.version).toMatch(new RegExp(`^${version.replaceAll('.', String.raw`\.`)}-`));
    expect(lock.layers[1]?.packages.map(({ name }) => name)).toContain(lock.kernel.package);
    expect(lock.kernel.package).not.toContain('unsigned');
  });

  test.each([
    ['cloud', 'linux-image-cloud-amd64'],
    ['generic', 'linux-image-amd64'],
  ])(
    'the modules that rules ask for and that kernel/%s lacks are those that its layer says',
    async (flavour, meta) => {
      const file = join(folder, `${flavour}.yaml`);
      await writeFile(file, `name: ${flavour}\nbase: debian@13\nkernel: ${flavour}\n`);
      await ingotJson(['lock', file], { env: { INGOT_STORE: join(folder, 'store') } });
      const lock = await readLock(join(folder, `${flavour}.lock.yaml`));
      expect(lock.layers[1]?.packages.map(({ name }) => name)).toContain(meta);
      const modules = await modulesOf(lock);
      expect(modules.size).toBeGreaterThan(500);
      const { definition } =
        (await loadCatalog([join(PRODUCT_ROOT, 'layers')], { onOverride: () => undefined })).find(
          'kernel',
          flavour,
        ) ?? {};
      const facts = await loadFacts(join(PRODUCT_ROOT, 'drivers'));
      const asked = new Set([
        ...facts.otherGpus.map(({ kernelDriver }) => kernelDriver),
        ...facts.nvidia.gpus.flatMap(({ fabric }) => fabric?.kernelModules ?? []),
      ]);
      const lacking = [...asked].filter((name) => !modules.has(name)).sort();
      expect(definition?.lacks ?? []).toEqual(lacking);
    },
  );
});
