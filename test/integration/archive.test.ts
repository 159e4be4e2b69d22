/** Layer archives against GNU tar, the kernel's overlayfs, and file capabilities. Needs root. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, chown, link, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createZstdDecompress } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { packChunks, packTree } from '../../src/build/archive/pack.ts';
import { Packers } from '../../src/build/archive/packers.ts';
import { type Digest, hexOf } from '../../src/digest.ts';
import { run } from '../../src/proc/run.ts';
import { Store } from '../../src/store/store.ts';
import { describeTree } from '../support/tree.ts';

const EPOCH = 1_700_000_000;
let scratch: string;
let store: Store;
let packers: Packers;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot archive-ü-'));
  store = await Store.open(join(scratch, 'store'));
  packers = new Packers();
});

afterAll(async () => {
  await packers[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

async function freshDirectory(): Promise<string> {
  return mkdtemp(join(scratch, 'dir-'));
}

/** What GNU tar makes of a layer, over what is in `into` already. */
async function extract(digest: Digest, into?: string): Promise<string> {
  const target = into ?? (await freshDirectory());
  await run(
    [
      ...(['tar', '-x', '-p', '--numeric-owner', '--xattrs', '--xattrs-include=*'] as const),
      ...['--same-owner', '--delay-directory-restore', '-C', target, '-f', '-'],
    ],
    { stdin: createReadStream(store.blobPath(hexOf(digest))).pipe(createZstdDecompress()) },
  );
  return target;
}

interface Item {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'device';
  readonly parent: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly time: number;
  readonly contents: Uint8Array;
  readonly attribute: Uint8Array | undefined;
}

const fileName = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .filter((name) => !/[/\0]/.test(name) && !/^\.\.?$/.test(name) && !name.startsWith('.wh.'));

const item: fc.Arbitrary<Item> = fc.record({
  name: fc.oneof({ weight: 4, arbitrary: fileName }, { weight: 1, arbitrary: fc.constant('n'.repeat(150)) }),
  kind: fc.constantFrom('file', 'file', 'directory', 'directory', 'symlink', 'hardlink', 'fifo', 'device'),
  parent: fc.nat(50),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.constantFrom(0, 1, 65_534, 3_000_000),
  gid: fc.constantFrom(0, 42, 4_000_000_000),
  time: fc.integer({ min: 0, max: 2 * EPOCH }),
  contents: fc.uint8Array({ maxLength: 3000 }),
  attribute: fc.option(fc.uint8Array({ maxLength: 600 }), { nil: undefined }),
});

/** Makes the items below `root`; names that are taken already are left out. */
async function plant(root: string, items: readonly Item[]): Promise<void> {
  const directories = [root];
  const files: string[] = [];
  const times: { path: string; time: number }[] = [];
  for (const { name, kind, parent, ...rest } of items) {
    const path = `${directories[parent % directories.length] ?? root}/${name}`;
    const linkTarget = files[parent % Math.max(files.length, 1)];
    try {
      if (kind === 'directory') await mkdir(path);
      else if (kind === 'symlink') await symlink(`../${name}`, path);
      else if (kind === 'fifo') await run(['mkfifo', '--', path]);
      else if (kind === 'device') await run(['mknod', '--', path, 'b', '259', '70000']);
      else if (kind === 'hardlink' && linkTarget !== undefined) await link(linkTarget, path);
      else await writeFile(path, rest.contents, { flag: 'wx' });
    } catch (error) {
      if (/EEXIST|ENAMETOOLONG|File exists|too long/.test(String(error) + outputOf(error))) continue;
      throw error;
    }
    if (kind === 'directory') directories.push(path);
    if (kind === 'symlink') continue;
    if (kind === 'file') files.push(path);
    await chown(path, rest.uid, rest.gid);
    await chmod(path, rest.mode);
    if (rest.attribute !== undefined && (kind === 'file' || kind === 'directory')) {
      const value = `0x${Buffer.from(rest.attribute).toString('hex')}`;
      await run(['setfattr', '-n', 'user.ingot-ü', '-v', value, '--', path]);
    }
    times.push({ path, time: rest.time });
  }
  for (const { path, time } of times) await utimes(path, time, time);
}

function outputOf(error: unknown): string {
  return error instanceof Error && 'output' in error ? String(error.output) : '';
}

