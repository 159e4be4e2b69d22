/** What package scripts can do while they run, tried out by a program in the real sandbox. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { PACKAGES_INSIDE, runInSandbox } from '../../src/build/sandbox.ts';
import { run, type Argv, type RunResult } from '../../src/proc/run.ts';
import { builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { testTools } from '../support/derived-image.ts';

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);

let root: string;
let folder: string;
let packages: string;
let server: Server;
let port: number;
let connections = 0;

beforeAll(async () => {
  root = (await testTools(await builtImage())).toolsRoot.path;
  folder = await mkdtemp(join(TEST_FOLDER, 'sandbox-'));
  packages = join(folder, 'packages');
  await mkdir(packages);
  await writeFile(join(packages, 'a.deb'), 'a package');
  await writeFile(join(folder, 'secret'), 'of the host');
  server = createServer((socket) => {
    connections += 1;
    socket.end('hello\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  port = typeof address === 'object' && address !== null ? address.port : 0;
});
afterAll(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

const bash = (script: string): Argv => ['/usr/bin/bash', '-c', script];
const outside = (script: string): Promise<RunResult> => run(bash(script), { okExitCodes: ANY_EXIT });
const inside = (script: string): Promise<RunResult> =>
  runInSandbox(bash(script), { root, packages, epoch: 0 }, { okExitCodes: ANY_EXIT });

const MS_REMOUNT = 32;
const MS_BIND = 4096;

/** A tmpfs by mount(2) itself (165 on amd64): the tools have perl, and no mount(8). */
function mount(target: string, flags: number): string {
  const call = `syscall(165, my $a = "none", my $b = "${target}", my $c = "tmpfs", ${flags}, my $d = "")`;
  return `perl -e '${call} == 0 or die "$!\\n"'`;
}

test('there is no network: not even this machine, whose server everybody else reaches', async () => {
  const connect = `exec 3<>/dev/tcp/127.0.0.1/${port} && read -r word <&3 && echo "$word"`;
  expect(await outside(connect)).toMatchObject({ exitCode: 0, stdout: 'hello' });
  expect(connections).toBe(1);

  const { exitCode, stdout, stderr } = await inside(connect);
  expect(stderr).toContain('Connection refused');
  expect({ exitCode, stdout, connections }).toEqual({ exitCode: 1, stdout: '', connections: 1 });

  const { stdout: devices } = await inside('cat /proc/net/dev');
  const names = devices.split('\n').flatMap((line) => /^\s*(\S+):/.exec(line)?.[1] ?? []);
  expect(names).toEqual(['lo']);
  expect((await inside('cat /proc/net/route')).stdout.trim().split('\n')).toHaveLength(1);
});

test('nothing can be mounted, and no namespace entered in which it could', async () => {
  expect(await outside(`unshare --mount ${mount('/tmp', 0)}`)).toMatchObject({ exitCode: 0 });
  for (const script of [
    mount('/tmp', 0),
    `unshare --mount ${mount('/tmp', 0)}`,
    mount(PACKAGES_INSIDE, MS_REMOUNT | MS_BIND),
  ]) {
    const { exitCode, stderr } = await inside(script);
    expect(exitCode, script).not.toBe(0);
    expect(stderr, script).toContain('Operation not permitted');
  }
  const { stdout } = await inside('grep CapEff /proc/self/status');
  const held = BigInt(`0x${stdout.split('\t')[1] ?? ''}`);
  // linux/capability.h: NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, SYS_TIME
  for (const bit of [12n, 13n, 16n, 17n, 19n, 21n, 22n, 25n])
    expect([bit, (held >> bit) & 1n]).toEqual([bit, 0n]);
});

test('the host’s files and processes are not there', async () => {
  const read = `cat '${join(folder, 'secret')}'`;
  expect((await outside(read)).stdout).toBe('of the host');
  expect(await inside(read)).toMatchObject({ exitCode: 1, stdout: '' });
  const { stdout } = await inside('for p in /proc/[0-9]*; do tr "\\0" " " <"$p/cmdline"; echo; done');
  expect(stdout).toContain('/usr/bin/bash');
  expect(stdout).not.toContain('vitest');
});

test('packages can be read, and not changed', async () => {
  expect((await inside(`cat ${PACKAGES_INSIDE}/a.deb`)).stdout).toBe('a package');
  for (const script of [
    `>${PACKAGES_INSIDE}/b.deb`,
    `echo >>${PACKAGES_INSIDE}/a.deb`,
    `rm ${PACKAGES_INSIDE}/a.deb`,
  ]) {
    const { exitCode, stderr } = await inside(script);
    expect(exitCode, script).not.toBe(0);
    expect(stderr, script).toContain('Read-only file system');
  }
  expect(await readdir(packages)).toEqual(['a.deb']);
});
