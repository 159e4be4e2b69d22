import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { MountNamespace } from '../../src/proc/mount-namespace.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-mounts-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** Processes whose command line names the folder of this test, zombies left out. */
async function processesNaming(text: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.includes(text)) found.push(commandLine.replaceAll('\0', ' '));
  }
  return found;
}

function mountNamespacesInUse(): Promise<Set<string>> {
  return readdir('/proc').then(async (pids) => {
    const { readlink } = await import('node:fs/promises');
    const links = pids
      .filter((pid) => /^\d+$/.test(pid))
      .map((pid) => readlink(`/proc/${pid}/ns/mnt`).catch(() => undefined));
    return new Set((await Promise.all(links)).filter((link) => link !== undefined));
  });
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error('condition not met within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a mount made inside is seen by later programs inside, and by nobody else', async () => {
  {
    await using namespace = await MountNamespace.open();
    await namespace.run(['mount', '-t', 'tmpfs', 'ingot', folder]);
    await namespace.run(['sh', '-c', 'echo inside > file'], { cwd: folder });
    const { stdout } = await namespace.run(['cat', `${folder}/file`]);
    expect(stdout).toBe('inside');
    expect(await readdir(folder)).toEqual([]);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(folder);
  }
  expect(await processesNaming(folder)).toEqual([]);
});

test('disposing ends daemons that programs left inside', async () => {
  {
    await using namespace = await MountNamespace.open();
    await namespace.run(['sh', '-c', `setsid tail -f /dev/null ${folder}/x >/dev/null 2>&1 &`]);
    await until(async () => (await processesNaming(folder)).length === 1);
  }
  expect(await processesNaming(folder)).toEqual([]);
});

test('a program inside keeps its exit code, and errors show its own command line', async () => {
  await using namespace = await MountNamespace.open();
  await expect(namespace.run(['sh', '-c', 'exit 4'])).rejects.toMatchObject({
    code: 'TOOL_FAILED',
    message: "sh exited with 4: sh -c 'exit 4'",
  });
  for (const options of [{}, { cwd: '/usr' }]) {
    await expect(namespace.run(['no-such-program'], options)).rejects.toMatchObject({ code: 'TOOL_MISSING' });
  }
  await expect(namespace.run(['sleep', '30'], { timeoutMs: 200 })).rejects.toMatchObject({
    code: 'TIMEOUT',
  });
});

test('an abort before it is open is INTERRUPTED', async () => {
  await expect(MountNamespace.open({ signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: 'INTERRUPTED',
  });
});

test('kill -9 of the owner leaves no mount, no namespace and no process', async () => {
  const before = await mountNamespacesInUse();
  const module = new URL('../../src/proc/mount-namespace.ts', import.meta.url).href;
  const script = `
    const { MountNamespace } = await import(${JSON.stringify(module)});
    const namespace = await MountNamespace.open();
    await namespace.run(['mount', '-t', 'tmpfs', 'ingot', ${JSON.stringify(folder)}]);
    await namespace.run(['sh', '-c', 'setsid tail -f /dev/null ${folder}/daemon >/dev/null 2>&1 &']);
    void namespace.run(['tail', '-f', '/dev/null', ${JSON.stringify(`${folder}/running`)}]).catch(() => {});
    setInterval(() => {}, 1000);
    console.log('ready');`;
  const owner = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(owner.stdout, 'data');
  // nsenter and the program it became a parent of, and the daemon.
  await until(async () => (await processesNaming('/dev/null\0' + folder)).length >= 3);
  const during = await mountNamespacesInUse();
  const ours = [...during].filter((link) => !before.has(link));
  expect(ours).not.toEqual([]);

  const exited = once(owner, 'exit');
  owner.kill('SIGKILL');
  await exited;

  await until(async () => (await processesNaming(folder)).length === 0);
  await until(async () => {
    const now = await mountNamespacesInUse();
    return ours.every((link) => !now.has(link));
  });
  expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(folder);
});
