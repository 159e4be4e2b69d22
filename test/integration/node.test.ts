/** `ingot node` on a node that is real but for its kernel and init. Needs root. */
import { appendFile, chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { acquireFileLock } from '../../src/proc/file-lock.ts';
import { run } from '../../src/proc/run.ts';
import { BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { ingot } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage, moveName, type NextImage, type NextImageOptions } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';

let base: BuiltImage;
let scratch: string;
let layout: string;
let node: BootedNode;
let second: NextImage;
const followed = `oci:${GIVEN}/layout:stable`;

beforeAll(async () => {
  base = await builtImage();
  const { toolsRoot } = await testTools(base);
  scratch = await mkdtemp(join(TEST_FOLDER, 'node-'));
  layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  second = await addNextImage(layout, base.version, scratch, {
    name: '20991231.2',
    fill: (tree) =>
      writeTree(tree, {
        'etc/from-image': 'second\n',
        'etc/motd': 'second\n',
        'usr/share/second': 'yes',
        'usr/lib/bootc/kargs.d/90-second.toml': 'kargs = ["second=yes"]\n',
      }),
  });
  const folder = join(scratch, 'machine');
  await mkdir(folder);
  node = await BootedNode.install(`oci:${layout}:${base.version}`, folder, scratch, toolsRoot);
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

async function status(): Promise<Record<string, Record<string, unknown>>> {
  return (await node.ingotJson(['node', 'status'])) as Record<string, Record<string, unknown>>;
}

test('a node is updated, goes back, and forgets what it does not need', async () => {
  const first = await status();
  expect(first['booted']).toMatchObject({
    digest: base.digest,
    version: base.version,
    architecture: 'amd64',
  });
  expect(first['booted']?.['kernel']).toMatch(/^6\./);
  expect(Object.keys(first)).not.toContain('staged');

  const unknown = await node.ingot(['node', 'upgrade']);
  expect(unknown).toMatchObject({ exitCode: 1 });
  expect(unknown.stderr).toMatch(/error\[NOT_FOUND\]: nothing says where.*\n.*ingot node switch/);

  await writeFile(node.path('/etc/local'), 'mine\n');
  await writeFile(node.path('/etc/motd'), 'mine\n');
  await moveName(layout, 'stable', second.name);

  // Nothing but the layer that is new is pulled.
  const done = await node.ingotJson(['node', 'switch', followed]);
  expect(done).toMatchObject({
    done: 'staged',
    offered: { digest: second.digest, version: second.name },
    pulled: { layers: 1, bytes: second.layer.size },
    trust: { verdict: 'accepted' },
  });
  expect(await status()).toMatchObject({
    follows: followed,
    booted: { version: base.version },
    staged: { version: second.name, digest: second.digest },
  });
  expect((await node.ingotJson(['node', 'upgrade'])) as object).toMatchObject({
    state: 'staged',
    done: 'nothing',
  });

  await node.reboot();
  expect(await status()).toMatchObject({
    booted: { version: second.name, reference: followed },
    rollback: { version: base.version },
  });
  const read = (path: string): Promise<string> => readFile(node.path(path), 'utf8');
  expect(await read('/etc/local')).toBe('mine\n');
  expect(await read('/etc/motd')).toBe('mine\n');
  expect(await read('/etc/from-image')).toBe('second\n');
  expect(await read('/etc/fstab')).toMatch(/^UUID=\S+ \/boot ext4/);
  const entries = await node.exec(['sh', '-c', 'cat /boot/loader/entries/*-2.conf']);
  const options = /^options (.*)$/m.exec(entries.stdout)?.[1];
  expect(options).toMatch(
    /^root=UUID=\S+ rw console=tty0 console=ttyS0,115200 .*systemd.crash_reboot=1 second=yes ingot\.id=[0-9a-f]{12}-\d+ ostree=/,
  );
  expect((await node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);

  expect(await node.ingotJson(['node', 'upgrade'])).toMatchObject({ state: 'current', done: 'nothing' });

  expect((await node.ingotJson(['node', 'rollback'])) as object).toMatchObject({
    next: { version: base.version },
  });
  expect(await status()).toMatchObject({ pending: { version: base.version } });
  await node.reboot();
  expect(await status()).toMatchObject({
    booted: { version: base.version },
    rollback: { version: second.name },
  });
  // What was changed here since then is not in the older system's own /etc.
  await expect(read('/etc/from-image')).rejects.toThrow(/ENOENT/);

  const { updates } = (await node.ingotJson(['node', 'history'])) as { updates: { outcome: string }[] };
  expect(updates.map(({ outcome }) => outcome)).toEqual(['rollback', 'staged']);
});

describe('an update is refused, and nothing changes', () => {
  const refusal = async (args: readonly string[], binds: readonly string[] = []): Promise<string> => {
    const { exitCode, stderr } = await node.ingot(['node', ...args], binds);
    expect(exitCode).toBe(1);
    expect(Object.keys(await status())).not.toContain('staged');
    return stderr;
  };
  const offer = (name: string, options: Partial<NextImageOptions> = {}): Promise<NextImage> =>
    addNextImage(layout, base.version, scratch, {
      name,
      fill: (tree) => writeTree(tree, { 'usr/share/offered': name }),
      ...options,
    });

  test('to what is older, for another machine, or not for its GPU, all said at once', async () => {
    const pci = join(scratch, 'pci');
    await writeTree(join(pci, '0000:01:00.0'), { class: '0x030200', vendor: '0x10de', device: '0x2330' });
    const gpus = JSON.stringify([{ name: 'l40s', pci: ['10de:26b9'] }]);
    await offer('19990101.1', { architecture: 'arm64', annotations: { 'dev.ingot.gpus': gpus } });
    await moveName(layout, 'stable', '19990101.1');
    const said = await refusal(['switch', followed], ['--ro-bind', pci, '/sys/bus/pci/devices']);
    expect(said).toMatch(
      /error\[UPDATE_REFUSED\]: the image is for linux\/arm64.*not for this machine’s GPU 10de:2330/,
    );
  });

  test('to a layer with other content than its digest', async () => {
    const { layer } = await offer('20991231.3');
    const blob = join(layout, 'blobs/sha256', layer.digest.slice(7));
    const bytes = await readFile(blob);
    bytes[700] = (bytes[700] ?? 0) ^ 0xff;
    await rm(blob);
    await writeFile(blob, bytes);
    expect(await refusal(['switch', `oci:${GIVEN}/layout:20991231.3`])).toMatch(/error\[DIGEST_MISMATCH\]/);
    expect(await node.exec(['find', '/sysroot/ostree/ingot', '-name', 'work-*'])).toMatchObject({
      stdout: '',
    });
  });

  test('to what the policy of the running image does not take', async () => {
    const policy = node.path('/usr/lib/ingot/trust');
    await writeTree(policy, { 'trust.yaml': 'default: reject\n' });
    const said = await refusal(['switch', `oci:${GIVEN}/layout:${second.name}`]);
    expect(said).toMatch(
      /error\[UPDATE_REFUSED\]: this node takes no image from oci:.*\n.*trust\.yaml says so/,
    );
    await rm(policy, { recursive: true });
  });

  test('to somebody who is second', async () => {
    await using holder = await acquireFileLock(node.path('/run/ingot/node.lock'));
    expect(await refusal(['switch', `oci:${GIVEN}/layout:${second.name}`])).toMatch(/error\[NODE_BUSY\]/);
    expect(holder.path).toMatch(/node\.lock$/);
  });

  test('to nothing that is there', async () => {
    expect(await refusal(['switch', `oci:${GIVEN}/layout:none`])).toMatch(/error\[NOT_FOUND\]/);
    expect(await refusal(['pin', '7'])).toMatch(/error\[NOT_FOUND\]: there is no deployment "7"/);
    const digest = await node.ingot([
      'node',
      'switch',
      `registry.example.com/ai/node@sha256:${'a'.repeat(64)}`,
    ]);
    expect(digest).toMatchObject({ exitCode: 2 });
  });
});

test('a machine that does not run from an image is told so', async () => {
  for (const command of ['status', 'upgrade', 'rollback', 'check']) {
    const { exitCode, stderr } = await ingot(['node', command]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/error\[NODE_UNSUITED\]: this machine does not run from an image/);
  }
});

test('the gate says what is not well, and status remembers it', async () => {
  const folder = node.path('/etc/greenboot/check');
  for (const [name, code] of [
    ['required.d/10-no.sh', 3],
    ['wanted.d/20-no.sh', 1],
  ] as const) {
    await writeTree(folder, { [name]: `#!/bin/sh\necho not well\nexit ${code}\n` });
    await chmod(join(folder, name), 0o755);
  }
  const checked = await node.ingot(['node', 'check', '--json']);
  expect(checked.exitCode).toBe(1);
  const verdict = JSON.parse(checked.stdout) as { checks: { name: string }[] };
  expect(verdict).toMatchObject({ healthy: false });
  expect(verdict.checks.find(({ name }) => name === '10-no.sh')).toMatchObject({
    exitCode: 3,
    output: 'not well',
  });
  // The image's own are among them.
  expect(verdict.checks.map(({ name }) => name)).toContain('usr-is-read-only');
  expect((await status())['gate']).toMatchObject({ healthy: false });
  await rm(folder, { recursive: true });
});

test('why each update ended is told, whatever happened to the journal', async () => {
  await appendFile(node.path('/var/lib/ingot/journal.jsonl'), '{"at":"2026-');
  const { updates, damaged } = (await node.ingotJson(['node', 'history'])) as {
    updates: { outcome: string; reason?: string }[];
    damaged: number;
  };
  expect(damaged).toBe(1);
  expect(updates.map(({ outcome }) => outcome)).toEqual(
    expect.arrayContaining(['refused', 'failed', 'rollback', 'staged']),
  );
  expect(updates.find(({ outcome }) => outcome === 'refused')?.reason).toMatch(/takes no image/);
});

test('an update is compared, downloaded, staged and given up, and its layers go', async () => {
  await moveName(layout, 'stable', second.name);
  await node.ingotJson(['node', 'switch', followed]);
  await node.ingotJson(['node', 'pin']);
  expect(await status()).toMatchObject({ booted: { pinned: true }, staged: { version: second.name } });
  const third = await addNextImage(layout, base.version, scratch, {
    name: '20991231.4',
    fill: (tree) => writeTree(tree, { 'usr/share/third': 'yes' }),
  });
  await moveName(layout, 'stable', third.name);
  expect(await node.ingot(['node', 'upgrade', '--check', '--exit-code'])).toMatchObject({ exitCode: 1 });
  const offered = await node.ingotJson(['node', 'upgrade', '--check']);
  expect(offered).toMatchObject({
    state: 'available',
    pull: { layers: 1, bytes: third.layer.size, hasRoom: true },
    difference: { files: [{ path: 'usr/share/third' }], pull: { bytes: third.layer.size } },
  });
  expect(await node.ingotJson(['node', 'upgrade', '--download-only'])).toMatchObject({ done: 'downloaded' });
  expect(await status()).toMatchObject({ staged: { version: second.name } });
  expect(await node.ingotJson(['node', 'upgrade'])).toMatchObject({ done: 'staged', pulled: { layers: 0 } });
  expect(await status()).toMatchObject({
    staged: { version: third.name },
    rollback: { version: second.name },
  });
  expect(await node.ingotJson(['node', 'rollback'])).toMatchObject({ next: { version: second.name } });
  expect(Object.keys(await status())).not.toContain('staged');
  const collected = await node.ingotJson(['node', 'gc']);
  expect(collected).toMatchObject({ images: 1, layers: 1 });
  const refs = await node.exec(['ostree', 'refs', '--list', 'ingot/image']);
  expect(refs.stdout.split('\n').sort()).toEqual(
    [base.digest, second.digest].map((one) => `ingot/image/${one.replace(':', '-')}`).sort(),
  );
  expect((await node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);
});
