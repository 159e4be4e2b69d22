import fc from 'fast-check';
import { link, mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import { chooseEntries, collect, sweepAbandoned } from './collect.ts';
import { Store } from './store.ts';
import { ENTRY_KINDS, listEntries, totalBytes, usageByKind, type StoreEntry } from './usage.ts';

const entry = fc.record({
  kind: fc.constantFrom(...ENTRY_KINDS),
  name: fc.nat(20).map((number) => `n${number}`),
  bytes: fc.nat(1000),
  lastUsed: fc.nat(100),
});
const entries = fc
  .array(entry, { maxLength: 30 })
  .map((list): StoreEntry[] => list.map((item, index) => ({ ...item, path: `/${item.kind}/${index}` })));

describe('choosing', () => {
  test('keeps to the limit, takes no more than it must, and the unmentioned and oldest first', () => {
    fc.assert(
      fc.property(entries, fc.nat(8000), fc.func(fc.boolean()), (all, keepBytes, mentions) => {
        const isMentioned = (item: StoreEntry): boolean => mentions(item.name);
        const chosen = chooseEntries(all, { keepBytes, isMentioned, isAbandoned: () => false });
        const sized = chosen.filter(({ kind }) => kind !== 'records');
        const rest = all.filter((item) => !chosen.includes(item));
        const candidates = rest.filter(({ kind }) => kind !== 'records' && kind !== 'tmp');

        expect(new Set(chosen).size).toBe(chosen.length);
        expect(chosen.some(({ kind }) => kind === 'tmp')).toBe(false);
        if (candidates.length > 0) expect(totalBytes(all) - totalBytes(sized)).toBeLessThanOrEqual(keepBytes);
        const last = sized.at(-1);
        if (last !== undefined) {
          expect(totalBytes(all) - totalBytes(sized) + last.bytes).toBeGreaterThan(keepBytes);
          for (const kept of candidates) {
            expect(Number(isMentioned(kept))).toBeGreaterThanOrEqual(Number(isMentioned(last)));
            if (isMentioned(kept) === isMentioned(last)) {
              expect(kept.lastUsed).toBeGreaterThanOrEqual(last.lastUsed);
            }
          }
        }
      }),
    );
  });

  test('takes abandoned work whatever the limit, and the records of what goes', () => {
    const make = (kind: StoreEntry['kind'], name: string, bytes: number): StoreEntry => ({
      kind,
      name,
      path: `/${kind}/${name}`,
      bytes,
      lastUsed: 0,
    });
    const all = [
      make('tmp', 'gone', 5),
      make('tmp', 'running', 5),
      make('trees', 'a', 10),
      make('records', 'a', 1),
      make('records', 'b', 1),
    ];
    const isAbandoned = ({ name }: StoreEntry): boolean => name === 'gone';
    const choose = (keepBytes: number): string[] =>
      chooseEntries(all, { keepBytes, isMentioned: () => true, isAbandoned }).map(({ path }) => path);
    expect(choose(1000)).toEqual(['/tmp/gone']);
    expect(choose(0)).toEqual(['/tmp/gone', '/trees/a', '/records/a']);
  });
});

describe('a store on the disk', () => {
  let store: Store;
  beforeEach(async () => {
    store = await Store.open(await mkdtemp(join(tmpdir(), 'ingot store ä ')));
  });
  afterEach(async () => {
    await rm(store.root, { recursive: true });
  });

  const hex = (digit: string): string => digit.repeat(64);

  async function put(path: string, bytes: number, usedDaysAgo: number): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, Buffer.alloc(bytes, 1));
    const time = new Date(Date.now() - usedDaysAgo * 86_400_000);
    await utimes(path, time, time);
  }

  async function fill(): Promise<void> {
    await put(store.packagePath(hex('a')), 100_000, 9);
    await put(store.blobPath(hex('b')), 200_000, 8);
    await put(store.blobPath(hex('c')), 200_000, 20);
    await put(store.path('trees', hex('d'), 'root/usr/bin/x'), 300_000, 1);
    await link(
      store.path('trees', hex('d'), 'root/usr/bin/x'),
      store.path('trees', hex('d'), 'root/usr/bin/same file'),
    );
    await put(store.path('trees', hex('d'), 'record.json'), 10, 3);
    // The oldest blob is in use: its layer's record names it.
    await store.writeRecord('layers', hex('e'), { digest: `sha256:${hex('c')}` });
    await put(store.path('tmp', 'tree-4194304999-Ab1Cd2', 'half'), 50_000, 0);
    await put(store.path('tmp', `tree-${process.pid}-Ab1Cd2`, 'half'), 50_000, 0);
  }

  test('is counted by kind, a file with two names once', async () => {
    await fill();
    const usage = Object.fromEntries(usageByKind(await listEntries(store)).map((kind) => [kind.kind, kind]));
    expect(usage['packages']).toMatchObject({ entries: 1 });
    expect(usage['blobs']).toMatchObject({ entries: 2 });
    expect(usage['trees']?.bytes).toBeGreaterThanOrEqual(300_000);
    expect(usage['trees']?.bytes).toBeLessThan(450_000);
    expect(usage['records']).toMatchObject({ entries: 1 });
    expect(usage['tmp']).toMatchObject({ entries: 2 });
    expect(usage['apt']).toEqual({ kind: 'apt', entries: 0, bytes: 0 });
  });

  test('gives up abandoned work, then what no record mentions, oldest first', async () => {
    await fill();
    const names = async (keepBytes: number): Promise<string[]> => {
      const { removed } = await collect(store, { keepBytes, dryRun: true });
      return removed.map(({ kind, name }) => `${kind} ${name.replace(/^(.)\1{63}$/, '$1')}`);
    };
    expect(await names(1e9)).toEqual(['tmp tree-4194304999-Ab1Cd2']);
    const all = ['tmp tree-4194304999-Ab1Cd2', 'packages a', 'blobs b', 'trees d', 'blobs c', 'records e'];
    expect(await names(0)).toEqual(all);

    const { removed, freedBytes, keptBytes } = await collect(store, { keepBytes: 0 });
    expect(removed).toHaveLength(all.length);
    expect(freedBytes).toBe(totalBytes(removed));
    expect(keptBytes).toBeLessThan(100_000);
    expect(await readdir(store.path('trees'))).toEqual([]);
    expect(await readdir(store.path('blobs/sha256'))).toEqual([]);
    expect(await readdir(store.path('tmp'))).toEqual([`tree-${process.pid}-Ab1Cd2`]);
  });

  test('gives up what was not used for so long, whatever the limit', async () => {
    await fill();
    const usedSince = Date.now() - 8.5 * 86_400_000;
    const { removed } = await collect(store, { keepBytes: 1e9, usedSince });
    expect(removed.map(({ kind, name }) => `${kind} ${name.slice(0, 4)}`)).toEqual([
      'tmp tree',
      'packages aaaa',
      'blobs cccc',
      'records eeee',
    ]);
  });

  test('knows a blob that was used from one that was not, and touches neither', async () => {
    const sound = async (content: string, daysAgo: number): Promise<string> => {
      const name = hexOf(digestOf(content));
      await put(store.blobPath(name), 0, daysAgo);
      await writeFile(store.blobPath(name), content);
      const time = new Date(Date.now() - daysAgo * 86_400_000);
      await utimes(store.blobPath(name), time, time);
      return name;
    };
    const [older, newer] = [await sound('older', 30), await sound('newer', 20)];
    const before = await stat(store.blobPath(older), { bigint: true });
    expect(await store.blobSize(older)).toBe(5);
    expect((await stat(store.blobPath(older), { bigint: true })).mtimeNs).toBe(before.mtimeNs);
    const { removed } = await collect(store, { keepBytes: 9000 });
    expect(removed.filter(({ kind }) => kind === 'blobs').map(({ name }) => name)).toEqual([newer]);
  });

  test('gives up what a killed writer left beside its target', async () => {
    const killed = store.path('blobs/sha256', `${hex('b')}.a.tmp`);
    await put(killed, 1000, 0);
    expect((await collect(store, { keepBytes: 1e9 })).removed).toMatchObject([{ kind: 'tmp', path: killed }]);
  });

  test('is not touched while it is worked with, and work waits while it is collected', async () => {
    await fill();
    const use = await store.use();
    let waited = 0;
    const collecting = collect(store, { keepBytes: 0, onWait: () => (waited += 1) });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(waited).toBe(1);
    expect(await readdir(store.path('trees'))).toEqual([hex('d')]);
    await use[Symbol.asyncDispose]();
    expect((await collecting).removed).toHaveLength(6);
  });

  test('a wait that is interrupted removes nothing', async () => {
    await fill();
    await using _use = await store.use();
    const collecting = collect(store, { keepBytes: 0, signal: AbortSignal.timeout(100) });
    await expect(collecting).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await readdir(store.path('trees'))).toEqual([hex('d')]);
  });

  test('loses what killed processes left to whoever comes next, unless somebody works with it', async () => {
    await fill();
    const mine = `tree-${process.pid}-Ab1Cd2`;
    const killed = 'tree-4194304999-Ab1Cd2';
    {
      await using _use = await store.use();
      await sweepAbandoned(store);
      expect((await readdir(store.path('tmp'))).sort()).toEqual([killed, mine].sort());
    }
    await sweepAbandoned(store);
    expect(await readdir(store.path('tmp'))).toEqual([mine]);
    await using _lock = await store.lock('store');
    await sweepAbandoned(store); // has nothing to do, and waits for nobody
  });
});
