import { lstatSync, readFileSync } from 'node:fs';
import { cp, link, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import { run } from '../proc/run.ts';
import { createReporter } from '../report/events.ts';
import { Store } from '../store/store.ts';
import { packChunks } from './archive/pack.ts';
import { restoreTrees } from './cached-trees.ts';
import type { PackedLayer } from './packed-layer.ts';
import { leftOutOf } from './steps.ts';
import { contentsOf, packRemainder, recordRemainder, type TreeRemainder } from './tree-remainder.ts';
import { settleTimes } from './tree-times.ts';
import { openTreeStore } from './trees.ts';

const EPOCH = 1_700_000_000;
const step = {
  name: 'base',
  kind: 'base',
  key: digestOf('a layer'),
  treeKey: digestOf('a tree'),
  needs: [],
  epoch: EPOCH,
} as unknown as PlanStep;
const seal = { ...step, name: 'seal', kind: 'seal', key: digestOf('s'), treeKey: digestOf('s'), needs: ['base'] };
const plan = { steps: [step, seal], compressionLevel: 1 } as unknown as Plan;

let scratch: string;
let store: Store;
let root: string;
let layer: PackedLayer;
let remainder: TreeRemainder;

/** What layers carry, and what they leave out, with all that a tree may have. */
async function fill(tree: string): Promise<void> {
  const inside = (path: string): string => join(tree, path);
  for (const folder of ['usr/bin', 'usr/lib/sysimage/dpkg/triggers', 'var/lib/x', 'var/log/journal', 'etc/old']) {
    await mkdir(inside(folder), { recursive: true });
  }
  await writeFile(inside('usr/bin/dated'), 'from a package');
  await utimes(inside('usr/bin/dated'), EPOCH - 9, EPOCH - 9);
  await writeFile(inside('usr/bin/made'), 'by the build');
  await link(inside('usr/bin/dated'), inside('usr/bin/also'));
  await link(inside('usr/bin/dated'), inside('var/lib/x/also'));
  await symlink('/etc/passwd', inside('var/lib/x/link'));
  await writeFile(inside('usr/lib/sysimage/dpkg/status'), 'Package: x\n');
  await writeFile(inside('usr/lib/sysimage/dpkg/triggers/File'), '/usr x\n');
  await writeFile(inside('var/lib/x/grüße\nan alle'), '');
  await writeFile(inside('etc/x.conf.dpkg-new'), 'not yet');
  await run(['setcap', 'cap_net_raw+ep', inside('usr/bin/made')]);
  await run(['setfattr', '-n', 'user.note', '-v', 'kept', inside('var/lib/x')]);
  // An ACL as the kernel keeps it: version 2, then tag, permissions and id of each entry.
  const entry = (tag: number, rights: number, id = 0xffffffff): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(tag, 0);
    bytes.writeUInt16LE(rights, 2);
    bytes.writeUInt32LE(id, 4);
    return bytes;
  };
  const acl = [Buffer.from([2, 0, 0, 0]), entry(1, 7), entry(4, 5), entry(8, 5, 4), entry(16, 5), entry(32, 5)];
  const value = `0x${Buffer.concat(acl).toString('hex')}`;
  await run(['setfattr', '-n', 'system.posix_acl_access', '-v', value, inside('var/log/journal')]);
  await run(['setfattr', '-n', 'trusted.overlay.opaque', '-v', 'y', inside('etc/old')]);
  for (const removal of ['usr/bin/gone', 'var/lib/x/gone', 'usr/lib/sysimage/dpkg/lock']) {
    await run(['mknod', '-m', '000', inside(removal), 'c', '0', '0']);
  }
}

/** Restores in another store, whose record says `said`. Gives the tree and the warnings. */
async function restore(
  said: TreeRemainder,
): Promise<{ readonly tree: string | undefined; readonly warnings: readonly string[] }> {
  const other = await Store.open(join(scratch, 'other'));
  await cp(store.path('blobs'), other.path('blobs'), { recursive: true, force: true });
  await recordRemainder(other, step.key, said);
  const trees = await openTreeStore(other);
  const warnings: string[] = [];
  const reporter = createReporter([
    (event) => {
      if (event.type === 'log' && event.level === 'warning') warnings.push(event.message);
    },
  ]);
  await restoreTrees(trees, new Map([['base', layer]]), { plan, store: other, reporter });
  await trees.sync();
  return { tree: await trees.find(step.treeKey), warnings };
}

describe.runIf(process.getuid?.() === 0)('a tree that was packed', () => {
  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'ingot remains ü-'));
    store = await Store.open(join(scratch, 'store'));
    root = join(scratch, 'tree');
    await mkdir(root);
    await fill(root);
    settleTimes(root, EPOCH);
    const wanted = (path: string): number[] => (path.startsWith('usr/bin/') ? [1] : [0]);
    const division = { chunks: [{ name: 'rest' }, { name: 'bin' }], chunksOf: wanted };
    layer = { chunks: await packChunks(store, root, division, { epoch: EPOCH, drop: leftOutOf(step, root, undefined) }) };
    const options = { step, layer, contents: undefined, level: 1 };
    const packed = await packRemainder(store, root, options);
    if (packed === undefined) throw new Error('the tree is not settled');
    remainder = packed;
  });
  afterEach(async () => {
    await rm(scratch, { recursive: true });
  });

  it('is restored to the same digest, whatever it is made of', async () => {
    const { tree, warnings } = await restore(remainder);
    expect(warnings).toEqual([]);
    expect(await contentsOf(tree ?? '')).toBe(await contentsOf(root));
    expect(readFileSync(join(tree ?? '', 'var/lib/x/also'), 'utf8')).toBe('from a package');
    expect(lstatSync(join(tree ?? '', 'usr/bin/gone')).rdev).toBe(0);
    expect(lstatSync(join(tree ?? '', 'usr/bin/also')).ino).toBe(
      lstatSync(join(tree ?? '', 'usr/bin/dated')).ino,
    );
  });

  it.each<readonly [string, (said: TreeRemainder) => TreeRemainder, RegExp]>([
    ['another digest', (said) => ({ ...said, contents: hexOf(digestOf('x')) }), /another tree than its digest/],
    [
      'fewer entries',
      (said) => ({ ...said, archive: { ...said.archive, entries: 0 } }),
      /more than it says/,
    ],
    [
      'a layer’s archive for the rest',
      (said) => ({ ...said, archive: { ...said.archive, ...layer.chunks[1], mediaType: said.archive.mediaType } }),
      /is not of a tree/,
    ],
    [
      'more than there is room for',
      (said) => {
        layer = { chunks: layer.chunks.map((chunk) => ({ ...chunk, uncompressedSize: 2 ** 50 })) };
        return said;
      },
      /does not fit/,
    ],
  ])('leaves nothing and a warning with %s', async (_name, change, warning) => {
    const { tree, warnings } = await restore(change(remainder));
    expect(tree).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(warning)]);
    expect(warnings[0]).toMatch(/the tree of base is made from its packages instead$/);
  });

  it('is not packed when its times were never settled', async () => {
    await writeFile(join(root, 'usr/later'), '');
    expect(await packRemainder(store, root, { step, layer, contents: undefined, level: 1 })).toBeUndefined();
  });
});
