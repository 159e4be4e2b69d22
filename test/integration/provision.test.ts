/** `ingot node provision` on a node that is real but for its kernel and init. Needs root. */
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { parseJournal } from '../../src/node/journal.ts';
import { BootedNode, GIVEN } from '../support/booted-node.ts';
import { builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { ingot, type CliResult } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBSD02M90xM9yIOsq+yPaKJE9gHQPyHaIRiCqFm1rS7';
const SEED = '/var/lib/ingot/provision/seed';
const APPLIED = '/var/lib/ingot/provision/applied.json';

let scratch: string;
let node: BootedNode;

beforeAll(async () => {
  const base = await builtImage();
  const { toolsRoot } = await testTools(base);
  scratch = await mkdtemp(join(TEST_FOLDER, 'provision-'));
  const folder = join(scratch, 'machine');
  await mkdir(folder);
  node = await BootedNode.install(base.ref, folder, scratch, toolsRoot);
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

const provision = (...args: string[]): Promise<CliResult> => node.ingot(['node', 'provision', ...args]);
const read = (path: string): Promise<string> => readFile(node.path(path), 'utf8');

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(node.path(path)), { recursive: true });
  await writeFile(node.path(path), text);
}

async function stateOf(path: string): Promise<string> {
  const { mode, uid, gid } = await lstat(node.path(path));
  return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
}

async function provisioned(): Promise<(string | undefined)[]> {
  const { entries } = parseJournal(await read('/var/lib/ingot/journal.jsonl'));
  return entries.filter(({ event }) => event === 'provisioned').map(({ reason }) => reason);
}

test('a machine that was given nothing stays as it is', async () => {
  expect(await provision()).toMatchObject({ exitCode: 0, stdout: 'no provisioning data is here' });
});

test('what came with the disk is applied once, and is gone then', async () => {
  await put(
    SEED,
    `instance: first
hostname: node3
users:
  - { name: root, sshKeys: ['${KEY} admin'] }
  - { name: ops, groups: [users], sshKeys: ['${KEY} ops'] }
network: { ethernets: { lan: { match: { name: 'en*' }, dhcp4: true } } }
files:
  - { path: /etc/deep/secret, content: s3cret, mode: '0600', user: ops, group: ops }
`,
  );
  const { exitCode, stdout, stderr } = await provision();
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  expect(stdout).toBe(
    'first is applied from the disk: host name node3, 2 users with 2 keys, 1 network, 1 file',
  );
  expect(`${stdout}${stderr}`).not.toContain('s3cret');
  expect(await read('/etc/hostname')).toBe('node3\n');
  expect(await read('/etc/ssh/authorized_keys.d/root')).toBe(`${KEY} admin\n`);
  expect(await stateOf('/etc/ssh/authorized_keys.d/ops')).toBe('644 0:0');
  expect(await read('/etc/systemd/network/10-provision-lan.network')).toContain('DHCP=ipv4');
  const uid = /^ops:x:(\d+):\d+::\/home\/ops:\/bin\/bash$/m.exec(await read('/etc/passwd'))?.[1];
  expect(Number(uid)).toBeGreaterThanOrEqual(1000);
  expect(await read('/etc/shadow')).toMatch(/^ops:!\*:/m);
  expect(await read('/etc/group')).toMatch(/^users:x:100:ops$/m);
  expect(await stateOf('/etc/deep/secret')).toBe(`600 ${uid ?? ''}:${uid ?? ''}`);
  expect(await stateOf('/var/home/ops')).toBe(`700 ${uid ?? ''}:${uid ?? ''}`);
  await expect(lstat(node.path(SEED))).rejects.toThrow(/ENOENT/);
  expect(await provisioned()).toEqual([
    'host name node3, 2 users with 2 keys, 1 network, 1 file from the disk',
  ]);
  expect(await node.ingotJson(['node', 'history'])).toMatchObject({ updates: [] });
  expect(await provision()).toMatchObject({ exitCode: 0, stdout: 'no provisioning data is here' });
});

test('the same instance is not applied again, and another takes away what was made for it', async () => {
  const folder = '/var/lib/cloud/seed/nocloud';
  await put(`${folder}/user-data`, `#cloud-config\nssh_authorized_keys: ['${KEY} second']\npackages: [x]\n`);
  await put(`${folder}/meta-data`, 'instance-id: second\nlocal-hostname: node4\n');
  const first = await provision();
  expect(first).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('second is applied') as string,
  });
  expect(first.stderr).toContain('/var/lib/cloud/seed/nocloud/user-data:3: "packages" is ignored');
  expect(await read('/etc/hostname')).toBe('node4\n');
  expect(await read('/etc/ssh/authorized_keys.d/root')).toBe(`${KEY} second\n`);
  // What Ingot made of the first instance is gone, and what it was asked to write stays.
  expect(await readdir(node.path('/etc/ssh/authorized_keys.d'))).toEqual(['root']);
  await expect(lstat(node.path('/etc/systemd/network/10-provision-lan.network'))).rejects.toThrow(/ENOENT/);
  expect(await read('/etc/deep/secret')).toBe('s3cret');

  await put('/etc/hostname', 'mine\n');
  await put(`${folder}/user-data`, '#cloud-config\nhostname: other\n');
  expect(await provision()).toMatchObject({ exitCode: 0, stdout: 'second was applied before' });
  expect(await read('/etc/hostname')).toBe('mine\n');
  await rm(node.path(folder), { recursive: true });
});

