/** Fetching from servers that behave, and from those that do not. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import type { IngotError } from '../../src/errors.ts';
import { compareDebVersions, parseDebVersion } from '../../src/packages/deb-version.ts';
import { fetchPackages, type FetchOptions, type FetchSummary } from '../../src/packages/fetch.ts';
import { mirrorsFrom, type Mirrors } from '../../src/packages/mirror.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { run } from '../../src/proc/run.ts';
import { createReporter, type ReportEvent } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import { MirrorServer, TestKey, TinyArchive, type Fault } from '../support/mirror.ts';

let folder: string;
let key: TestKey;
let packages: readonly LockedPackage[];
let server: MirrorServer;
let store: Store;
let round = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-päckages '));
  key = await TestKey.create();
  const archive = new TinyArchive(join(folder, 'archive'), key);
  const names = ['alpha', 'beta', 'gamma'];
  await archive.publish(names.map((name) => ({ name, version: '1.0+b1~x', filler: 100_000 })));
  packages = await Promise.all(names.map((name) => archive.locked(name, '1.0+b1~x')));
});

afterAll(async () => {
  await key[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  server = await MirrorServer.start(join(folder, 'archive'));
  store = await Store.open(join(folder, `ä store ${(round += 1)}`));
});

afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const CREATED = new Date('2025-11-22T10:20:30Z');

function fetchAll(options: Partial<FetchOptions> = {}, mirrors?: Mirrors): Promise<FetchSummary> {
  return fetchPackages(packages, {
    store,
    mirrors: mirrors ?? mirrorsFrom({ INGOT_MIRROR: server.url }, []),
    created: CREATED,
    idleMs: 400,
    retryMs: 5,
    ...options,
  });
}

async function failureOf(work: Promise<unknown>): Promise<IngotError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason as IngotError,
  );
  if (error === undefined) throw new Error('expected a failure');
  // Addresses are private, whatever went wrong.
  expect(`${error.message} ${error.hint ?? ''}`).not.toMatch(/127\.0\.0\.1|localhost|http:/);
  return error;
}

async function expectAllStored(): Promise<void> {
  for (const item of packages) expect((await stat(store.packagePath(item.sha256))).size).toBe(item.size);
  expect(await readdir(store.path('tmp'))).toEqual([]);
}

describe('fetching packages', () => {
  test('puts them into the store, with progress in bytes, and does not fetch them again', async () => {
    const events: ReportEvent[] = [];
    const reporter = createReporter([(event) => events.push(event)]);
    const total = packages.reduce((sum, item) => sum + item.size, 0);
    const first = await reporter.stage('Fetch', (stage) => fetchAll({ stage }));
    expect(first).toEqual({ fetched: 3, fetchedBytes: total, present: 0 });
    await expectAllStored();
    const progress = events.filter((event) => event.type === 'stage-progress');
    expect(progress.at(-1)).toMatchObject({ done: total, total, unit: 'bytes' });

    const asked = server.requests.length;
    expect(await fetchAll()).toEqual({ fetched: 0, fetchedBytes: 0, present: 3 });
    expect(server.requests.length).toBe(asked);
  });

  test('escapes what a path may not hold, and reads file: mirrors in folders with spaces', async () => {
    const mirrors = mirrorsFrom({ INGOT_MIRROR: pathToFileURL(join(folder, 'archive')).href }, []);
    await fetchAll({}, mirrors);
    await expectAllStored();
  });

  test('two at once on one store both end right', async () => {
    server.misbehave(/alpha/, { kind: 'slow', pauseMs: 20, pieces: 10 });
    await Promise.all([fetchAll(), fetchAll(), fetchAll()]);
    await expectAllStored();
  });

  test('replaces a file of the wrong size, and one of the wrong content', async () => {
    await fetchAll();
    const [first, second] = packages;
    if (first === undefined || second === undefined) throw new Error('no packages');
    await truncate(store.packagePath(first.sha256), 10);
    expect((await fetchAll()).fetched).toBe(1);
    await writeFile(store.packagePath(second.sha256), Buffer.alloc(second.size));
    expect((await fetchAll()).fetched).toBe(1);
    expect((await fetchAll()).fetched).toBe(0);
  });

  const passing: readonly [string, Fault, number][] = [
    ['500 then fine', { kind: 'status', status: 500 }, 2],
    ['429 then fine', { kind: 'status', status: 429 }, 2],
    ['reset then fine', { kind: 'reset' }, 2],
    ['cut in the middle, then fine', { kind: 'cut' }, 2],
    ['stalled, then fine', { kind: 'stall' }, 1],
    ['corrupt once, then fine', { kind: 'corrupt' }, 1],
    ['slow', { kind: 'slow', pauseMs: 60, pieces: 12 }, Infinity],
  ];
  test.each(passing)('%s: fetched', async (_what, fault, times) => {
    server.misbehave(/beta/, fault, times);
    await fetchAll();
    await expectAllStored();
  });

  const failing: readonly [string, Fault, string, RegExp][] = [
    ['corrupt', { kind: 'corrupt' }, 'DIGEST_MISMATCH', /^beta .*another sha256/],
    ['short', { kind: 'short' }, 'DIGEST_MISMATCH', /^beta .*has \d+ bytes instead of/],
    ['long', { kind: 'long' }, 'DIGEST_MISMATCH', /^beta .*has more than/],
    ['404', { kind: 'status', status: 404 }, 'PACKAGE_GONE', /^beta 1\.0\+b1~x is no longer on/],
    ['403', { kind: 'status', status: 403 }, 'MIRROR_UNREACHABLE', /answers 403/],
    ['500', { kind: 'status', status: 500 }, 'MIRROR_UNREACHABLE', /answers 500/],
    ['always cut', { kind: 'cut' }, 'MIRROR_UNREACHABLE', /connection was cut/],
    ['stalled', { kind: 'stall' }, 'MIRROR_UNREACHABLE', /sent nothing for 0\.4 s/],
    [
      'redirect loop',
      { kind: 'redirect', to: '/pool/main/beta/x' },
      'MIRROR_UNREACHABLE',
      /redirected too often/,
    ],
    [
      'redirect to a file',
      { kind: 'redirect', to: 'file:///etc/passwd' },
      'MIRROR_UNREACHABLE',
      /may not go/,
    ],
  ];
  test.each(failing)('%s: says so, and keeps the others', async (_what, fault, code, message) => {
    server.misbehave(/beta/, fault);
    const error = await failureOf(fetchAll());
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.hint).toBeTruthy();
    expect(await fetchAll().catch(() => 'failed')).toBe('failed');
    const [alpha, beta] = packages;
    await expect(stat(store.packagePath(alpha?.sha256 ?? ''))).resolves.toBeTruthy();
    await expect(stat(store.packagePath(beta?.sha256 ?? ''))).rejects.toThrow();
    expect(await readdir(store.path('tmp'))).toEqual([]);
  });

  test('tells of all packages at once, with the command that mends it', async () => {
    server.misbehave(/alpha|gamma/, { kind: 'status', status: 404 });
    server.misbehave(/beta/, { kind: 'corrupt' });
    const error = await failureOf(fetchAll());
    expect(error.code).toBe('DIGEST_MISMATCH');
    expect(error.message).toMatch(/^3 packages cannot be fetched:\n {2}beta .*\n {2}alpha .*\n {2}gamma /);
    expect(error.hint).toContain('`ingot lock FILE --update alpha gamma`');
  });

  test('a mirror that is not there', async () => {
    const nobody = await MirrorServer.start(folder);
    const { url } = nobody;
    await nobody[Symbol.asyncDispose]();
    const error = await failureOf(
      fetchAll({}, mirrorsFrom({ INGOT_MIRROR: url.replace('//', '//user:secret@') }, [])),
    );
    expect(error.code).toBe('MIRROR_UNREACHABLE');
    expect(error.message).toMatch(/connection refused/);
    expect(`${error.message}${String(error.hint)}`).not.toContain('secret');
  });

  test('follows a redirect', async () => {
    const alpha = packages[0]?.filename ?? '';
    server.misbehave(/alpha/, { kind: 'redirect', to: `/${encodeURI(alpha)}` }, 1);
    await fetchAll();
    await expectAllStored();
  });

  test.each(['404', 'corrupt'] as const)(
    '%s on the mirror: the snapshot of the time of the lock',
    async (what) => {
      const root = join(folder, 'snapshots');
      await mkdir(join(root, 'debian'), { recursive: true });
      await run(['cp', '-aT', join(folder, 'archive'), join(root, 'debian/20251122T102030Z')]);
      await using snapshots = await MirrorServer.start(root);
      server.misbehave(/./, what === '404' ? { kind: 'status', status: 404 } : { kind: 'corrupt' });
      const env = { INGOT_MIRROR: server.url, INGOT_SNAPSHOT: `${snapshots.url}/{archive}/{timestamp}` };
      await fetchAll({}, mirrorsFrom(env, []));
      await expectAllStored();
      expect(snapshots.requests.length).toBe(3);
    },
  );

  test('a snapshot with other content is refused', async () => {
    await using snapshots = await MirrorServer.start(join(folder, 'archive'));
    snapshots.misbehave(/./, { kind: 'corrupt' });
    server.misbehave(/./, { kind: 'status', status: 404 });
    const env = { INGOT_MIRROR: server.url, INGOT_SNAPSHOT: `${snapshots.url}/{archive}/..` };
    const error = await failureOf(fetchAll({}, mirrorsFrom(env, [])));
    expect(error.code).toBe('DIGEST_MISMATCH');
  });

  test('interrupted: at once, with nothing left behind', async () => {
    server.misbehave(/./, { kind: 'stall' });
    const controller = new AbortController();
    setTimeout(() => {
      controller.abort();
    }, 100);
    const started = performance.now();
    const error = await failureOf(fetchAll({ signal: controller.signal, idleMs: 30_000 }));
    expect(error.code).toBe('INTERRUPTED');
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(await readdir(store.path('tmp'))).toEqual([]);
  });
});

describe('a full disk', () => {
  async function onTmpfs(size: string, work: (full: Store) => Promise<void>): Promise<void> {
    const mountPoint = join(folder, `tmpfs ${size}`);
    await mkdir(mountPoint);
    await run(['mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', mountPoint]);
    try {
      await work(await Store.open(mountPoint));
    } finally {
      await run(['umount', mountPoint]);
    }
  }

  test('is seen before anything is fetched', async () => {
    await onTmpfs('1m', async (full) => {
      const error = await failureOf(fetchAll({ store: full }));
      expect(error.code).toBe('DISK_FULL');
      expect(error.message).toMatch(/MiB are needed .* MiB are free/);
      expect(server.requests).toEqual([]);
    });
  });

  test('is told when others fill it meanwhile', async () => {
    await onTmpfs('24m', async (full) => {
      server.misbehave(/./, { kind: 'slow', pauseMs: 50, pieces: 10 });
      const fetching = failureOf(fetchAll({ store: full }));
      await run(['dd', 'if=/dev/zero', `of=${full.path('ballast')}`, 'bs=1M'], { okExitCodes: [1] });
      const error = await fetching;
      expect(error.code).toBe('DISK_FULL');
      expect(error.hint).toContain('ingot store gc');
      await rm(full.path('ballast'));
      expect(await readdir(full.path('tmp'))).toEqual([]);
      await fetchAll({ store: full });
      for (const item of packages) {
        expect((await readFile(full.packagePath(item.sha256))).length).toBe(item.size);
      }
    });
  });
});

describe('the order of versions', () => {
  test('is dpkg’s own', async () => {
    const versions = [
      '1',
      '1-0',
      '1-1',
      '1~',
      '1~~',
      '1~a',
      '1.0',
      '01',
      '1a',
      '1+',
      '1+b1',
      '1.',
      '1:0',
      '2:0.1-1',
    ];
    versions.push(
      '0:1',
      '1.2.3-4',
      '1.10',
      '1.9',
      '1.0a',
      '1.0-1~deb13u1',
      '1.0-1',
      '1.0-1+b2',
      '6.12.57+deb13-1',
    );
    const script = versions.flatMap((left) =>
      versions.map((right) => `dpkg --compare-versions '${left}' lt '${right}' && echo lt || echo ge`),
    );
    // One shell for all pairs, of a text that is ours.
    const { stdout } = await run(['sh', '-c', script.join('\n')]);
    const ours = versions.flatMap((left) =>
      versions.map((right) =>
        compareDebVersions(parseDebVersion(left), parseDebVersion(right)) < 0 ? 'lt' : 'ge',
      ),
    );
    expect(stdout.split('\n')).toEqual(ours);
  });
});
