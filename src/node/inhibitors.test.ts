/** A folder stands for the root; logind of this machine is asked, or there is none. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { findInhibitors, type Inhibitor, parseUnit } from './inhibitors.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-inhibit-'));
  await mkdir(join(root, 'proc'));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

async function file(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

async function process(pid: number, comm: string, cgroup: string, ...open: readonly string[]): Promise<void> {
  await file(`proc/${pid}/comm`, `${comm}\n`);
  await file(`proc/${pid}/cgroup`, `0::${cgroup}\n`);
  await mkdir(join(root, `proc/${pid}/fd`));
  for (const [fd, target] of open.entries()) await symlink(target, join(root, `proc/${pid}/fd/${fd}`));
}

const found = async (): Promise<readonly Inhibitor[]> =>
  (await findInhibitors({ root })).filter(({ kind }) => kind !== 'lock');

test('nothing is in the way on a machine where nothing happens', async () => {
  await file('proc/uptime', '1 1');
  await process(1, 'systemd', '/init.scope', '/dev/null');
  expect(await found()).toEqual([]);
});

describe('a job on a GPU', () => {
  test.each(['/dev/nvidia0', '/dev/nvidia-uvm', '/dev/kfd', '/dev/dri/renderD128'])(
    'that has %s open is waited for',
    async (device) => {
      await process(71, 'python3', '/user.slice/user-1000.slice/session-3.scope', '/dev/null', device);
      expect(await found()).toEqual([
        { kind: 'gpu', who: 'python3 (71)', why: `it uses ${device} in session-3.scope` },
      ]);
    },
  );

  test('is one, however many processes it has', async () => {
    for (const pid of [71, 72, 73])
      await process(pid, 'python3', '/slurmstepd.scope/job_7/step_0', '/dev/nvidia1');
    await process(80, 'train', '/kubepods.slice/kubepods-pod1.slice/cri-containerd-ab.scope', '/dev/nvidia2');
    expect((await found()).map(({ who }) => who)).toEqual(['python3 (71)', 'train (80)']);
  });

  test('is none where the system starts it anew, or it only asks how the GPU is', async () => {
    await process(71, 'llama-server', '/system.slice/llama-server.service', '/dev/nvidia0');
    await process(72, 'vllm', '/system.slice/vllm.service/libpod-payload-1', '/dev/nvidia0');
    await process(
      73,
      'top',
      '/user.slice/user-0.slice/session-1.scope',
      '/dev/nvidiactl',
      '/dev/nvidia-modeset',
    );
    expect(await found()).toEqual([]);
  });
});

test.each([
  ['0::/system.slice/ssh.service\n', 'ssh.service'],
  ['0::/system.slice/docker-ab12.scope\n', 'docker-ab12.scope'],
  ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n', 'run-1.scope'],
  ['0::/user.slice/user-1000.slice/user@1000.service/app.slice/job.service\n', 'a session'],
  ['12:devices:/x\n0::/\n', undefined],
  ['', undefined],
])('%j is of %s', (cgroup, unit) => {
  expect(parseUnit(cgroup)).toBe(unit);
});

test('files hold it up, with the reason that is in them', async () => {
  await file('etc/ingot/inhibit', 'the demo is on Friday\nsecond line\n');
  await file('run/ingot/inhibit.d/b', '');
  await file('run/ingot/inhibit.d/a', 'copying a model');
  expect(await found()).toEqual([
    { kind: 'file', who: '/etc/ingot/inhibit', why: 'the demo is on Friday' },
    { kind: 'file', who: '/run/ingot/inhibit.d/a', why: 'copying a model' },
    { kind: 'file', who: '/run/ingot/inhibit.d/b', why: 'it gives no reason' },
  ]);
});

test('a file that cannot be read holds it up too', async () => {
  await mkdir(join(root, 'etc/ingot/inhibit'), { recursive: true });
  expect(await found()).toEqual([{ kind: 'file', who: '/etc/ingot/inhibit', why: 'it gives no reason' }]);
});
