/**
 * A machine that is put into service: with Secure Boot it starts from an installer like from a stick, is installed without
 * anybody there, starts from its disk, and knows its name and its keys. Emulated where there is no KVM. Needs root.
 */
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { Vm } from '../../src/disk/vm/machine.ts';
import { run } from '../../src/proc/run.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { agentImage } from '../support/agent-image.ts';
import { buildDeclared, type BuiltImage, TEST_FOLDER } from '../support/built-image.ts';
import { ingotJson, PRODUCT_ROOT } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';
import { BOOT_MS, VmNode } from '../support/vm-node.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBSD02M90xM9yIOsq+yPaKJE9gHQPyHaIRiCqFm1rS7';
const KEYS = '/etc/ssh/authorized_keys.d';
const DISK_BYTES = 4 * 1024 ** 3;
const LIMIT = { timeout: 4 * BOOT_MS };

let image: BuiltImage;
let toolsRoot: ToolsRoot;
let scratch: string;

beforeAll(async () => {
  image = await agentImage();
  ({ toolsRoot } = await testTools(image));
  scratch = await mkdtemp(join(TEST_FOLDER, 'installer-vm-'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

async function makeInstaller(from: BuiltImage, name: string): Promise<string> {
  const seed = join(scratch, 'provision.yaml');
  await writeFile(
    seed,
    `instance: from-installer\nhostname: installed\nusers: [{ name: root, sshKeys: ['${KEY} installer'] }]\n`,
  );
  const iso = join(scratch, `${name}.iso`);
  const args = ['disk', from.ref, '--output', iso, '--format', 'iso', '--install-to', 'only'];
  const { usb } = await ingotJson(['--store', from.store, ...args, '--provision', seed]);
  expect(usb).toBe(from !== image);
  return iso;
}

/** One with drivers for more than what clouds have: `images/debian-metal.yaml` with a lock of the tests' own. */
async function metalImage(): Promise<BuiltImage> {
  const small = await readFile(join(PRODUCT_ROOT, 'images/debian-minimal.yaml'), 'utf8');
  const text = `${small.replace(/^kernel: cloud$/m, 'kernel: generic')}\nagent: true\n`;
  expect(text).toContain('kernel: generic');
  return buildDeclared('metal-image', text);
}

async function makeEmptyDisk(name: string): Promise<string> {
  const disk = join(scratch, name);
  const handle = await open(disk, 'w');
  await handle.truncate(DISK_BYTES);
  await handle.close();
  return disk;
}

/** What a cloud gives its machines. */
async function makeCidata(): Promise<string> {
  const folder = join(scratch, 'cidata');
  await mkdir(folder);
  await writeFile(join(folder, 'meta-data'), 'instance-id: from-cloud\n');
  await writeFile(
    join(folder, 'user-data'),
    `#cloud-config\nhostname: cloudy\nusers: [{ name: ops, ssh_authorized_keys: ['${KEY} cloud'] }]\n`,
  );
  await writeFile(
    join(folder, 'network-config'),
    'version: 2\nethernets:\n  lan: { match: { name: "en*" }, dhcp4: true, mtu: 1400 }\n',
  );
  const volume = join(scratch, 'cidata.iso');
  await run(['xorriso', '-no_rc', '-as', 'mkisofs', '-quiet', '-R', '-V', 'cidata', '-o', volume, folder]);
  return volume;
}

test('a machine is installed from a stick, and provisioned once', { timeout: 8 * BOOT_MS }, async () => {
  const iso = await makeInstaller(image, 'stick');
  const disk = await makeEmptyDisk('empty.raw');
  const machine = join(scratch, 'machine');
  await mkdir(machine);
  const options = { disk, toolsRoot, scratch: machine, state: 'keep', secureBoot: true } as const;
  const medium = { path: iso, format: 'raw', serial: 'medium' } as const;

  {
    const consoleFile = join(scratch, 'install.log');
    await using vm = await Vm.start({ ...options, extraDisks: [medium], consoleFile });
    const node = new VmNode(vm);
    // The installer runs nothing of ours: what answers first is the system on the disk.
    await node.settle();
    expect(vm.restarts).toBe(1);
    expect(vm.console.find(/is installed to \/dev\/vda \(4\.0 GiB\); restarting/)).toBeDefined();
    expect(vm.console.find(/interrupted/)).toBeUndefined();
    expect(await node.sh('od -An -t u1 -j 4 /sys/firmware/efi/efivars/SecureBoot-*')).toBe('1');
    expect(await node.sh('hostname')).toBe('installed');
    expect(await node.sh(`cat ${KEYS}/root`)).toBe(`${KEY} installer`);
    expect(await node.sh('systemctl list-units --failed --plain --no-legend')).toBe('');
    // The root takes what the disk has beyond /boot.
    expect(
      Number(await node.sh('stat -f -c "%b %S" /sysroot | { read b s; echo $((b * s)); }')),
    ).toBeGreaterThan(0.85 * (DISK_BYTES - 600 * 1024 ** 2));
    await vm.powerOff({ timeoutMs: BOOT_MS });
  }

  const consoleFile = join(scratch, 'second.log');
  const cidata = { path: await makeCidata(), format: 'raw', serial: 'cidata' } as const;
  await using vm = await Vm.start({ ...options, extraDisks: [cidata], consoleFile });
  const node = new VmNode(vm);
  await node.settle();
  // Another instance: it is applied, and what was made of the one before is gone.
  expect(await node.sh('hostname')).toBe('cloudy');
  expect(await node.sh(`ls ${KEYS}`)).toBe('ops');
  expect(await node.sh('cat /sys/class/net/en*/mtu')).toBe('1400');
  expect(await node.sh('stat -c %a:%U /home/ops/')).toBe('700:ops');
  // The same once more is not.
  await node.sh('echo mine > /etc/hostname; systemctl restart ingot-provision.service');
  expect(await node.sh('cat /etc/hostname')).toBe('mine');
  expect(await node.sh('journalctl -b -u ingot-provision -o cat --no-pager')).toContain(
    'from-cloud was applied before',
  );
  expect(await node.sh('grep -c \'"provisioned"\' /var/lib/ingot/journal.jsonl')).toBe('2');
  await vm.powerOff({ timeoutMs: BOOT_MS });
});

test.for(['sata-cd', 'usb-cd'] as const)('a machine is installed from a %s', LIMIT, async (drive) => {
  const from = drive === 'usb-cd' ? await metalImage() : image;
  const medium = { path: await makeInstaller(from, drive), format: 'raw', serial: 'medium', drive } as const;
  const disk = await makeEmptyDisk(`${drive}.raw`);
  const machine = join(scratch, drive);
  await mkdir(machine);
  const consoleFile = join(scratch, `${drive}.log`);
  const options = { disk, toolsRoot, scratch: machine, secureBoot: true } as const;
  await using vm = await Vm.start({ ...options, extraDisks: [medium], consoleFile });
  const node = new VmNode(vm);
  await node.settle();
  expect(vm.console.find(/is installed to \/dev\/vda \(4\.0 GiB\); restarting/)).toBeDefined();
  expect(await node.sh('hostname')).toBe('installed');
  // A drive, and nothing that could be taken for a second disk.
  expect(await node.sh('lsblk --nodeps --noheadings --output NAME,TYPE | sort')).toMatch(
    /^sr0 +rom\nvda +disk$/,
  );
});
