import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { renderTarEntry, type TarEntry } from '../src/build/archive/tar-header.ts';
import { TreeExtractor } from '../src/oci/extract-tree.ts';
import { TarParser } from '../src/oci/tar-parser.ts';

const TIME = 1_700_000_001;
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const plain = { ...owner, mode: 0o644, mtime: 1_600_000_000 };

let scratch: string;
let root: string;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-extract-'));
  root = join(scratch, 'root');
  await mkdir(root);
});

afterEach(async () => {
  await rm(scratch, { recursive: true });
});

function archive(entries: readonly TarEntry[], content = ''): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      if (entry.type !== 'file' || entry.size === 0) return [renderTarEntry(entry)];
      const padded = Buffer.alloc(Math.ceil(entry.size / 512) * 512);
      padded.write(content);
      return [renderTarEntry(entry), padded];
    }),
  );
}

async function extract(
  bytes: Buffer,
  undated: readonly string[] = [],
  limits = { entries: 100, bytes: 1_000_000 },
): Promise<void> {
  using extractor = new TreeExtractor(root, limits);
  const parser = new TarParser((member) => extractor.see(member));
  parser.write(bytes);
  parser.end();
  await extractor.finish(undated, TIME);
}

const file = (path: string, size = 0): TarEntry => ({ ...plain, path, type: 'file', size });
const directory = (path: string): TarEntry => ({ ...plain, mode: 0o755, path, type: 'directory' });
const link = (path: string, target: string): TarEntry => ({ ...plain, path, type: 'symlink', target });
const hardlink = (path: string, target: string): TarEntry => ({ ...plain, path, type: 'hardlink', target });

test('files, links and folders come out as they went in, with their times', async () => {
  await extract(
    archive(
      [
        directory('usr'),
        { ...file('usr/dated', 5), mode: 0o4755 },
        file('usr/made'),
        hardlink('usr/same', 'usr/dated'),
        link('usr/link', '../../etc/passwd'),
        directory('usr'),
        directory('usr/empty'),
      ],
      'hello',
    ),
    ['usr/made'],
  );
  expect(readFileSync(join(root, 'usr/dated'), 'utf8')).toBe('hello');
  const seconds = (path: string): number => lstatSync(join(root, path)).mtimeMs / 1000;
  expect(['usr', 'usr/empty', 'usr/made', 'usr/dated', 'usr/link'].map(seconds)).toEqual([
    TIME,
    TIME,
    TIME,
    plain.mtime,
    plain.mtime,
  ]);
  expect(lstatSync(join(root, 'usr/dated')).mode & 0o7777).toBe(0o4755);
  expect(lstatSync(join(root, 'usr/same')).ino).toBe(lstatSync(join(root, 'usr/dated')).ino);
  expect(await readlink(join(root, 'usr/link'))).toBe('../../etc/passwd');
});

describe('nothing outside is touched by', () => {
  const outside = (): string => join(scratch, 'outside');

  beforeEach(async () => {
    await mkdir(outside());
    await writeFile(join(outside(), 'mine'), 'mine');
  });

  afterEach(async () => {
    expect(await readdir(outside())).toEqual(['mine']);
    expect(readFileSync(join(outside(), 'mine'), 'utf8')).toBe('mine');
    expect((await readdir(scratch)).sort()).toEqual(['outside', 'root']);
  });

  test.each<readonly [string, () => readonly TarEntry[], RegExp]>([
    ['a name that climbs', () => [file('../outside/mine', 5)], /outside of its root/],
    ['a file through a link', () => [link('usr', outside()), file('usr/mine', 5)], /in no directory/],
    ['a folder through a link', () => [link('usr', outside()), directory('usr/new')], /in no directory/],
    ['a folder in place of a link', () => [link('usr', outside()), directory('usr')], /twice/],
    ['a file in place of a link', () => [link('mine', join(outside(), 'mine')), file('mine', 5)], /twice/],
    ['a link in place of a folder', () => [directory('usr'), link('usr', outside())], /twice/],
    ['a hard link out', () => [hardlink('mine', '../outside/mine'), file('mine')], /no file before it/],
    ['an absolute hard link', () => [hardlink('mine', join(outside(), 'mine'))], /no file before it/],
    ['a hard link to itself', () => [hardlink('mine', 'mine')], /no file before it/],
    ['a hard link to a folder', () => [directory('usr'), hardlink('mine', 'usr')], /no file before it/],
    ['a removal through a link', () => [link('usr', outside()), file('usr/.wh.mine')], /in no directory/],
    ['the removal of a parent', () => [directory('usr'), file('usr/.wh...')], /cannot be removed/],
    ['the removal of what it brings', () => [file('mine'), file('.wh.mine')], /cannot be removed/],
    ['a removal with contents', () => [file('.wh.mine', 5)], /is no removal/],
    [
      'a device',
      () => [{ ...plain, path: 'disk', type: 'block-device', major: 8, minor: 0 }],
      /block-device/,
    ],
    [
      'a removal in disguise',
      () => [{ ...plain, path: 'x', type: 'character-device', major: 0, minor: 0 }],
      /device/,
    ],
    ['a pipe', () => [{ ...plain, path: 'pipe', type: 'fifo' }], /is a fifo/],
    [
      'an attribute',
      () => [{ ...file('x'), xattrs: new Map([['trusted.overlay.redirect', Buffer.from('/')]]) }],
      /attribute/,
    ],
    ['an entry for the root', () => [directory('.')], /its root/],
    ['more bytes than said', () => [file('bomb', 2_000_000)], /more than it says/],
    [
      'more entries than said',
      () => Array.from({ length: 101 }, (_, at) => file(`f${at}`)),
      /more than it says/,
    ],
  ])('%s', async (_name, entries, complaint) => {
    await expect(extract(archive(entries(), 'yours'))).rejects.toThrow(complaint);
  });

  test('an absolute name', async () => {
    await expect(extract(archive([file(join(outside(), 'mine'), 5)], 'yours'))).rejects.toThrow(
      /in no directory/,
    );
  });

  test('a time for what the archive does not have', async () => {
    await symlink(join(outside(), 'mine'), join(root, 'planted'));
    await expect(extract(archive([directory('usr')]), ['planted'])).rejects.toThrow(/does not have/);
  });

  test('a file that stands there already', async () => {
    await symlink(join(outside(), 'mine'), join(root, 'planted'));
    await expect(extract(archive([file('planted', 5)], 'yours'))).rejects.toThrow(/EEXIST/);
    expect(readdirSync(root)).toEqual(['planted']);
  });
});
