/** Images with driver, CUDA and runtimes: locked afresh from the real archives, and from a vendor's of our own. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { fetchPackages } from '../../src/packages/fetch.ts';
import { mirrorsFrom, withRepositories } from '../../src/packages/mirror.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { Store } from '../../src/store/store.ts';
import { ingot, ingotJson, PRODUCT_ROOT } from '../support/cli.ts';
import { MirrorServer, TestKey, TinyArchive, type TinyPackage } from '../support/mirror.ts';
import { TinyProject } from '../support/tiny-project.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-gpu-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function readLock(path: string): Promise<Lock> {
  return parseLock(await readFile(path, 'utf8'), path);
}

function ownersOf(lock: Lock): ReadonlyMap<string, string> {
  return new Map(
    lock.layers.flatMap((layer) => layer.packages.map((item) => [item.name, layer.name] as const)),
  );
}

describe('the images of the product', () => {
  async function lockImage(name: string, file = join(PRODUCT_ROOT, `images/${name}.yaml`)): Promise<Lock> {
    const path = join(folder, `${name}.lock.yaml`);
    const env = { INGOT_STORE: join(folder, 'store') };
    await ingotJson(['lock', file, '--output', path], { env });
    const lock = await readLock(path);
    const names = lock.layers.flatMap((layer) => layer.packages.map((item) => item.name));
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((item) => item.includes('dkms'))).toEqual([]);
    return lock;
  }

  test.each([
    ['debian-nvidia-cuda', 'generic', undefined, 'libcudart12', 'cuda-runtime'],
    ['debian-nvidia-torch', 'generic', 'pytorch', 'python3-torch-cuda', 'runtime-pytorch-cuda'],
    ['debian-nvidia-llama', 'lts', 'llama.cpp', 'libggml0-backend-cuda', 'runtime-llama.cpp-cuda'],
  ])('%s', async (name, kernel, runtime, owned, layer) => {
    const lock = await lockImage(name);
    expect(lock.kernel).toMatchObject({
      flavour: kernel,
      version: expect.stringMatching(/^6\.12\./) as string,
    });
    expect(lock.driver).toMatchObject({ name: 'nvidia', version: '550.163.01', modules: 'open' });
    expect(lock.cuda).toMatchObject({ version: '12.4' });
    expect(lock.runtimes?.map((one) => one.name)).toEqual(runtime === undefined ? undefined : [runtime]);
    expect(lock.modules).toMatchObject([
      { layer: 'driver-nvidia-open', source: { name: 'nvidia-open-kernel-dkms' }, flavour: 'open' },
    ]);
    const compile = lock.compile?.packages ?? [];
    expect(compile.find(({ name }) => name === `linux-headers-${lock.kernel.release}`)?.version).toBe(
      lock.kernel.version,
    );
    expect(lock.archives[0]?.components).toEqual(['main', 'contrib', 'non-free', 'non-free-firmware']);
    const owners = ownersOf(lock);
    expect(owners.get('libcuda1')).toBe('driver-nvidia-open');
    expect(owners.get('libcudart12')).toBe('cuda-runtime');
    expect(owners.get('openssh-server')).toBe('addon-ssh');
    expect(owners.get(owned)).toBe(layer);
  });

  test('PyTorch for CUDA locks and is not built: a package of Debian’s downloads cuDNN', async () => {
    const file = join(PRODUCT_ROOT, 'images/debian-nvidia-torch.yaml');
    await lockImage('debian-nvidia-torch', file);
    const lock = join(folder, 'debian-nvidia-torch.lock.yaml');
    const env = { INGOT_STORE: join(folder, 'store') };
    const planned = await ingot(['plan', file, '--lock', lock], { env, cwd: folder });
    expect(planned.exitCode, planned.stderr).toBe(0);
    expect(planned.stderr).toMatch(
      /warning: runtime-pytorch-cuda: nvidia-cudnn 9\.\S+ downloads cuDNN from NVIDIA/,
    );
    const { exitCode, stderr } = await ingot(['build', file, '--lock', lock], { env, cwd: folder });
    expect(exitCode, stderr).toBe(2);
    expect(stderr).toMatch(
      /error\[PACKAGE_DOWNLOADS\]: runtime-pytorch-cuda: nvidia-cudnn 9\.\S+ downloads cuDNN from NVIDIA/,
    );
    expect(stderr).toMatch(/--> \S*debian-nvidia-torch\.yaml:\d+:\d+/);
  });

  test.each([
    ['debian-amd', 'driver-amdgpu', 'firmware-amd-graphics', ['main', 'non-free-firmware']],
    ['debian-intel', 'driver-intel', 'firmware-intel-graphics', ['main', 'non-free-firmware']],
    ['debian-cpu-llama', 'runtime-llama.cpp-cpu', 'llama.cpp', ['main']],
    ['edge-cpu', 'runtime-onnxruntime', 'python3-onnxruntime', ['main']],
  ])('%s', async (name, layer, owned, components) => {
    const lock = await lockImage(name);
    expect(ownersOf(lock).get(owned)).toBe(layer);
    expect(lock.archives[0]?.components).toEqual(components);
    expect(lock.modules).toBeUndefined();
  });

  test.each([
    [
      'open',
      'cuda: {toolkit: true}\nruntimes: [pytorch-cpu]\naddons: [podman, persistenced, nvidia-fs, nvvm]\n',
      {
        'nvidia-cuda-toolkit': 'cuda-full',
        'python3-torch': 'runtime-pytorch-cpu',
        podman: 'addon-podman',
        'nvidia-persistenced': 'addon-persistenced',
        'libnvidia-nvvm4': 'addon-nvvm',
      },
    ],
    ['proprietary', '', { 'nvidia-kernel-support': 'driver-nvidia-proprietary' }],
  ])('and the layers of Debian’s that none of them has, with %s modules', async (modules, rest, wanted) => {
    const file = join(folder, `${modules}.yaml`);
    const driver = `driver: {use: nvidia, version: "550", modules: ${modules}}`;
    await writeFile(file, `name: others\nbase: debian@13\nkernel: generic\n${driver}\n${rest}`);
    const owners = ownersOf(await lockImage(modules, file));
    expect(Object.fromEntries(owners)).toMatchObject({ libcuda1: `driver-nvidia-${modules}`, ...wanted });
  });
});

describe('a vendor’s repository', () => {
  const BASE: readonly TinyPackage[] = [
    { name: 'tiny-libc', version: '1', essential: true },
    { name: 'init', version: '1', depends: 'tiny-libc' },
    { name: 'linux-image-tiny', version: '6.12.2-1', depends: 'linux-image-6.12.2-tiny' },
    { name: 'linux-image-6.12.2-tiny', version: '6.12.2-1' },
    { name: 'linux-headers-6.12.2-tiny', version: '6.12.2-1', depends: 'linux-image-6.12.2-tiny' },
    ...['make', 'kmod', 'patch', 'libc6-dev'].map((name) => ({ name, version: '1' })),
    { name: 'hammer', version: '1' },
  ];
  const VENDOR: readonly TinyPackage[] = [
    { name: 'libcuda1', version: '580.95.05-1', depends: 'tiny-libc' },
    { name: 'vendor-dkms', version: '580.95.05-2', depends: 'nobody-has-this' },
  ];
  let key: TestKey;
  let project: string;
  let vendor: TinyArchive;
  let tiny: TinyProject;
  let repository: MirrorServer;
  let env: Readonly<Record<string, string>>;
  let round = 0;

  beforeAll(async () => {
    key = await TestKey.create();
  });

  afterAll(async () => {
    await key[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    tiny = await TinyProject.start(join(folder, `project ${(round += 1)}`), key);
    ({ folder: project, env } = tiny);
    await tiny.declare('driver: nvidia');
    await tiny.archive.publish(BASE);
    vendor = new TinyArchive(join(project, 'vendor/tiny1'), key);
    await vendor.publishFlat(VENDOR);
    repository = await MirrorServer.start(join(project, 'vendor'));
    await driver({});
    return async () => {
      await tiny[Symbol.asyncDispose]();
      await repository[Symbol.asyncDispose]();
    };
  });

  async function driver(change: { version?: string; fingerprint?: string; keyring?: string }): Promise<void> {
    const fingerprint = change.fingerprint ?? (await key.fingerprint());
    await tiny.writeLayer(
      'driver/vendor.yaml',
      `name: vendor
kind: driver
summary: A vendor's driver
status: unverified
provides: [nvidia]
requires: [{vendor: nvidia}, {modules: open}]
offers: [{in: [tiny@1], version: '${change.version ?? '580.95.05'}'}]
modules: {source: vendor-dkms, flavour: open}
install:
  debian:
    packages: [libcuda1]
    versionOf: [libcuda1]
    repositories:
      - name: vendor
        url: ${repository.url}/{suite}{release}
        key: {fingerprint: '${fingerprint}', keyring: '${change.keyring ?? key.keyring}'}
`,
    );
  }

  async function lockError(): Promise<string> {
    const result = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(result.exitCode).not.toBe(0);
    return result.stderr;
  }

  test('is locked with its address, its sources beside it, and fetched from there', async () => {
    const result = await ingot(['lock', 'node.yaml'], { cwd: project, env });
    expect(result).toMatchObject({ exitCode: 0 });
    expect(result.stderr).toContain('is unverified');
    const lock = await readLock(join(project, 'node.lock.yaml'));
    expect(lock.archives.at(-1)).toEqual({
      name: 'vendor',
      suites: ['./'],
      components: [],
      url: `${repository.url}/tiny1`,
    });
    expect(lock.driver).toEqual({
      name: 'nvidia',
      layer: 'driver-vendor',
      version: '580.95.05',
      package: '580.95.05-1',
      modules: 'open',
    });
    expect(lock.modules?.map(({ layer, source }) => [layer, source.name, source.version])).toEqual([
      ['driver-vendor', 'vendor-dkms', '580.95.05-2'],
    ]);
    const packages = lock.layers.find(({ name }) => name === 'driver-vendor')?.packages ?? [];
    expect(packages.map(({ name, archive }) => [name, archive])).toEqual([['libcuda1', 'vendor']]);

    const store = await Store.open(env['INGOT_STORE'] ?? '');
    const mirrors = withRepositories(mirrorsFrom(env, []), lock.archives);
    const fetched = await fetchPackages(packages, { store, mirrors, created: new Date() });
    expect(fetched.fetched).toBe(1);
    expect(repository.requests.filter((path) => path.endsWith('.deb'))).toHaveLength(1);

    // A newer source stays away until it is asked for, as any package does.
    await vendor.publishFlat([...VENDOR, { name: 'vendor-dkms', version: '580.95.05-3' }]);
    expect(await ingotJson(['lock', 'node.yaml'], { cwd: project, env })).toMatchObject({
      locks: [{ written: false }],
    });
    const diff = await ingot(['lock', 'node.yaml', '--update', '--diff'], { cwd: project, env });
    expect(diff.stdout).toContain('modules vendor-dkms  580.95.05-2 → 580.95.05-3');
    expect(await ingotJson(['lock', 'node.yaml', '--check'], { cwd: project, env })).toMatchObject({
      locks: [{ fresh: true }],
    });
  });

  test('that is signed by another key than the pinned one', async () => {
    await driver({ fingerprint: '0'.repeat(40) });
    expect(await lockError()).toContain(`error[MIRROR_UNTRUSTED]: the keyring ${key.keyring} holds`);
  });

  test('without its key on this machine', async () => {
    await driver({ keyring: join(project, 'none.gpg') });
    expect(await lockError()).toContain('error[ENVIRONMENT]: the archive keyring');
  });

  test('that no longer has what its layer offers', async () => {
    await driver({ version: '580.178.04' });
    expect(await lockError()).toMatch(/error\[PACKAGE_UNKNOWN\].*no version 580\.178\.04 of libcuda1/);
  });

  test('whose source is of another version than the driver', async () => {
    await vendor.publishFlat([
      VENDOR[0] ?? { name: 'x', version: '1' },
      { name: 'vendor-dkms', version: '575.1-1' },
    ]);
    expect(await lockError()).toMatch(/error\[PACKAGE_UNKNOWN\].*no version 580\.95\.05 of vendor-dkms/);
  });
});
