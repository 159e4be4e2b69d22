/** Soft reboots on a node that is real but for its kernel and init: what they are made of. Needs root. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';
import { BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { testTools } from '../support/derived-image.ts';
import { addNextImage, type NextImage } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';

let base: BuiltImage;
let scratch: string;
let layout: string;
let node: BootedNode;
let initial: string;
let machines = 0;

beforeAll(async () => {
  base = await builtImage();
  scratch = await mkdtemp(join(TEST_FOLDER, 'soft-reboot-'));
  layout = join(scratch, 'layout');
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  initial = `oci:${layout}:${base.version}`;
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

beforeEach(async () => {
  machines += 1;
  const folder = join(scratch, `machine-${machines}`);
  await mkdir(folder);
  const { toolsRoot } = await testTools(base);
  node = await BootedNode.install(initial, folder, scratch, toolsRoot);
});

/** systemd as far as it is asked: what it would go over to is written down. @param refusing restarts of this kind */
async function systemctl(refusing: 'soft-reboot' | 'any' | 'none' = 'none'): Promise<readonly string[]> {
  const path = join(scratch, 'systemctl');
  await writeFile(
    path,
    `#!/bin/sh
case $1 in
--version) echo 'systemd 257 (257.9-1~deb13u1)' ;;
reboot | soft-reboot)
  echo "$*" >>/run/asked
  [ "${refusing}" = any ] || [ "$2" != --dry-run ] || exit 0
  [ "$1" = ${refusing} ] || [ ${refusing} = any ] && { echo 'Operation inhibited by "a job"' >&2; exit 1; }
  if [ -d /run/nextroot ]; then
    findmnt --raw --noheadings --submounts --output TARGET,VFS-OPTIONS /run/nextroot >/run/mounts
    cat /run/nextroot/usr/share/next /run/nextroot/etc/local >/run/files
    touch /run/nextroot/etc/written || exit 9
    touch /run/nextroot/usr/written 2>/dev/null && exit 9
    touch /run/nextroot/sysroot/written 2>/dev/null && exit 9
  fi ;;
esac
exit 0
`,
  );
  await chmod(path, 0o755);
  return ['--ro-bind', path, '/usr/bin/systemctl'];
}

function asked(words: string): string {
  return `${words} --check-inhibitors=yes\n`;
}

async function offer(name: string, tree: Readonly<Record<string, string>>): Promise<NextImage> {
  return addNextImage(layout, base.version, scratch, {
    name,
    fill: (folder) => writeTree(folder, { 'usr/share/next': name, ...tree }),
  });
}

async function status(): Promise<Record<string, Record<string, unknown>>> {
  return (await node.ingotJson(['node', 'status'])) as Record<string, Record<string, unknown>>;
}

const runFile = (name: string): Promise<string> => readFile(node.path(`/run/${name}`), 'utf8');

test('a node whose kernel stays goes over to the new root, and ostree takes it for the running one', async () => {
  const next = await offer('20991231.1', { 'etc/of-image': 'next\n' });
  await writeFile(node.path('/etc/local'), 'mine\n');
  const reference = `oci:${GIVEN}/layout:${next.name}`;
  const binds = await systemctl();

  const staged = await node.ingotJson(['node', 'switch', reference], binds);
  expect(staged).toMatchObject({ done: 'staged', restart: { kind: 'soft', reasons: [] }, restarting: false });
  const done = await node.ingotJson(['node', 'upgrade', '--apply', '--soft-reboot', 'required'], binds);
  expect(done).toMatchObject({ state: 'staged', restart: { kind: 'soft' }, restarting: true });

  expect(await runFile('asked')).toBe(`${asked('reboot --dry-run')}${asked('soft-reboot')}`);
  expect(await runFile('ingot/on-trial')).toBe('');
  const mounts = (await runFile('mounts'))
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const isReadOnly = new Map(mounts.map(([target, options]) => [target, options?.split(',')[0]]));
  expect([...isReadOnly].sort()).toEqual([
    ['/run/nextroot', 'rw'],
    ['/run/nextroot/etc', 'rw'],
    ['/run/nextroot/sysroot', 'ro'],
    ['/run/nextroot/usr', 'ro'],
  ]);
  expect(await runFile('files')).toBe('20991231.1mine\n');

  // In the new root, with the command line of the kernel still that of the old one.
  await node.goOver();
  expect(await readFile(node.path('/etc/of-image'), 'utf8')).toBe('next\n');
  expect(await status()).toMatchObject({
    booted: { version: next.name },
    rollback: { version: base.version },
    restart: { kind: 'soft' },
  });
  // Nothing is left to be done when it goes down next, and that starts the same.
  await node.reboot();
  expect(await status()).toMatchObject({ booted: { version: next.name } });
  expect((await node.exec(['ostree', 'fsck', '--quiet'])).exitCode).toBe(0);
  await node.ingotJson(['node', 'rollback']);
  await node.reboot();
  expect(await status()).toMatchObject({ booted: { version: base.version } });
});

