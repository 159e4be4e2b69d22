/** Real scripts in a folder that stands for the root. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { collectChecks, runGate } from './gate.ts';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-gate-'));
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function file(path: string, text: string, mode = 0o644): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
  await chmod(join(root, path), mode);
}

const script = (path: string, ...lines: readonly string[]): Promise<void> =>
  file(path, ['#!/bin/sh', ...lines, ''].join('\n'), 0o755);

const health = (...checks: readonly object[]): Promise<void> =>
  file('usr/lib/ingot/health.json', JSON.stringify(checks));

test('a machine without checks is healthy', async () => {
  expect(await runGate({ root, gpus: [] })).toEqual({ healthy: true, checks: [] });
});

test('every check runs, and a required one decides', async () => {
  await health(
    { name: 'good', run: 'echo fine', timeoutSeconds: 5 },
    { name: 'bad', run: 'echo out; echo err >&2; exit 3', timeoutSeconds: 5 },
  );
  await script('etc/greenboot/check/required.d/10-last.sh', 'exit 0');
  await script('etc/greenboot/check/wanted.d/10-optional.sh', 'exit 1');
  const told: string[] = [];
  const verdict = await runGate({ root, gpus: [], onCheck: (_done, _total, name) => told.push(name) });
  expect(verdict).toMatchObject({
    healthy: false,
    checks: [
      { name: 'good', source: 'image', healthy: true, output: 'fine', exitCode: 0 },
      { name: 'bad', required: true, healthy: false, output: 'out\nerr', exitCode: 3, timedOut: false },
      { name: '10-last.sh', source: 'script', required: true, healthy: true },
      { name: '10-optional.sh', required: false, healthy: false },
    ],
  });
  expect(told).toEqual(['good', 'bad', '10-last.sh', '10-optional.sh']);
});

test('a wanted check that fails leaves the machine healthy', async () => {
  await script('usr/lib/greenboot/check/wanted.d/1.sh', 'exit 1');
  expect((await runGate({ root, gpus: [] })).healthy).toBe(true);
});

test('a check that hangs, with a child that holds on, is ended in time', async () => {
  await health({ name: 'hangs', run: 'sleep 60 & sleep 60', timeoutSeconds: 0.5 });
  const { healthy, checks } = await runGate({ root, gpus: [] });
  expect(healthy).toBe(false);
  expect(checks[0]).toMatchObject({ timedOut: true, healthy: false });
  expect(checks[0]?.seconds).toBeLessThan(10);
});

test('scripts are those that can be run, in order of name, the machine’s own in the place of the image’s', async () => {
  await script('usr/lib/greenboot/check/required.d/20.sh', 'exit 1');
  await script('usr/lib/greenboot/check/required.d/30.sh', 'exit 0');
  await script('etc/greenboot/check/required.d/20.sh', 'exit 0');
  await script('etc/greenboot/check/required.d/05.sh', 'exit 0');
  await file('etc/greenboot/check/required.d/README', 'no script');
  expect((await collectChecks({ root, gpus: [] })).map(({ name }) => name)).toEqual([
    '05.sh',
    '20.sh',
    '30.sh',
  ]);
  expect((await runGate({ root, gpus: [] })).healthy).toBe(true);
});

test.each(['{', '[{"name":"x"}]', '7'])('a health file that is %s is said', async (text) => {
  await file('usr/lib/ingot/health.json', text);
  await expect(runGate({ root, gpus: [] })).rejects.toMatchObject({ code: 'HEALTH_FAILED' });
});

test('a script that has no interpreter fails by itself', async () => {
  await file('etc/greenboot/check/required.d/1', '#!/does/not/exist\n', 0o755);
  const { healthy, checks } = await runGate({ root, gpus: [] });
  expect(healthy).toBe(false);
  expect(checks[0]?.output).not.toBe('');
});

describe('with a GPU', () => {
  const gpus = [{ address: '0000:41:00.0', pci: '10de:2335' }];

  async function driver(smi: string): Promise<void> {
    await script('usr/bin/nvidia-smi', smi);
    await file('usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.163.01', '');
    await file(
      'proc/driver/nvidia/version',
      'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build\n',
    );
  }
  const verdicts = async (): Promise<Readonly<Record<string, boolean>>> => {
    const { checks } = await runGate({ root, gpus });
    return Object.fromEntries(
      checks.filter(({ name }) => name !== 'gpu-log').map(({ name, healthy }) => [name, healthy]),
    );
  };

  test('and no driver in the image there is nothing to check', async () => {
    expect((await collectChecks({ root, gpus })).length).toBe(0);
  });

  test('of another maker there is nothing to check either', async () => {
    await driver('exit 0');
    expect((await collectChecks({ root, gpus: [{ address: 'x', pci: '1002:74a1' }] })).length).toBe(0);
  });

  test('that is good, all is good', async () => {
    await driver('echo "00000000:41:00.0, NVIDIA H200, Completed, Success"');
    expect(await verdicts()).toEqual({ 'gpu-driver': true, 'gpu-answers': true, 'gpu-fabric': true });
  });

  test('and CUDA and Python in the image, a kernel must run', async () => {
    await driver('echo "00000000:41:00.0, NVIDIA H200, Completed, Success"');
    await file('usr/lib/x86_64-linux-gnu/libcuda.so.1', '');
    await script('usr/bin/python3', 'case "$3" in *combine*) echo 1 of 1 GPUs;; esac; exit 4');
    expect(await verdicts()).toMatchObject({ 'gpu-answers': true, 'gpu-kernel': false });
    await script('usr/bin/python3', 'exit 0');
    expect(await verdicts()).toMatchObject({ 'gpu-kernel': true });
  });

  test('that fell off the bus, nvidia-smi fails', async () => {
    await driver('echo "Unable to determine the device handle"; exit 255');
    expect(await verdicts()).toEqual({ 'gpu-driver': true, 'gpu-answers': false, 'gpu-fabric': false });
  });
});

describe('while the machine starts', () => {
  test('a check of the image’s that fails has all its time to pass', async () => {
    const tries = join(root, 'tries');
    const run = `echo x >>${tries}; test "$(wc -l <${tries})" -ge 2`;
    await health({ name: 'slow-service', run, timeoutSeconds: 30 });
    expect(await runGate({ root, gpus: [], isStarting: true })).toMatchObject({
      healthy: true,
      checks: [{ name: 'slow-service', healthy: true, exitCode: 0 }],
    });
    expect(await readFile(tries, 'utf8')).toBe('x\nx\n');
  });

  test('what never passes ends with its time, and says how it failed', async () => {
    await health({ name: 'never', run: 'echo no; exit 7', timeoutSeconds: 2 });
    const started = performance.now();
    const verdict = await runGate({ root, gpus: [], isStarting: true });
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(verdict).toMatchObject({
      healthy: false,
      checks: [{ exitCode: 7, output: 'no', timedOut: false }],
    });
  });

  test('a script runs once', async () => {
    await script('etc/greenboot/check/required.d/1.sh', 'echo x >>"$0.runs"', 'exit 1');
    await runGate({ root, gpus: [], isStarting: true });
    expect(await readFile(join(root, 'etc/greenboot/check/required.d/1.sh.runs'), 'utf8')).toBe('x\n');
  });
});

test('limits are for a real processor', async () => {
  await health({ name: 'slow', run: 'sleep 1.5', timeoutSeconds: 1 });
  expect((await runGate({ root, gpus: [], slowness: 20 })).healthy).toBe(true);
});