/** A tree's description with times as the archive clamps them. */
async function describeClamped(root: string): Promise<Map<string, unknown>> {
  const described = await describeTree(root);
  const directory = (0o040000).toString(8);
  return new Map(
    [...described].map(([path, file]) => [
      path,
      { ...file, mtime: file.type === directory ? EPOCH : Math.min(file.mtime, EPOCH) },
    ]),
  );
}

describe('a packed tree', () => {
  test('is what GNU tar extracts: any tree of files, links, devices, owners, modes, times, attributes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(item, { maxLength: 25 }), async (items) => {
        const tree = await freshDirectory();
        await plant(tree, items);
        const layer = await packTree(store, tree, { epoch: EPOCH, packers });
        const extracted = await extract(layer.digest);
        expect(await describeClamped(extracted)).toEqual(await describeClamped(tree));
        expect((await describeTree(extracted)).size).toBe(layer.entries);
      }),
      { numRuns: 40 },
    );
  });

  test('packs to the same digest again after extraction', async () => {
    const tree = await freshDirectory();
    await plant(tree, fc.sample(item, { numRuns: 60, seed: 7 }));
    const first = await packTree(store, tree, { epoch: EPOCH, packers });
    const second = await packTree(store, await extract(first.digest), { epoch: EPOCH, packers });
    expect(second).toEqual(first);
  });

  test('keeps file capabilities, with their null bytes', async () => {
    const tree = await freshDirectory();
    await writeFile(join(tree, 'ping'), 'binary', { mode: 0o755 });
    await run(['setcap', 'cap_net_raw,cap_net_admin+ep', join(tree, 'ping')]);
    const layer = await packTree(store, tree, { epoch: EPOCH, packers });
    const { stdout } = await run(['getcap', join(await extract(layer.digest), 'ping')]);
    expect(stdout).toMatch(/cap_net_admin,cap_net_raw=ep$/);
  });
});

test('the chunks of a tree, one over the other, are the tree, however it is divided', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 25 }), fc.nat(), async (items, seed) => {
      const tree = await freshDirectory();
      await plant(tree, items);
      const division = {
        chunks: ['rest', 'a', 'b', 'c'].map((name) => ({ name, epoch: EPOCH })),
        // Any set of chunks for each path, none included.
        chunksOf: (path: string) => {
          const bits = createHash('sha256').update(`${seed} ${path}`).digest().readUInt8();
          return [0, 1, 2, 3].filter((index) => (bits >> index) & 1);
        },
      };
      const chunks = await packChunks(store, tree, division, { epoch: EPOCH, packers });
      const target = await freshDirectory();
      for (const { digest } of chunks) await extract(digest, target);
      expect(await describeClamped(target)).toEqual(await describeClamped(tree));
    }),
    { numRuns: 25 },
  );
});

test('an overlay upper directory becomes whiteouts and opaque markers', async () => {
  const base = await freshDirectory();
  for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(base, name));
  await mkdir(join(base, 'lower/usr/lib'), { recursive: true });
  await mkdir(join(base, 'lower/etc/old'), { recursive: true });
  for (const path of ['usr/lib/gone', 'usr/lib/changed', 'usr/lib/kept', 'etc/old/a', 'etc/motd']) {
    await writeFile(join(base, 'lower', path), path);
  }
  // The mount vanishes with its private namespace.
  const script = [
    'set -eu; cd "$1"',
    'mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=off,metacopy=off merged',
    'rm merged/usr/lib/gone; echo new >merged/usr/lib/changed; chmod 0600 merged/etc/motd',
    'rm -r merged/etc/old; mkdir merged/etc/old; echo b >merged/etc/old/b',
    'rm merged/usr/lib/kept; mkdir merged/usr/lib/kept',
  ].join('\n');
  await run(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', base]);
  const layer = await packTree(store, join(base, 'upper'), { epoch: EPOCH, packers });
  const extracted = await extract(layer.digest);
  expect([...(await describeTree(extracted)).keys()]).toEqual([
    'etc',
    'etc/motd',
    'etc/old',
    'etc/old/.wh..wh..opq',
    'etc/old/b',
    'usr',
    'usr/lib',
    'usr/lib/.wh.gone',
    'usr/lib/changed',
    'usr/lib/kept',
    'usr/lib/kept/.wh..wh..opq',
  ]);
});

test('a real system folder packs and comes back the same', async () => {
  const tree = '/usr/share/doc';
  const layer = await packTree(store, tree, { epoch: EPOCH, packers });
  const extracted = await extract(layer.digest);
  expect(await describeClamped(extracted)).toEqual(await describeClamped(tree));
});
