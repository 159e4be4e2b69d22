/**
 * Ways in which a system can fail to come up, each on a machine that really does: it ends in the system before. Takes
 * a quarter of an hour where the processor is emulated: `npm run test:vm`. Needs root.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { TEST_FOLDER } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { BOOT_MS, GUEST_HOST, VmImages, type VmNode, WELL } from '../support/vm-node.ts';

let scratch: string;
let registry: TestRegistry;
let images: VmImages;
let node: VmNode;
let number = 1;

const unit = (...lines: readonly string[]): string => `${lines.join('\n')}\n`;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-failures-'));
  images = await VmImages.open(scratch);
  registry = await startRegistry({ folder: scratch });
  await images.add('20991231.1', {
    ...WELL,
    'usr/lib/ingot/update.json': JSON.stringify({ source: 'registry.example.com/node:none', tries: 1 }),
  });
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
    { 'usr/lib/ingot/ingot.mjs': 'this is no program\n' },
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
  [
    'it hangs: nothing but a loop gets the processor',
    {
      'usr/lib/systemd/system/hang.service': unit(
        '[Unit]',
        'After=basic.target',
        '[Service]',
        'ExecStart=/bin/sh /usr/lib/hang',
      ),
      // Without the kernel's fair server, which leaves other processes a twentieth.
      'usr/lib/hang': [
        '#!/bin/sh',
        'echo -1 >/proc/sys/kernel/sched_rt_runtime_us',
        'echo 0 >/sys/kernel/debug/sched/fair_server/cpu0/runtime',
        "exec chrt --fifo 99 sh -c 'while :; do :; done'",
        '',
      ].join('\n'),
      'usr/lib/systemd/system/multi-user.target.d/50-hang.conf': unit('[Unit]', 'Wants=hang.service'),
      'usr/lib/systemd/system.conf.d/60-short.conf': unit('[Manager]', 'RuntimeWatchdogSec=60s'),
    },
    /never got as far as its checks/,
  ],
];

test.each(FAILURES)('%s: the node goes back', { timeout: 3 * BOOT_MS }, async (_name, files, reason) => {
  const { name, digest } = await images.add(`20991231.${++number}`, { ...WELL, ...files });
  const { host } = registry;
  await ingotJson(['push', `oci:${images.layout}:${name}`, `${host}/node:${name}`, '--insecure', host]);
  const guest = `${GUEST_HOST}:${host.split(':')[1] ?? ''}`;
  await node.ingotJson(`node switch ${guest}/node:${name} --insecure ${guest}`);
  expect(await node.restart()).toBe(2);
  const status = await node.status();
  expect(status).toMatchObject({
    booted: { version: '20991231.1' },
    boot: { blessed: true },
  });
  expect(status.updates[0]).toMatchObject({ version: name, digest, outcome: 'settled' });
  expect(status.updates[0]?.reason).toMatch(reason);
  expect(status.rollback).toBeUndefined();
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
