import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { FollowingHasher } from './following-hasher.ts';

const MIB = 1024 * 1024;
const ENDLESS = 64 * 1024 * MIB;
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-following-'));
});
afterAll(() => rm(folder, { recursive: true }));

function sha256(...parts: readonly Buffer[]): string {
  return createHash('sha256').update(Buffer.concat(parts)).digest('hex');
}

/** Of this process, which threads share. */
async function isOpen(path: string): Promise<boolean> {
  for (const name of await readdir('/proc/self/fd')) {
    if ((await readlink(join('/proc/self/fd', name)).catch(() => '')) === path) return true;
  }
  return false;
}

async function waitUntil(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await sleep(5);
}

test('files that grow at once have the digests of all that was written', async () => {
  const hasher = new FollowingHasher();
  const parts = Array.from({ length: 7 }, (_, index) => randomBytes(MIB / 2 + index));
  const hashOne = async (name: string, given: readonly Buffer[]): Promise<string> => {
    const path = join(folder, name);
    const file = await open(path, 'w');
    try {
      await using followed = hasher.follow(path);
      let size = 0;
      for (const part of given) {
        size += (await file.write(part, 0, part.length, size)).bytesWritten;
        await followed.grown(size);
      }
      return await followed.digest();
    } finally {
      await file.close();
    }
  };
  const both = [parts, parts.toReversed(), []];
  const digests = await Promise.all(both.map((given, index) => hashOne(`growing-${index}`, given)));
  expect(digests).toEqual(both.map((given) => sha256(...given)));
});

test('what lies in a file and was not told is not hashed', async () => {
  const path = join(folder, 'told');
  const data = randomBytes(3 * MIB);
  await writeFile(path, data);
  await using followed = new FollowingHasher().follow(path);
  await followed.grown(2 * MIB + 1);
  expect(await followed.digest()).toBe(sha256(data.subarray(0, 2 * MIB + 1)));
});

test('a file that lost its end has the digest of what is left', async () => {
  const path = join(folder, 'cut');
  const data = randomBytes(2 * MIB);
  await writeFile(path, data);
  await truncate(path, 1000);
  await using followed = new FollowingHasher().follow(path);
  await followed.grown(2 * MIB);
  expect(await followed.digest()).toBe(sha256(data.subarray(0, 1000)));
});

test.each([
  ['that is not there', 'ENOENT', () => join(folder, 'none')],
  ['that is a folder', 'EISDIR', () => folder],
])('a file %s is the fault %s', async (_, code, path) => {
  await using followed = new FollowingHasher().follow(path());
  await followed.grown(MIB);
  await expect(followed.digest()).rejects.toMatchObject({ code });
});

test('a file that is given up is closed, and the next one is hashed', async () => {
  const path = join(folder, 'given-up');
  await writeFile(path, randomBytes(MIB));
  const hasher = new FollowingHasher();
  {
    await using followed = hasher.follow(path);
    await followed.grown(MIB);
    await waitUntil(() => isOpen(path));
  }
  expect(await isOpen(path)).toBe(false);
  const next = join(folder, 'next');
  await writeFile(next, 'next');
  await using followed = hasher.follow(next);
  await followed.grown(4);
  expect(await followed.digest()).toBe(sha256(Buffer.from('next')));
});

/** Would take half a minute to hash. */
async function makeEndless(name: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, '');
  await truncate(path, ENDLESS);
  return path;
}

test('whoever is far ahead is made to wait, and goes on when it is given up', async () => {
  const hasher = new FollowingHasher();
  const path = await makeEndless('ahead');
  const followed = hasher.follow(path);
  expect(followed.grown(100 * MIB)).toBeUndefined();
  const near = followed.grown(ENDLESS);
  expect(near).toBeInstanceOf(Promise);
  await followed[Symbol.asyncDispose]();
  await near;
  expect(await isOpen(path)).toBe(false);
});

test('whoever waits goes on when the thread has come near', async () => {
  const path = join(folder, 'near');
  await writeFile(path, '');
  await truncate(path, 200 * MIB);
  await using followed = new FollowingHasher().follow(path);
  await followed.grown(200 * MIB);
  expect(await followed.digest()).toBe(sha256(Buffer.alloc(200 * MIB)));
});

test('a small file does not wait for a large one', async () => {
  const hasher = new FollowingHasher();
  await using large = hasher.follow(await makeEndless('large'));
  void large.grown(ENDLESS);
  const path = join(folder, 'small');
  await writeFile(path, 'small');
  await using small = hasher.follow(path);
  await small.grown(5);
  expect(await small.digest()).toBe(sha256(Buffer.from('small')));
});

test('an interrupt ends the waiting for room and for the digest', async () => {
  const interrupt = new AbortController();
  const { signal } = interrupt;
  await using followed = new FollowingHasher().follow(await makeEndless('interrupted'), { signal });
  const near = followed.grown(ENDLESS);
  const digest = followed.digest();
  interrupt.abort();
  await expect(digest).rejects.toMatchObject({ code: 'INTERRUPTED' });
  await near;
});

test.each([
  ['ends by itself', 'process.exit(3)', 'ended with 3'],
  ['breaks', `throw new Error('broken')`, 'broken'],
])('a thread that %s fails all that it followed, and the next file gets another', async (_, how, says) => {
  const script = `
    const { parentPort } = require('node:worker_threads');
    parentPort.on('message', ({ id, kind, path }) => {
      if (path === 'fatal') ${how};
      if (kind === 'end') parentPort.postMessage({ id, hex: 'served' });
    });`;
  const file = join(folder, 'thread.cjs');
  await writeFile(file, script);
  const hasher = new FollowingHasher(pathToFileURL(file));
  await using other = hasher.follow('other');
  const near = other.grown(ENDLESS);
  await using fatal = hasher.follow('fatal');
  await expect(fatal.digest()).rejects.toThrow(says);
  await expect(other.digest()).rejects.toThrow(says);
  await near;
  await using next = hasher.follow('next');
  expect(await next.digest()).toBe('served');
});

test('disposed of twice, it leaves the thread to the others', async () => {
  const hasher = new FollowingHasher();
  const path = join(folder, 'twice');
  await writeFile(path, 'twice');
  const first = hasher.follow(path);
  await first[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  await using second = hasher.follow(path);
  await second.grown(5);
  await sleep(1_500);
  expect(await second.digest()).toBe(sha256(Buffer.from('twice')));
});

test.each([
  ['has its digest', 'await followed.digest()', sha256(Buffer.from('process'))],
  ['waits for none', `'over'`, 'over'],
])('a process ends that %s, whether or not it gave the file up', async (_, answer, told) => {
  const path = join(folder, 'process');
  await writeFile(path, 'process');
  const script = `
    const { FollowingHasher } = await import(${JSON.stringify(join(import.meta.dirname, 'following-hasher.ts'))});
    const followed = new FollowingHasher().follow(${JSON.stringify(path)});
    await followed.grown(7);
    console.log(${answer});`;
  const { stdout } = await run([process.execPath, '--input-type=module', '--eval', script]);
  expect(stdout.trim()).toBe(told);
});

test('a thread that was let go is started again', async () => {
  const path = join(folder, 'later');
  await writeFile(path, 'later');
  const hasher = new FollowingHasher();
  for (const pause of [0, 1_500]) {
    await sleep(pause);
    await using followed = hasher.follow(path);
    await followed.grown(5);
    expect(await followed.digest()).toBe(sha256(Buffer.from('later')));
  }
});
