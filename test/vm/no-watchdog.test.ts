/**
 * A machine that has no watchdog, and updates that hang: in the kernel's eyes, which has one of its own, and in the
 * initramfs, where a deadline ends it. Takes ten minutes more than the starts do: `npm run test:vm`. Needs root.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { TEST_FOLDER } from '../support/built-image.ts';
import { failAndGoBack, GOOD_IMAGE, HANG, unit } from '../support/failing-image.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { BOOT_MS, VmImages, type VmNode, WELL } from '../support/vm-node.ts';

let scratch: string;
let registry: TestRegistry;
let images: VmImages;
let node: VmNode;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-no-watchdog-'));
  images = await VmImages.open(scratch);
  registry = await startRegistry({ folder: scratch });
  await images.add('20991231.1', GOOD_IMAGE);
  node = await images.start(await images.install('20991231.1'), { hasWatchdog: false });
  await node.settle();
});

afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

test('the kernel’s own watchdog ends a hang', { timeout: 3 * BOOT_MS }, async () => {
  expect(await node.sh('cat /sys/class/watchdog/watchdog0/identity')).toBe('Software Watchdog');
  // systemd opens it some time after it was loaded, and the hang comes before.
  const image = await images.add('20991231.2', {
    ...WELL,
    ...HANG,
    'usr/lib/systemd/system/hang.service.d/50-early.conf': unit('[Unit]', 'After=ingot-softdog.service'),
  });
  await failAndGoBack(node, { images, registry, image, reason: /never got as far as its checks/ });
});

test('the deadline ends an initramfs that waits for ever', { timeout: 6 * BOOT_MS }, async () => {
  const image = await images.add('20991231.3', {
    ...WELL,
    'usr/lib/bootc/kargs.d/90-wait.toml':
      'kargs = ["rd.systemd.wants=dev-none.device", "systemd.default_device_timeout_sec=infinity"]\n',
  });
  const reason = /never got as far as its checks/;
  await failAndGoBack(node, { images, registry, image, reason, upMs: 3 * BOOT_MS });
  expect(node.vm.console.find(/this system is on trial and does not start: restarting/)).toBeDefined();
});
