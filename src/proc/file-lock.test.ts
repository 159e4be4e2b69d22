import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { acquireFileLock, acquireFileLocks } from './file-lock.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot lock ä '));
  path = join(folder, 'locks', 'a.lock');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** True when the lock cannot be had at once. */
async function isHeld(shared = false): Promise<boolean> {
  const controller = new AbortController();
  const waited = await acquireFileLock(path, {
    shared,
    signal: controller.signal,
    onWait: () => {
      controller.abort();
    },
  }).catch(() => undefined);
  await waited?.[Symbol.asyncDispose]();
  return waited === undefined;
}

/** Another process that holds the lock until it is ended. */
async function otherOwner(): Promise<{ kill: (signal: NodeJS.Signals) => Promise<void> }> {
  const module = new URL('file-lock.ts', import.meta.url).href;
  const script = `
    const { acquireFileLock } = await import(${JSON.stringify(module)});
    await acquireFileLock(${JSON.stringify(path)});
    console.log('held');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    kill: async (signal) => {
      const exited = once(child, 'exit');
      child.kill(signal);
      await exited;
    },
  };
}

test('one owner at a time, and free again when disposed', async () => {
  {
    await using lock = await acquireFileLock(path);
    expect(lock.path).toBe(path);
    expect(await isHeld()).toBe(true);
  }
  expect(await isHeld()).toBe(false);
});

test('critical sections never overlap', async () => {
  let inside = 0;
  let most = 0;
  const section = async (): Promise<void> => {
    await using _lock = await acquireFileLock(path);
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setTimeout(resolve, 20));
    inside -= 1;
  };
  await Promise.all([section(), section(), section(), section()]);
  expect(most).toBe(1);
});

test('shared owners exclude only an exclusive one', async () => {
  await using _first = await acquireFileLock(path, { shared: true });
  expect(await isHeld(true)).toBe(false);
  expect(await isHeld()).toBe(true);
});

test('kill -9 of another process that owns it frees it', async () => {
  const other = await otherOwner();
  expect(await isHeld()).toBe(true);
  let waited = false;
  const waiting = acquireFileLock(path, {
    onWait: () => {
      waited = true;
    },
  });
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(waited).toBe(true);
  await other.kill('SIGKILL');
  await using lock = await waiting;
  expect(lock.path).toBe(path);
});

test('an abort ends the wait, and leaves no waiter behind', async () => {
  {
    await using _owner = await acquireFileLock(path);
    const controller = new AbortController();
    const waiting = acquireFileLock(path, { signal: controller.signal });
    setTimeout(() => {
      controller.abort();
    }, 100);
    await expect(waiting).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await expect(acquireFileLock(path, { signal: controller.signal })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
  }
  expect(await isHeld()).toBe(false);
});

test('an owner is told once that it waits, and not when it need not', async () => {
  let notices = 0;
  const onWait = (): void => {
    notices += 1;
  };
  const owner = await acquireFileLock(path, { onWait });
  expect(notices).toBe(0);
  const waiting = acquireFileLock(path, { onWait });
  await new Promise((resolve) => setTimeout(resolve, 900));
  await owner[Symbol.asyncDispose]();
  await (await waiting)[Symbol.asyncDispose]();
  expect(notices).toBe(1);
});

test('a lock that cannot be made says why', async () => {
  await expect(acquireFileLock('/proc/ingot.lock')).rejects.toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('/proc/ingot.lock') as string,
    output: expect.stringContaining('cannot open lock file') as string,
  });
});

test('many at once, by one process, and no circle of those who wait', async () => {
  const paths = Array.from({ length: 300 }, (_, index) => join(folder, 'many', `${index}.lock`));
  await using all = new AsyncDisposableStack();
  all.use(await acquireFileLocks(paths, 'of the test'));
  path = paths[299] ?? '';
  expect(await isHeld()).toBe(true);
  let isSecond = false;
  const second = acquireFileLocks(paths.toReversed(), 'of the test').then((held) => {
    isSecond = true;
    return held;
  });
  expect(isSecond).toBe(false);
  await all.disposeAsync();
  await using _held = await second;
  expect(await isHeld()).toBe(true);
});
