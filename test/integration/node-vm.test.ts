/**
 * A node, updated: it takes a good image and keeps what is its own, goes back by itself from two that are not, refuses
 * what nobody signed, and goes on with a pull that was cut. One machine, emulated where there is no KVM. Needs root.
 */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { askNode, judgeNode } from '../../src/disk/node-report.ts';
import { builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { findPartitions } from '../support/crash/judge-disk.ts';
import { damageSuperblocks } from '../support/crash/mend.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { runInProcess } from '../support/in-process.ts';
import { readRepository } from '../support/read-repository.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { BOOT_MS, check, GUEST_HOST, VmImages, WELL } from '../support/vm-node.ts';

const env = { COSIGN_PASSWORD: 'correct horse' };
const TEST_MS = 8 * BOOT_MS;
/** A layer that takes a while, and is cut once. */
const LARGE = 12 * 1024 * 1024;
const CUT_AFTER = 5 * 1024 * 1024;

let scratch: string;
let registry: TestRegistry;
let proxy: FaultProxy;
let images: VmImages;
/** As the guest names it. */
let repository: string;
let cuts = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(TEST_FOLDER, 'node-vm-'));
  images = await VmImages.open(scratch);
  registry = await startRegistry({ folder: scratch });
  proxy = await startFaultProxy(registry.host, ({ url }) =>
    url.endsWith(large) && cuts++ === 0 ? { cutAnswerAfter: CUT_AFTER } : undefined,
  );
  repository = `${GUEST_HOST}:${proxy.host.split(':')[1] ?? ''}/node`;
  for (const name of ['node', 'stranger'])
    await runInProcess(scratch, ['key', 'new', name], { env, onStderr: () => undefined });
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

let large = 'none';

/** @param source the layout that has it */
async function push(name: string, key: string | undefined, source = images.layout): Promise<void> {
  const signed = key === undefined ? [] : ['--key', join(scratch, `${key}.key`), '--no-provenance'];
  const args = ['push', `oci:${source}:${name}`, `${registry.host}/node:${name}`, ...signed];
  await ingotJson([...args, '--insecure', registry.host], { env });
}

