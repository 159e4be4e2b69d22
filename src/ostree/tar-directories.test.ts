import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { renderPaxRecord, renderTarEntry, type TarEntry } from '../build/archive/tar-header.ts';
import { run } from '../proc/run.ts';
import { TarDirectoryReader } from './tar-directories.ts';

const LONG = 'a-rather-long-folder-name-to-leave-the-old-limits'.repeat(2);
let scratch: string;
let tree: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-tar-'));
  tree = join(scratch, 'tree');
  await mkdir(join(tree, LONG, LONG, 'grüße'), { recursive: true });
  await mkdir(join(tree, 'var/tmp'), { recursive: true });
  await chmod(join(tree, 'var/tmp'), 0o1777);
  await chmod(join(tree, LONG, LONG, 'grüße'), 0o2750);
  await writeFile(join(tree, 'var/data'), 'x'.repeat(5000));
  await writeFile(join(tree, LONG, 'file'), '');
  await symlink('data', join(tree, 'var/link'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true });
});

async function pack(format: string, options: readonly string[] = []): Promise<string> {
  const file = join(scratch, `${format}.tar`);
  await run(['tar', '-C', tree, `--format=${format}`, ...options, '-cf', file, '.']);
  return file;
}

describe.each(['gnu', 'pax', 'ustar'])('%s archives', (format) => {
  test('give modes and owners, whatever the names and however the bytes arrive', async () => {
    // ustar ends at 256 bytes of name and seven octal digits of owner.
    const options =
      format === 'ustar' ? [`--exclude=./${LONG}/${LONG}`] : ['--owner=:3000000', '--group=:4000000'];
    const file = await pack(format, options);
    for (const highWaterMark of [512, 700, 65536]) {
      const reader = new TarDirectoryReader();
      await pipeline(createReadStream(file, { highWaterMark }), reader);
      const headers = new Map(reader.directories.map(({ path, header }) => [path, header]));
      expect(headers.get('var/tmp')?.mode).toBe(0o1777);
      expect([...headers.keys()]).not.toContain('var/data');
      expect(reader.others).toContain('var/data');
      if (format === 'ustar') continue;
      expect(headers.get(`${LONG}/${LONG}/grüße`)).toEqual({
        mode: 0o2750,
        uid: 3_000_000,
        gid: 4_000_000,
      });
      expect(headers.get('')).toMatchObject({ uid: 3_000_000 });
    }
  });
});

test('a damaged or truncated archive is an error', async () => {
  const file = await pack('pax');
  const truncated = createReadStream(file, { end: 3000 });
  await expect(pipeline(truncated, new TarDirectoryReader())).rejects.toThrow(/middle/);
  const nonsense = Readable.from([Buffer.alloc(512, 'x')]);
  await expect(pipeline(nonsense, new TarDirectoryReader())).rejects.toThrow(/checksum/);
});

describe('a hostile archive is refused', () => {
  const header = { mode: 0o777, uid: 0, gid: 0, mtime: 0 };
  const entry = (fields: Partial<TarEntry>): Buffer =>
    renderTarEntry({ path: 'etc', type: 'directory', ...header, ...fields } as TarEntry);
  /** An extended header with one record, before a directory. */
  const extended = (key: string, value: string): Buffer => {
    const record = renderPaxRecord(key, value);
    const start = entryOfType('x', record.length);
    return Buffer.concat([start, record, Buffer.alloc(512 - record.length), entry({})]);
  };

  test.each([
    ['a path that climbs', entry({ path: '../../etc' }), /outside of its root/],
    ['a path that climbs, in an extended header', extended('path', 'usr/../../etc'), /outside of its root/],
    ['an owner that is no number', extended('uid', 'root'), /owner that cannot be/],
    ['a negative owner', extended('gid', '-1'), /owner that cannot be/],
    ['a size that is no number', extended('size', 'much'), /no sensible size/],
    ['a negative size', extended('size', '-512'), /no sensible size/],
    ['an endless extended header', entryOfType('x', 8 * 1024 ** 3 - 1), /extended header .* takes/],
    ['an endless long name', entryOfType('L', 2 ** 31), /extended header .* takes/],
  ])('%s', async (_what, archive, expected) => {
    const reader = new TarDirectoryReader();
    await expect(pipeline(Readable.from([archive]), reader)).rejects.toThrow(expected);
  });

  function entryOfType(type: string, size: number): Buffer {
    const start = Buffer.from(entry({ type: 'file', path: 'x', size }));
    start.write(type, 156, 'latin1');
    start.write('        ', 148, 'latin1');
    const sum = start.reduce((total, byte) => total + byte, 0);
    start.write(`${sum.toString(8).padStart(6, '0')}\0`, 148, 'latin1');
    return start;
  }
});
