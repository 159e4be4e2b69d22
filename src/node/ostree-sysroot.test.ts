import { expect, test } from 'vitest';

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

test('asks once until a command has run that may change the answer', async () => {
  const ostree = new PlayedOstree();
  const sysroot = new OstreeSysroot(ostree);
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

test('asks anew for places, and remembers that answer', async () => {
  const ostree = new PlayedOstree();
  const sysroot = new OstreeSysroot(ostree);
  await sysroot.deployments();
  ostree.commit = B;
  expect(await sysroot.deploymentsNow()).toMatchObject([{ checksum: B }]);
  expect(await sysroot.deployments()).toMatchObject([{ checksum: B }]);
  expect(ostree.ran).toHaveLength(2);
});

test('a failure is not remembered, and may have changed something', async () => {
  const ostree = new PlayedOstree();
  const sysroot = new OstreeSysroot(ostree);
  ostree.commit = undefined;
  await expect(sysroot.deployments()).rejects.toThrow('no answer');
  ostree.commit = A;
  await sysroot.deployments();
  ostree.commit = undefined;
  await expect(sysroot.run(['ostree', 'admin', 'deploy', 'image'])).rejects.toThrow('no answer');
  ostree.commit = B;
  expect(await sysroot.deployments()).toMatchObject([{ checksum: B }]);
});
