/** Declarations for arm64: locked from the real archives on this machine, and refused by what would have to run them. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { ingot, ingotJson } from '../support/cli.ts';

const DECLARATION = `name: node
base: debian@13
kernel: cloud
addons: [ssh]
variants:
  - { name: arm, arch: arm64 }
  - { name: grace, arch: arm64, kernel: generic, gpus: [gh200-480gb], driver: nvidia@550, cuda: auto }
`;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-arm64-'));
  await writeFile(join(folder, 'node.yaml'), DECLARATION);
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function lockOf(variant: string): Promise<Lock> {
  const env = { INGOT_STORE: join(folder, 'store') };
  await ingotJson(['lock', 'node.yaml', '--variant', variant], { cwd: folder, env });
  const path = join(folder, `node@${variant}.lock.yaml`);
  return parseLock(await readFile(path, 'utf8'), path);
}

function architecturesOf(packages: readonly { readonly architecture: string }[]): string[] {
  return [...new Set(packages.map(({ architecture }) => architecture))].sort();
}

test('a minimal image is locked with packages for arm64, and with tools for the machines that build', async () => {
  const lock = await lockOf('arm');
  expect(lock.base.architecture).toBe('arm64');
  expect(lock.kernel.release).toMatch(/-cloud-arm64$/);
  expect(architecturesOf(lock.layers.flatMap(({ packages }) => packages))).toEqual(['all', 'arm64']);
  expect(architecturesOf(lock.tools.packages)).toEqual(['all', 'amd64']);
});

test('Grace Hopper has open modules, made for arm64', async () => {
  const lock = await lockOf('grace');
  expect(lock.driver).toMatchObject({ layer: 'driver-nvidia-open', modules: 'open' });
  expect(lock.modules?.map(({ source }) => [source.name, source.architecture])).toEqual([
    ['nvidia-open-kernel-dkms', 'arm64'],
  ]);
  const driver = lock.layers.find(({ name }) => name === 'driver-nvidia-open');
  expect(driver?.packages.find(({ name }) => name === 'libcuda1')?.architecture).toBe('arm64');
});

test.each([
  ['build', []],
  ['disk', ['--output', 'node.raw']],
  ['test', []],
])('%s says that it cannot, before anything is fetched', async (command, options) => {
  await lockOf('arm');
  const store = join(folder, `store of ${command}`);
  const result = await ingot([command, 'node.yaml', '--variant', 'arm', ...options], {
    cwd: folder,
    env: { INGOT_STORE: store, INGOT_MIRROR: 'http://127.0.0.1:9/none' },
  });
  expect(result).toMatchObject({ exitCode: 2 });
  expect(result.stderr).toMatch(/error\[ARCHITECTURE_FOREIGN\]: the image is for arm64.*\n.*node\.yaml:6:24/);
  expect(await readdir(join(store, 'packages')).catch(() => [])).toEqual([]);
});