test('another initramfs or another argument takes a full restart, and it is said why', async () => {
  const { stdout } = await node.exec(['ls', '/usr/lib/modules']);
  const initramfs = await offer('20991231.2', {
    [`usr/lib/modules/${stdout.trim()}/initramfs.img`]: 'another',
    'usr/lib/bootc/kargs.d/90-next.toml': 'kargs = ["next=yes"]\n',
  });
  const binds = await systemctl();
  const reference = `oci:${GIVEN}/layout:${initramfs.name}`;
  const refused = await node.ingot(
    ['node', 'switch', reference, '--apply', '--soft-reboot', 'required'],
    binds,
  );
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toMatch(
    /error\[RESTART_NEEDED\]: only a full restart does: kernel arguments change\n/,
  );
  expect(await status()).toMatchObject({ staged: { version: initramfs.name } });
  const done = await node.ingotJson(['node', 'upgrade', '--apply'], binds);
  expect(done).toMatchObject({ restart: { kind: 'full' }, restarting: true });
  expect(await runFile('asked')).toBe(`${asked('reboot --dry-run')}${asked('reboot')}`);
});

test('a restart that something holds up leaves the running system as it is, and its update staged', async () => {
  const next = await offer('20991231.3', {});
  const before = await readFile(node.path('/run/ostree-booted'));
  await mkdir(node.path('/run/ingot'), { recursive: true });
  await writeFile(node.path('/run/ingot/blessed'), 'an id\n');
  const reference = `oci:${GIVEN}/layout:${next.name}`;
  const held = await node.ingot(['node', 'switch', reference, '--apply'], await systemctl('any'));
  expect(held.exitCode).toBe(1);
  expect(held.stderr).toMatch(/error\[NODE_FAILED\].*systemctl/);
  expect(held.stderr).toMatch(/Operation inhibited by "a job"/);
  expect(await runFile('asked')).toBe(asked('reboot --dry-run'));
  expect(await status()).toMatchObject({
    booted: { version: base.version },
    staged: { version: next.name },
    updates: [{ outcome: 'staged' }],
  });

  // systemd finds fault later, when the deployment is final: where a full restart may be, it comes.
  const binds = await systemctl('soft-reboot');
  const required = await node.ingot(['node', 'upgrade', '--apply', '--soft-reboot', 'required'], binds);
  expect(required.stderr).toMatch(/error\[NODE_FAILED\].*systemctl/);
  expect(await readFile(node.path('/run/ostree-booted'))).toEqual(before);
  expect(await runFile('ingot/blessed')).toBe('an id\n');
  await expect(runFile('ingot/on-trial')).rejects.toThrow(/ENOENT/);
  expect(await status()).toMatchObject({
    booted: { version: base.version },
    pending: { version: next.name },
    updates: [{ outcome: 'staged', reason: expect.stringMatching(/^not restarted: /) as string }],
  });
  await rm(node.path('/run/asked'));
  const done = await node.ingotJson(['node', 'switch', reference, '--apply'], binds);
  expect(done).toMatchObject({ restart: { kind: 'full' }, restarting: true });
  expect(await runFile('asked')).toBe(
    ['reboot --dry-run', 'soft-reboot', 'reboot'].map((words) => asked(words)).join(''),
  );
});

test('--soft-reboot without --apply is a mistake', async () => {
  const { exitCode, stderr } = await node.ingot(['node', 'upgrade', '--soft-reboot', 'never']);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/error\[USAGE\]: --soft-reboot belongs to --apply/);
});
