import { describe, expect, it, test } from 'vitest';

import { digestOf } from '../digest.ts';
import type { Lock } from '../resolve/lock.ts';
import { initramfsChunk, isInitramfsPlace, isInitramfsSetting, planInitramfs } from './plan-initramfs.ts';
import type { PlannedFile, PlannedTree } from './plan.ts';

const file = (path: string, content = ''): PlannedFile => ({
  path,
  content,
  mode: 0o644,
  user: 'root',
  group: 'root',
});
const OMITS = 'omit_drivers+=" nvidia nvidia_uvm "\n';
const setting = file('/usr/lib/dracut/dracut.conf.d/60-driver.conf', OMITS);

function step(name: string, needs: readonly string[], change: Partial<PlannedTree> = {}): PlannedTree {
  const kind = name.startsWith('modules') ? 'modules' : needs.length === 0 ? 'base' : 'unpack';
  const plain = { packages: [], files: [], epoch: 0, summary: name, treeKey: digestOf(name) };
  return { ...plain, name, kind, needs, ...change };
}

const lock = {
  base: { name: 'debian' },
  kernel: { package: 'linux-image-6', release: '6-cloud' },
  layers: [
    { name: 'base', packages: [] },
    { name: 'kernel', created: '2026-01-01T00:00:00Z', packages: [{ name: 'linux-image-6' }] },
  ],
} as unknown as Lock;

function planWith(
  driver: Partial<PlannedTree> = {},
  files: readonly PlannedFile[] = [],
  modules: Partial<PlannedTree> = {},
): PlannedTree | undefined {
  const steps = [
    step('base', []),
    step('kernel', ['base'], { epoch: 7 }),
    step('modules-driver', [], modules),
    step('driver', ['base'], driver),
    step('cuda', ['base', 'driver']),
  ];
  const common = { builder: digestOf('builder'), architecture: 'amd64' };
  return planInitramfs({ lock, steps, files, common });
}

describe('planInitramfs', () => {
  it('stands on base, kernel and modules alone, and is as old as the kernel', () => {
    expect(planWith()).toMatchObject({ needs: ['base', 'kernel', 'modules-driver'], epoch: 7, files: [] });
  });

  it('is the same with another driver, and another with other modules', () => {
    const before = planWith()?.treeKey;
    expect(planWith({ treeKey: digestOf('later'), epoch: 9 })?.treeKey).toBe(before);
    expect(planWith({}, [], { treeKey: digestOf('later') })?.treeKey).not.toBe(before);
  });

  it('takes what layers leave out of it', () => {
    const plan = planWith({ files: [setting, file('/etc/modprobe.d/driver.conf', 'blacklist other\n')] });
    expect(plan?.files).toEqual([setting]);
    expect(plan?.treeKey).not.toBe(planWith()?.treeKey);
  });

  it.each([
    ['a layer puts something into it', [file('/usr/lib/modules-load.d/gpu.conf', 'amdgpu\n')], []],
    ['a layer asks dracut for more', [file(setting.path, 'add_drivers+=" amdgpu "\n')], []],
    ['the declaration settles dracut', [], [file('/etc/dracut.conf.d/mine.conf', OMITS)]],
    ['the declaration settles the deployment', [], [file('/usr/lib/ostree/prepare-root.conf')]],
  ])('is none, so that the seal makes it, where %s', (_what, ofLayer, declared) => {
    expect(planWith({ files: ofLayer }, declared)).toBeUndefined();
  });

  it('is none on a base that is an image', () => {
    const onImage = { ...lock, base: { ...lock.base, image: {} } } as unknown as Lock;
    const common = { builder: digestOf('builder'), architecture: 'amd64' };
    const steps = [step('base', []), step('kernel', ['base'])];
    expect(planInitramfs({ lock: onImage, steps, files: [], common })).toBeUndefined();
  });
});

test.each([
  ['usr/lib/dracut/modules.d/90x/module-setup.sh', true],
  ['etc/dracut.conf', true],
  ['etc/depmod.d/order.conf', true],
  ['usr/lib/sysctl.d/50-x.conf', true],
  ['etc/sysctl.d/50-x.conf', false],
  ['usr/lib/dracut', false],
  ['etc/motd', false],
])('dracut or depmod takes what is at %s: %s', (path, expected) => {
  expect(isInitramfsPlace(path)).toBe(expected);
});

test.each([
  [OMITS, true],
  [`# Why.\n\nomit_dracutmodules+=" lvm "\n${OMITS}`, true],
  [`${OMITS}add_drivers+=" x "\n`, false],
  ['omit_drivers+=" x "; rm -rf / #"\n', false],
  ['omit_drivers+=" $(id) "\n', false],
  ['omit_drivers=" x "\n', false],
])('a fragment with %j only leaves out: %s', (content, expected) => {
  expect(isInitramfsSetting({ ...setting, content })).toBe(expected);
});

test('a fragment is one where dracut looks for it', () => {
  expect(isInitramfsSetting(file('/etc/dracut.conf.d/60-driver.conf', OMITS))).toBe(false);
});

test('the chunk has the time of the layer with the kernel', () => {
  expect(initramfsChunk(lock)).toMatchObject({
    paths: ['usr/lib/modules/6-cloud/initramfs.img'],
    epoch: Date.parse('2026-01-01T00:00:00Z') / 1000,
  });
});
