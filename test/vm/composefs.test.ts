/**
 * Debian whose ostree makes a composefs of each deployment: the installed system starts from one, goes over to an
 * update whose composefs was made on the node by restarting user space alone, and goes back in full. Emulated where there is no KVM. Needs root.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { askNode, judgeNode } from '../../src/disk/node-report.ts';
import { buildDeclared, TEST_FOLDER } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { BOOT_MS, GUEST_HOST, VmImages, type VmNode, WELL } from '../support/vm-node.ts';

const DECLARATION = `
name: sid-agent
base: debian@sid
kernel: cloud
agent: true
addons: [ssh]
`;

let scratch: string;
let registry: TestRegistry;
let images: VmImages;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-composefs-'));
  images = await VmImages.open(scratch, await buildDeclared('sid-agent', DECLARATION));
  registry = await startRegistry({ folder: scratch });
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

async function expectComposefs(node: VmNode, version: string): Promise<void> {
  const report = await askNode(node.vm, BOOT_MS);
  expect(report).toMatchObject({ isComposefs: true, deployment: { booted: true, version } });
  expect(judgeNode(report)).toEqual([]);
  expect(await node.sh('findmnt --noheadings --output SOURCE,FSTYPE --target /')).toMatch(
    /^composefs\s+overlay$/,
  );
}

test('a node whose root is a composefs is updated, and goes back', { timeout: 5 * BOOT_MS }, async () => {
  await images.add('20991231.1', WELL);
  const next = await images.add('20991231.2', {
    ...WELL,
    'etc/from-image': 'next\n',
    'usr/share/next': 'next',
  });
  await using node = await images.start(await images.install('20991231.1'));
  await node.settle();
  await expectComposefs(node, '20991231.1');
  await node.sh('echo mine >/etc/local; echo kept >/var/lib/kept');

  const { host } = registry;
  await ingotJson(['push', `oci:${images.layout}:${next.name}`, `${host}/node:2`, '--insecure', host]);
  const guest = `${GUEST_HOST}:${host.split(':')[1] ?? ''}`;
  await node.ingotJson('node usr-overlay');
  await node.sh('echo mine >/usr/share/mine');
  expect(await node.status()).toMatchObject({ booted: { unlocked: true } });
  const staged = await node.ingotJson(`node switch ${guest}/node:2 --insecure ${guest}`);
  expect(staged).toMatchObject({ restart: { kind: 'soft' } });
  const before = node.vm.bootId;
  // The connection may end before the command does.
  const applied = await node
    .ingot(`node upgrade --apply --soft-reboot required --insecure ${guest}`)
    .catch(() => undefined);
  expect(applied?.stderr ?? '').not.toContain('error');
  await node.settle(before);
  expect(node.vm.restarts).toBe(0);
  await expectComposefs(node, next.name);
  expect(await node.sh('test ! -e /usr/share/mine && echo gone')).toBe('gone');
  const updated = await node.status();
  expect(updated).toMatchObject({ booted: { version: next.name, unlocked: false }, boot: { blessed: true } });
  expect(await node.sh('cat /etc/local /etc/from-image /usr/share/next /var/lib/kept')).toBe(
    'mine\nnext\nnextkept',
  );

  await node.ingotJson('node rollback');
  expect(await node.restart()).toBe(1);
  await expectComposefs(node, '20991231.1');
  expect(
    await node.sh('ostree fsck --quiet >/dev/null; test ! -e /etc/from-image && cat /var/lib/kept'),
  ).toBe('kept');
  await node.vm.powerOff({ timeoutMs: 180_000 });
});
