/**
 * Ways in which a system can fail to come up, each on a machine that really does: it ends in the system before. Takes
 * a quarter of an hour where the processor is emulated: `npm run test:vm`. Needs root.
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
let number = 1;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-failures-'));
  images = await VmImages.open(scratch);
  registry = await startRegistry({ folder: scratch });
  await images.add('20991231.1', GOOD_IMAGE);
  node = await images.start(await images.install('20991231.1'));
  await node.settle();
});

afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

const FAILURES: readonly (readonly [string, Readonly<Record<string, string>>, reason: RegExp])[] = [
  [
    'Ingot itself does not run',
    { 'usr/lib/ingot/ingot-node.mjs': 'this is no program\n' },
    /never got as far as its checks/,
  ],
  [
    'the kernel panics: it finds neither an initramfs nor a root',
    { 'usr/lib/bootc/kargs.d/90-panic.toml': 'kargs = ["rdinit=/none"]\n' },
    /never got as far as its checks/,
  ],
  [
    'a file system is missing, so it ends in emergency mode',
    {
      'usr/lib/systemd/system/missing.mount': unit(
        '[Unit]',
        'DefaultDependencies=no',
        'Before=local-fs.target',
        '[Mount]',
        'What=/dev/none',
        'Where=/missing',
        'Type=ext4',
      ),
      'usr/lib/systemd/system/dev-none.device.d/50-short.conf': unit('[Unit]', 'JobTimeoutSec=10s'),
      'usr/lib/systemd/system/local-fs.target.d/50-missing.conf': unit(
        '[Unit]',
        'Requires=missing.mount',
        'After=missing.mount',
      ),
    },
    /never got as far as its checks/,
  ],
  [
    'a service never ends starting',
    {
      'usr/lib/systemd/system/endless.service': unit(
        '[Service]',
        'Type=oneshot',
        'TimeoutStartSec=infinity',
        'ExecStart=/bin/sleep infinity',
      ),
      'usr/lib/systemd/system/multi-user.target.d/50-endless.conf': unit('[Unit]', 'Wants=endless.service'),
      'usr/lib/systemd/system/ingot-deadline.timer.d/50-short.conf': unit(
        '[Timer]',
        'OnActiveSec=',
        'OnActiveSec=90s',
      ),
    },
    /never got as far as its checks/,
  ],
  ['it hangs: nothing but a loop gets the processor', HANG, /never got as far as its checks/],
];

test.each(FAILURES)('%s: the node goes back', { timeout: 3 * BOOT_MS }, async (_name, files, reason) => {
  const image = await images.add(`20991231.${++number}`, { ...WELL, ...files });
  await failAndGoBack(node, { images, registry, image, reason });
});

test(
  'a link to the menu that leads nowhere yet does not keep GRUB from it',
  { timeout: BOOT_MS },
  async () => {
    const link = await node.sh('readlink /boot/loader');
    // As GRUB may find it when the power went while the kernel brought another link to its place.
    await node.sh('ln --symbolic --force --no-dereference loader.none /boot/loader; sync');
    const boot = node.vm.bootId;
    node.vm.tell('systemctl --no-block reboot');
    await node.vm.waitForBoot({ timeoutMs: BOOT_MS, after: boot });
    await node.sh(`ln --symbolic --force --no-dereference ${link} /boot/loader`);
    expect(await node.status()).toMatchObject({ booted: { version: '20991231.1' } });
  },
);

test('a good system whose check fails later stays up', { timeout: BOOT_MS }, async () => {
  const before = node.vm.restarts;
  await node.sh('mkdir -p /etc/greenboot/check/required.d');
  await node.sh('printf "#!/bin/sh\\nexit 1\\n" >/etc/greenboot/check/required.d/1.sh');
  await node.sh('chmod +x /etc/greenboot/check/required.d/1.sh');
  const boot = node.vm.bootId;
  node.vm.tell('systemctl --no-block reboot');
  await node.vm.waitForBoot({ timeoutMs: BOOT_MS, after: boot });
  await node.sh('until systemctl is-failed --quiet ingot-gate.service; do sleep 1; done', BOOT_MS);
  expect(await node.sh('systemctl show --value -p ConditionResult ingot-failed.service')).toBe('no');
  expect(await node.status()).toMatchObject({ boot: { blessed: true }, gate: { healthy: false } });
  expect(node.vm.restarts - before).toBe(1);
});