test('an update becomes good, or the node goes back by itself', { timeout: TEST_MS }, async () => {
  const trust = {
    default: 'reject',
    repositories: { [repository]: { keys: ['node.pub'], signedAs: `${registry.host}/node` } },
  };
  await images.add('20991231.1', {
    ...WELL,
    'usr/lib/ingot/update.json': JSON.stringify({ source: `${repository}:20991231.2`, tries: 1 }),
    'usr/lib/ingot/trust/trust.yaml': JSON.stringify(trust),
    'usr/lib/ingot/trust/node.pub': await readFile(join(scratch, 'node.pub'), 'utf8'),
    'etc/motd': 'first\n',
  });
  const failing = await images.add('20991231.2', {
    'usr/lib/ingot/health.json': JSON.stringify([check('never-well', 'echo I am not well; exit 3')]),
  });
  const headless = await images.add('20991231.3', {
    ...WELL,
    'usr/sbin/.wh.init': '',
    'usr/lib/systemd/.wh.systemd': '',
    // What the initramfs would try in its place.
    ...Object.fromEntries(['sh', 'dash', 'bash'].map((shell) => [`usr/bin/.wh.${shell}`, ''])),
  });
  const good = await images.add('20991231.4', {
    ...WELL,
    'etc/from-image': 'fourth\n',
    'etc/motd': 'fourth\n',
    'usr/share/large': randomBytes(LARGE / 2).toString('hex'),
  });
  large = good.layer.digest;
  for (const { name } of [failing, headless, good]) await push(name, 'node');
  await images.add('20991231.5', { ...WELL, 'usr/share/unsigned': '' });
  await push('20991231.5', undefined);
  await images.add('20991231.6', { ...WELL, 'usr/share/signed-by-another': '' });
  await push('20991231.6', 'stranger');
  const bare = await builtImage();
  await push(bare.version, 'node', bare.layout);

  const disk = await images.install('20991231.1');
  // As a power loss may leave them.
  await damageSuperblocks(disk, await findPartitions(disk, images.toolsRoot));
  const installed = await stat(disk);
  await using node = await images.start(disk);
  const insecure = `--insecure ${repository.split('/')[0] ?? ''}`;
  const follow = (name: string, more = ''): string => `node switch ${repository}:${name} ${insecure} ${more}`;
  await node.settle();
  const first = await node.status();
  expect(first).toMatchObject({
    booted: { version: '20991231.1' },
    boot: { blessed: true, good: first.boot.id },
    gate: { healthy: true },
  });
  expect(await node.sh('journalctl -b -o json GATE_HEALTHY=1 GATE_CHECK=well')).toMatch(
    /"GATE_DEPLOYMENT":"[0-9a-f]{64}\.0"/,
  );
  const mended = await node.sh(
    'journalctl -b -o cat -t mend-superblock | grep "mended from its copy" | sort',
  );
  expect(mended).toMatch(/^.*\/dev\/vda2 is damaged.*\n.*\/dev\/vda3 is damaged.*$/);
  await node.sh('echo mine >/etc/local; echo mine >/etc/motd; echo kept >/var/lib/kept');

  // Nobody signed it, or somebody else.
  for (const name of ['20991231.5', '20991231.6']) {
    const refused = await node.ingot(follow(name));
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/error\[UPDATE_REFUSED\]/);
  }
  // Nothing on it could tell GRUB that it is good.
  const mute = await node.ingot(follow(bare.version, '--allow-downgrade'));
  expect(mute.exitCode).toBe(1);
  expect(mute.stderr).toMatch(/error\[UPDATE_REFUSED\]: the image is without Ingot’s agent/);

  // For debugging: until the next restart, also of an update that comes back.
  const readOnly = await node.sh('touch /usr/share/mine 2>&1 || true');
  expect(readOnly).toContain('Read-only file system');
  await node.ingotJson('node usr-overlay');
  await node.sh('echo mine >/usr/share/mine');

  // Its checks fail: as many starts as it has tries, and then what was there before.
  await node.ingotJson(follow(failing.name));
  expect(await node.restart()).toBe(2);
  const back = await node.status();
  expect(back).toMatchObject({
    booted: { version: '20991231.1', unlocked: false },
    boot: { id: first.boot.id, blessed: true, good: first.boot.id },
  });
  expect(await node.sh('test ! -e /usr/share/mine && echo gone')).toBe('gone');
  expect(back.updates[0]).toMatchObject({
    version: failing.name,
    digest: failing.digest,
    outcome: 'settled',
    reason: 'its checks did not pass: never-well',
  });
  expect(back.rollback).toBeUndefined();
  const again = await node.ingot(follow(failing.name));
  expect(again.stderr).toMatch(/error\[UPDATE_REFUSED\]: .*was not good/);
  expect(await node.sh('grep -a -c -e try_id -e tries /boot/grub/grubenv || true')).toBe('0');

  // It has no init, so nothing of the image ever runs.
  await node.ingotJson(follow(headless.name));
  expect(await node.restart()).toBe(2);
  const backAgain = await node.status();
  expect(backAgain).toMatchObject({ booted: { version: '20991231.1' }, boot: { blessed: true } });
  expect(backAgain.updates[0]).toMatchObject({ version: headless.name, outcome: 'settled' });
  expect(await node.sh('cat /etc/motd /var/lib/kept')).toBe('mine\nkept');

  // A pull that was cut goes on where it ended; what comes of it is good, and starts past firmware and kernel.
  expect(await node.restartBy(follow(good.name, '--apply --soft-reboot required'))).toBe(0);
  const ranges = proxy.seen
    .filter(({ method, url }) => method === 'GET' && url.endsWith(large))
    .map(({ headers }) => headers.range);
  expect(ranges[0]).toBeUndefined();
  expect(ranges.slice(1).map((range) => Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1]))).toEqual([
    expect.any(Number) as number,
  ]);
  const updated = await node.status();
  expect(updated).toMatchObject({
    booted: { version: good.name },
    rollback: { version: '20991231.1' },
    boot: { blessed: true, good: updated.boot.id },
    restart: { kind: 'soft', seconds: expect.any(Number) as number },
  });
  expect(updated.updates[0]).toMatchObject({ version: good.name, outcome: 'good' });
  expect(updated.boot.id).not.toBe(first.boot.id);
  expect(await node.sh('cat /etc/local /etc/motd /etc/from-image /var/lib/kept')).toBe(
    'mine\nmine\nfourth\nkept',
  );

  // Back by hand: it is on trial like any other, and good again.
  await node.ingotJson('node rollback');
  expect(await node.restart()).toBe(1);
  expect(await node.status()).toMatchObject({
    booted: { version: '20991231.1' },
    rollback: { version: good.name },
    boot: { id: first.boot.id, blessed: true, good: first.boot.id },
  });
  expect(await node.sh('test ! -e /etc/from-image && cat /var/lib/kept')).toBe('kept');

  // As `ingot test` asks, of a system in which a unit has failed.
  await node.vm.exec('systemd-run --unit=doomed --service-type=oneshot sh -c "echo I am doomed; exit 1"', {
    timeoutMs: 60_000,
  });
  const report = await askNode(node.vm, BOOT_MS);
  expect(report.state).toBe('degraded');
  expect(report.failedUnits).toEqual([
    { name: 'doomed.service', journal: expect.stringContaining('I am doomed') as string },
  ]);
  expect(judgeNode(report)).toContain('doomed.service has failed');
  await node.vm.powerOff({ timeoutMs: 180_000 });

  await readRepository(images.machine, disk, images.toolsRoot);
  // All that the machine wrote went to a file of its own.
  const after = await stat(disk);
  expect([after.mtimeMs, after.blocks]).toEqual([installed.mtimeMs, installed.blocks]);
});
