import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { IngotError } from '../errors.ts';
import type { Argv, RunResult } from '../proc/run.ts';
import type { NodeTools } from './host-tools.ts';
import { OstreeSysroot } from './ostree-sysroot.ts';

const [A, B] = ['a'.repeat(64), 'b'.repeat(64)];

/** Runs nothing, and answers as an ostree whose only deployment is `commit`. */
class PlayedOstree implements NodeTools {
  readonly signal = undefined;
  readonly ran: string[] = [];
  commit: string | undefined = A;

  run(argv: Argv): Promise<RunResult> {
    this.ran.push(argv.slice(1).join(' '));
    if (this.commit === undefined) return Promise.reject(new IngotError('NODE_FAILED', 'no answer'));
    const stdout = `* default ${this.commit}.0\n    Version: 1\n    origin refspec: image\n`;
    return Promise.resolve({ exitCode: 0, stdout, stderr: '', output: [], seconds: 0 });
  }
}

let folder: string;
let stagedFile: string;
let ostree: PlayedOstree;
let sysroot: OstreeSysroot;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-sysroot-'));
  stagedFile = join(folder, 'staged-deployment');
  await mkdir(join(folder, 'ostree/deploy'), { recursive: true });
  ostree = new PlayedOstree();
  sysroot = new OstreeSysroot({ tools: ostree, sysroot: folder, stagedFile });
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('asks once until a command has run that may change the answer', async () => {
  const [first] = await Promise.all([sysroot.deployments(), sysroot.deployments()]);
  expect(first).toMatchObject([{ checksum: A, booted: true }]);
  await sysroot.run(['ostree', 'refs']);
  await sysroot.deployments();
  expect(ostree.ran).toEqual(['admin status', 'refs']);
  await sysroot.run(['ostree', 'admin', 'undeploy', '0']);
  ostree.commit = B;
  expect(await sysroot.deployments()).toMatchObject([{ checksum: B }]);
  await sysroot.deployments();
  expect(ostree.ran).toEqual(['admin status', 'refs', 'admin undeploy 0', 'admin status']);
});

test.for([
  ['wrote deployments', () => utimes(join(folder, 'ostree/deploy'), new Date(), new Date(2_000_000_000_000))],
  ['staged one', () => writeFile(stagedFile, '')],
] as const)('asks anew when somebody else %s', async ([, change]) => {
  await sysroot.deployments();
  ostree.commit = B;
  expect(await sysroot.deployments()).toMatchObject([{ checksum: A }]);
  await change();
  expect(await sysroot.deployments()).toMatchObject([{ checksum: B }]);
  expect(ostree.ran).toHaveLength(2);
});

test('asks anew for places, and remembers that answer', async () => {
  await sysroot.deployments();
  ostree.commit = B;
  expect(await sysroot.deploymentsNow()).toMatchObject([{ checksum: B }]);
  expect(await sysroot.deployments()).toMatchObject([{ checksum: B }]);
  expect(ostree.ran).toHaveLength(2);
});

test('a failure is not remembered, and may have changed something', async () => {
  ostree.commit = undefined;
  await expect(sysroot.deployments()).rejects.toThrow('no answer');
  ostree.commit = A;
  await sysroot.deployments();
  ostree.commit = undefined;
  await expect(sysroot.run(['ostree', 'admin', 'deploy', 'image'])).rejects.toThrow('no answer');
  ostree.commit = B;
  expect(await sysroot.deployments()).toMatchObject([{ checksum: B }]);
});
