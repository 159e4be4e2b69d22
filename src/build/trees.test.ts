import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import { hashTrees } from '../store/hashing.ts';
import { Store } from '../store/store.ts';
import { openTreeStore } from './trees.ts';

let folder: string;
let store: Store;
const key = digestOf('a step');

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot trees ä-'));
  store = await Store.open(folder);
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const fill =
  (text: string) =>
  async (root: string): Promise<void> => {
    await writeFile(join(root, 'file'), text);
  };

describe('the tree store', () => {
  it('makes a tree once', async () => {
    const trees = await openTreeStore(store);
    const first = await trees.ensure(key, 'base', fill('one'), {});
    const second = await trees.ensure(key, 'base', fill('two'), {});
    expect(second).toBe(first);
    expect(await readFile(join(first, 'file'), 'utf8')).toBe('one');
  });

  it('makes a tree once for two who want it at the same time', async () => {
    let made = 0;
    const make = async (root: string): Promise<void> => {
      made += 1;
      await fill('x')(root);
    };
    const [left, right] = await Promise.all([openTreeStore(store), openTreeStore(store)]);
    await Promise.all([left.ensure(key, 'base', make, {}), right.ensure(key, 'base', make, {})]);
    expect(made).toBe(1);
  });

  it('keeps nothing of a tree that failed', async () => {
    const trees = await openTreeStore(store);
    const failing = trees.ensure(
      key,
      'base',
      async (root) => {
        await fill('half')(root);
        throw new Error('broken');
      },
      {},
    );
    await expect(failing).rejects.toThrow('broken');
    expect(await trees.find(key)).toBeUndefined();
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });

  it('does not trust a tree of an earlier boot that was not synced', async () => {
    const trees = await openTreeStore(store);
    await trees.ensure(key, 'base', fill('x'), {});
    const record = join(folder, 'trees', hexOf(key), 'record.json');
    await writeFile(record, JSON.stringify({ step: 'base', boot: 'another', synced: false }));
    expect(await trees.find(key)).toBeUndefined();
    await writeFile(record, JSON.stringify({ step: 'base', boot: 'another', synced: true }));
    expect(await trees.find(key)).toBeDefined();
    await writeFile(record, '{"step": "ba');
    expect(await trees.find(key)).toBeUndefined();
  });

  it('trusts its trees on every later boot once synced', async () => {
    const trees = await openTreeStore(store);
    await trees.ensure(key, 'base', fill('x'), {});
    await trees.sync();
    const text = await readFile(join(folder, 'trees', hexOf(key), 'record.json'), 'utf8');
    expect(JSON.parse(text)).toMatchObject({ synced: true });
  });

  it('notes what is in them, or what it is told', async () => {
    const trees = await openTreeStore(store);
    const root = await trees.ensure(key, 'base', fill('x'), {});
    const other = digestOf('another');
    await trees.ensure(other, 'kernel', fill('y'), { contents: 'told' });
    expect(await trees.contents(key)).toBeUndefined();
    await trees.sync();
    const hash = (await hashTrees([root])).get(root);
    expect(await trees.contents(key)).toBe(hash !== undefined && 'hex' in hash ? hash.hex : 'none');
    expect(await trees.contents(other)).toBe('told');
  });
});
