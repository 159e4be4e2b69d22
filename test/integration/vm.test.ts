/** A real image, booted: emulated where there is no KVM, which takes minutes. Needs root. */
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

import { Vm } from '../../src/disk/vm/machine.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { ingot, startIngot } from '../support/cli.ts';
import { deriveImage, EXTRA_CHECKS, testTools } from '../support/derived-image.ts';
import { readRepository } from '../support/read-repository.ts';
import { BOOT_MS } from '../support/vm-node.ts';

let base: BuiltImage;
let toolsRoot: ToolsRoot;
let scratch: string;

beforeAll(async () => {
  base = await builtImage();
  ({ toolsRoot } = await testTools(base));
  scratch = await mkdtemp(join(TEST_FOLDER, 'vm-'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

/** Machines of this test: each has its disk in the scratch folder, or works there. */
async function qemuProcesses(): Promise<string[]> {
  const commands = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return commands.filter((command) => command.includes('qemu-system') && command.includes(scratch));
}

/** Nothing on it boots: the firmware says so and waits. */
async function emptyDisk(): Promise<string> {
  const path = join(scratch, 'empty.raw');
  const file = await open(path, 'w');
  await file.truncate(64 * 1024 * 1024);
  await file.close();
  return path;
}

test('an image becomes a healthy node', { timeout: 2 * BOOT_MS }, async () => {
  const reference = await deriveImage(base, join(scratch, 'layout'));
  const keep = join(scratch, 'kept');
  const result = await ingot(['--store', base.store, 'test', reference, '--keep', keep, '--json'], {
    timeoutMs: BOOT_MS,
  });
  const verdict = JSON.parse(result.stdout) as {
    disk: string;
    checks: { name: string; healthy: boolean }[];
  };
  expect(verdict).toMatchObject({
    verdict: 'healthy',
    complaints: [],
    node: {
      state: 'running',
      failedUnits: [],
      writes: [
        { path: '/', writable: false },
        { path: '/usr', writable: false },
        { path: '/usr/lib/modules', writable: false },
        { path: '/sysroot', writable: false },
      ],
      deployment: { booted: true, stateroot: 'default', version: base.version },
    },
  });
  expect(verdict.checks.map(({ name }) => name)).toEqual(expect.arrayContaining([...EXTRA_CHECKS]));
  expect(verdict.checks.filter(({ healthy }) => !healthy)).toEqual([]);
  expect(result.exitCode).toBe(0);
  expect(await readFile(join(keep, 'console.log'), 'utf8')).toMatch(/^\[ +\d+\.\d\] .*Linux version/m);
  expect(await qemuProcesses()).toEqual([]);
  await readRepository(keep, verdict.disk, toolsRoot);
});

test('a disk that does not boot is VM_FAILED, with what the console said', async () => {
  const disk = await emptyDisk();
  const keep = join(scratch, 'kept-empty');
  const args = ['--store', base.store, 'test', disk, '--timeout', '30', '--keep', keep];
  const result = await ingot(args);
  expect(result.exitCode).toBe(1);
  expect(result.stderr).toMatch(/error\[VM_FAILED\]: waited \d+ s for the machine to be up/);
  expect(result.stderr).toMatch(/BdsDxe/);
  expect(await qemuProcesses()).toEqual([]);
});

test('Ctrl-C ends the machine, and so does being killed', async () => {
  const disk = await emptyDisk();
  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGKILL', null],
  ] as const) {
    const started = startIngot(['--store', base.store, 'test', disk, '--accelerator', 'tcg']);
    await started.saying(/^Boot …/);
    expect(await qemuProcesses()).not.toEqual([]);
    process.kill(started.pid, signal);
    expect((await started.ended).exitCode).toBe(exitCode);
    // A killed program ends the machine through the kernel, a moment later.
    await vi.waitFor(async () => {
      expect(await qemuProcesses()).toEqual([]);
    }, 10_000);
    // Nothing can clean up after SIGKILL but the next `store gc`.
    const left = (await readdir(join(base.store, 'tmp'))).filter((name) =>
      name.startsWith(`boot-test-${started.pid}-`),
    );
    expect(left).toHaveLength(signal === 'SIGINT' ? 0 : 1);
    for (const name of left) await rm(join(base.store, 'tmp', name), { recursive: true });
  }
});

test('a file that is no disk is an error before anything starts', async () => {
  const missing = await ingot(['--store', base.store, 'test', join(scratch, 'none.raw')]);
  expect(missing.stderr).toMatch(/error\[NOT_FOUND\]/);
  const unready = Vm.start({ disk: join(scratch, 'none.raw'), toolsRoot, scratch });
  await expect(unready).rejects.toMatchObject({ code: 'DISK_FAILED' });
});

test('the way from one image to the next takes two images with agents, said before anything starts', async () => {
  const disk = await emptyDisk();
  const noImage = await ingot(['--store', base.store, 'test', disk, '--from', base.ref]);
  expect(noImage.exitCode).toBe(2);
  expect(noImage.stderr).toMatch(/error\[USAGE\]: .* is a disk/);
  const noAgent = await ingot(['--store', base.store, 'test', base.ref, '--from', base.ref]);
  expect(noAgent.exitCode).toBe(2);
  expect(noAgent.stderr).toMatch(/error\[NODE_UNSUITED\]: without agent, .* cannot update itself/);
});
