import { createReadStream } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { compareArchives, type ArchiveDifference } from './compare-archives.ts';

const TIME = 1_700_000_000;
let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot compare ä '));
  await plant('left');
  await plant('right');
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

const inside = (side: string, path: string): string => join(scratch, side, path);

async function plant(side: string): Promise<void> {
  await mkdir(inside(side, 'etc/a'), { recursive: true });
  await mkdir(inside(side, 'etc/a.d'));
  await writeFile(inside(side, 'etc/a/deep'), 'deep\n');
  await writeFile(inside(side, 'etc/a-file'), 'built at 1700000000\n');
  await writeFile(inside(side, 'etc/big'), Buffer.alloc(700_000, 'abcdefghij'));
  await symlink('a-file', inside(side, 'etc/link'));
  for (const path of ['a/deep', 'a-file', 'big']) await utimes(inside(side, `etc/${path}`), TIME, TIME);
}

async function differences(): Promise<ArchiveDifference[]> {
  const archives: string[] = [];
  for (const side of ['left', 'right']) {
    const archive = inside('', `${side}.tar`);
    const options = [
      '--sort=name',
      '--format=pax',
      '--xattrs',
      '--xattrs-include=*',
      '--mtime',
      '@1700000000',
    ];
    const clamp = ['--clamp-mtime', '--pax-option=delete=atime,delete=ctime'];
    await run(['tar', '-C', inside(side, ''), ...options, ...clamp, '-cf', archive, 'etc']);
    archives.push(archive);
  }
  const [left = '', right = ''] = archives;
  const found: ArchiveDifference[] = [];
  const open = (path: string): AsyncIterable<Buffer> => createReadStream(path, { highWaterMark: 10_007 });
  for await (const difference of compareArchives(open(left), open(right))) found.push(difference);
  return found;
}

test('equal archives differ in nothing', async () => {
  expect(await differences()).toEqual([]);
});

describe('one difference is told as what it is', () => {
  const seconds = (time: number): string => new Date(time * 1000).toISOString().replace('.000Z', 'Z');
  test.each<[string, (path: string) => Promise<unknown>, string, Partial<ArchiveDifference>]>([
    [
      'a byte',
      (path) => writeFile(path, 'built at 1700000001\n').then(() => utimes(path, TIME, TIME)),
      'etc/a-file',
      {
        what: 'content',
        offset: 18,
        left: String.raw`0x30 in "at 170000000[0]\x0a"`,
        right: String.raw`0x31 in "at 170000000[1]\x0a"`,
      },
    ],
    ['a mode', (path) => chmod(path, 0o4755), 'etc/a-file', { what: 'mode', left: '0644', right: '4755' }],
    [
      'an owner',
      (path) => chown(path, 7, 3_000_000),
      'etc/a-file',
      { what: 'owner', left: '0:0', right: '7:3000000' },
    ],
    [
      'a time',
      (path) => utimes(path, TIME - 5, TIME - 5),
      'etc/a-file',
      { what: 'mtime', left: seconds(TIME), right: seconds(TIME - 5) },
    ],
    [
      'a target',
      (path) => rm(path).then(() => symlink('elsewhere', path)),
      'etc/link',
      { what: 'target', left: 'a-file', right: 'elsewhere' },
    ],
    [
      'an attribute',
      (path) => run(['setfattr', '-n', 'user.note', '-v', 'x', path]),
      'etc/big',
      { what: 'attribute user.note', left: 'none', right: '78' },
    ],
    ['absence', (path) => rm(path), 'etc/a-file', { what: 'presence', left: 'a file', right: 'nothing' }],
    [
      'one more beside what sorts around it',
      (path) => mkdir(path),
      'etc/a b',
      { what: 'presence', left: 'nothing', right: 'a directory' },
    ],
  ])('%s', async (_name, change, path, expected) => {
    await change(inside('right', path));
    expect(await differences()).toEqual([{ path, ...expected }]);
  });

  test('a type, with all that goes with it', async () => {
    await rm(inside('right', 'etc/link'));
    await writeFile(inside('right', 'etc/link'), 'x');
    const found = await differences();
    expect(found.map(({ path, what }) => `${path} ${what}`)).toEqual(
      ['type', 'mode', 'size', 'target', 'content'].map((what) => `etc/link ${what}`),
    );
  });

  test('content that goes on: its size, and where the other ends', async () => {
    await writeFile(inside('right', 'etc/big'), Buffer.alloc(700_001, 'abcdefghij'));
    await utimes(inside('right', 'etc/big'), TIME, TIME);
    expect(await differences()).toEqual([
      { path: 'etc/big', what: 'size', left: '700000 bytes', right: '700001 bytes' },
      {
        path: 'etc/big',
        what: 'content',
        offset: 700_000,
        left: 'no byte: the content ends there',
        right: '0x61 in "ijabcdefghij[a]"',
      },
    ]);
  });
});

test('goes on after a difference, and names every path', async () => {
  await chmod(inside('right', 'etc/a'), 0o700);
  await rm(inside('left', 'etc/a/deep'));
  await writeFile(inside('right', 'etc/a.d/new'), '');
  await writeFile(inside('right', 'etc/big'), 'short');
  expect((await differences()).map(({ path, what }) => `${path} ${what}`)).toEqual([
    'etc/a mode',
    'etc/a/deep presence',
    'etc/a.d/new presence',
    'etc/big size',
    'etc/big content',
  ]);
});

test('takes no memory for contents: half a gibibyte against another', async () => {
  const size = 512 * 1024 * 1024;
  const archive = inside('', 'header.tar');
  await run(['truncate', '--size', String(size), inside('left', 'etc/big')]);
  await run(['sh', '-c', 'tar -C "$1" -cf - etc/big | head -c 512 >"$2"', 'sh', inside('left', ''), archive]);
  async function* stream(last: number): AsyncGenerator<Buffer> {
    for await (const chunk of createReadStream(archive)) yield chunk as Buffer;
    const chunk = Buffer.alloc(1024 * 1024);
    for (let sent = chunk.length; sent < size; sent += chunk.length) yield chunk;
    yield Buffer.concat([chunk.subarray(1), Buffer.of(last)]);
    yield Buffer.alloc(1024);
  }
  const before = process.memoryUsage().rss;
  let most = 0;
  const found: ArchiveDifference[] = [];
  const watched = setInterval(() => (most = Math.max(most, process.memoryUsage().rss - before)), 10);
  for await (const difference of compareArchives(stream(0), stream(1))) found.push(difference);
  clearInterval(watched);
  expect(found).toMatchObject([{ path: 'etc/big', what: 'content', offset: size - 1 }]);
  expect(most).toBeLessThan(100 * 1024 * 1024);
});
