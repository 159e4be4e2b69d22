/**
 * NVIDIA's kernel modules for Debian's own kernel, for real: the pair that fails without its patch, and the proprietary
 * flavour. images.test.ts builds the open ones, twice, in images where `modprobe nvidia` finds them. Ten minutes on two
 * cores.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { makeModulesTree } from '../../src/build/modules/modules-tree.ts';
import { loadFacts } from '../../src/catalog/facts/load.ts';
import { moduleFacts } from '../../src/cli/module-facts.ts';
import { fetchPackages } from '../../src/packages/fetch.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import { planModules } from '../../src/plan/plan-modules.ts';
import type { ModulesInput, PlannedTree } from '../../src/plan/plan.ts';
import { silentReporter } from '../../src/report/events.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { Store } from '../../src/store/store.ts';
import { TEST_STORE } from '../support/built-image.ts';
import { ingotJson, PRODUCT_ROOT } from '../support/cli.ts';

const IMAGE = join(PRODUCT_ROOT, 'images/debian-nvidia-cuda.yaml');
const MODULES = ['nvidia-drm.ko', 'nvidia-modeset.ko', 'nvidia-peermem.ko', 'nvidia-uvm.ko', 'nvidia.ko'];
const env = { INGOT_STORE: TEST_STORE };
let folder: string;

beforeAll(() => {
  mkdirSync(join(TEST_STORE, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(TEST_STORE, '../scratch/nvidia-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function lock(file: string, name: string): Promise<Lock> {
  const path = join(folder, `${name}.lock.yaml`);
  await ingotJson(['lock', file, '--output', path], { env });
  return parseLock(readFileSync(path, 'utf8'), path);
}

/** Builds the modules of a lock by themselves; the names of those that were made. */
async function modulesOf(locked: Lock, change: Partial<ModulesInput> = {}): Promise<string[]> {
  const facts = await loadFacts(join(PRODUCT_ROOT, 'drivers'));
  const [step] = planModules(locked, await moduleFacts(locked, facts));
  if (step?.modules === undefined) throw new Error('the lock has no modules');
  const modules: ModulesInput = { ...step.modules, ...change };
  const planned: PlannedTree = { ...step, modules };
  const store = await Store.open(TEST_STORE);
  const mirrors = () => loadMirrors(process.env);
  const created = new Date(locked.created);
  await fetchPackages(step.packages, { store, mirrors: await mirrors(), created });
  const root = mkdtempSync(join(folder, 'tree-'));
  await makeModulesTree(root, planned, { store, mirrors, created, reporter: silentReporter });
  return readdirSync(join(root, 'usr/lib/modules', locked.kernel.release, 'updates')).sort();
}

test('without its patch the source does not build for the kernel, and the message says why', async () => {
  const locked = await lock(IMAGE, 'unpatched');
  expect(locked.modules?.[0]?.patches?.map(({ name }) => name)).toEqual(['pci-resize-resource']);
  const failing: Promise<unknown> = modulesOf(locked, { patches: [] });
  await expect(failing).rejects.toMatchObject({
    code: 'BUILD_FAILED',
    message: expect.stringMatching(
      /nv-pci\.c:\d+:\d+: error: too few arguments to function .pci_resize_resource.[\s\S]*known of the two: fails on Linux >= 6\.12\.97/,
    ) as string,
  });
});

test('the proprietary flavour is built in the same way', async () => {
  const file = join(folder, 'proprietary.yaml');
  const driver = '{ use: nvidia, version: "550", modules: proprietary }';
  writeFileSync(
    file,
    `name: proprietary\nbase: debian@13\nkernel: generic\ngpus: [v100-sxm2-32gb]\ndriver: ${driver}\n`,
  );
  const locked = await lock(file, 'proprietary');
  expect(locked.modules?.[0]?.patches).toBeUndefined();
  expect(await modulesOf(locked)).toEqual(MODULES);
});