test('a credential of the virtual machine is read', async () => {
  await mkdir(join(scratch, 'credentials'));
  await writeFile(join(scratch, 'credentials/ingot.provision'), 'instance: third\nhostname: node5\n');
  const told = (...args: string[]): Promise<CliResult> => {
    const argv = node.ingotArgv(['node', 'provision', ...args]);
    return node.exec(['env', `CREDENTIALS_DIRECTORY=${GIVEN}/credentials`, ...argv]);
  };
  expect(await told('--check')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/ok, host name node5 for third/) as string,
  });
  expect(await read('/etc/hostname')).toBe('mine\n');
  expect((await told()).exitCode).toBe(0);
  expect(await read('/etc/hostname')).toBe('node5\n');
});

test('power lost in the middle: all of it is applied again', async () => {
  const seed = `instance: fourth
hostname: node6
users: [{ name: late, sshKeys: ['${KEY}'] }]
files: [{ path: /var/lib/app/config, content: whole }]
`;
  await put(SEED, seed);
  // The machine dies while accounts are made: after the first files, before the others.
  const killer = join(scratch, 'killer');
  await writeFile(killer, '#!/bin/sh\nkill -9 $PPID\n');
  await chmod(killer, 0o755);
  const cut = await node.ingot(['node', 'provision'], ['--ro-bind', killer, '/usr/bin/systemd-sysusers']);
  expect(cut.exitCode).not.toBe(0);
  expect(await read('/etc/sysusers.d/ingot-provision.conf')).toContain('u late ');
  await expect(lstat(node.path('/var/lib/app/config'))).rejects.toThrow(/ENOENT/);
  expect(JSON.parse(await read(APPLIED))).toMatchObject({ instance: 'third' });
  expect(await read(SEED)).toBe(seed);

  await node.powerCycle();
  expect(await provision()).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(await read(APPLIED))).toMatchObject({ instance: 'fourth' });
  expect(await read('/var/lib/app/config')).toBe('whole');
  expect(await read('/etc/passwd')).toMatch(/^late:x:/m);
  expect(await read('/etc/hostname')).toBe('node6\n');
});

test('links are not followed, and nothing is written when something is wrong', async () => {
  await symlink('/var/lib/target', node.path('/etc/linked'));
  await put(
    SEED,
    `instance: fifth
hostname: never
files:
  - { path: /etc/linked/file, content: x }
  - { path: /var/home/late/file, content: x, user: nobody-here }
`,
  );
  const { exitCode, stderr } = await provision();
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(
    /error\[PROVISION_INVALID\]: \/etc\/linked\/file is not written: linked on the way is a link/,
  );
  expect(stderr).toMatch(/there is no user nobody-here/);
  expect(await read('/etc/hostname')).toBe('node6\n');
  await expect(lstat(node.path('/var/lib/target'))).rejects.toThrow(/ENOENT/);
  expect(JSON.parse(await read(APPLIED))).toMatchObject({ instance: 'fourth' });
});

test('mistakes are shown with their places', async () => {
  await put(SEED, 'hostname: A_B\nusers: [{ name: root, sshKeys: [s3cret] }]\n');
  const { exitCode, stderr } = await provision();
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/--> provision:1:11/);
  expect(stderr).toMatch(/--> provision:2:33/);
  expect(stderr.match(/error\[PROVISION_INVALID\]/g)).toHaveLength(2);
  await rm(node.path(SEED));
});

test('a machine that is no node is left alone', async () => {
  const file = join(scratch, 'provision.yaml');
  await writeFile(file, 'hostname: never\n');
  const { exitCode, stderr } = await ingot(['node', 'provision', '--from', file]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/error\[NODE_UNSUITED\]/);
});
