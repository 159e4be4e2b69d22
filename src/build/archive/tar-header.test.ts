import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { run } from '../../proc/run.ts';
import { paddingOf, renderPaxRecord, renderTarEntry, type TarEntry } from './tar-header.ts';

const FILE = { path: 'a', type: 'file', size: 0, mode: 0o644, uid: 0, gid: 0, mtime: 0 } as const;

describe('renderPaxRecord', () => {
  test('the length counts the whole record, also around powers of ten', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.uint8Array({ maxLength: 1200 }), (key, value) => {
        const record = renderPaxRecord(key, Buffer.from(value));
        expect(Number.parseInt(record.toString('latin1'), 10)).toBe(record.length);
        expect(record.at(-1)).toBe(10);
      }),
    );
    for (let size = 80; size < 110; size++) {
      const record = renderPaxRecord('path', 'x'.repeat(size));
      expect(Number.parseInt(record.toString('latin1'), 10)).toBe(record.length);
    }
  });
});

describe('renderTarEntry', () => {
  test('is whole blocks, and a plain header where that is enough', () => {
    expect(renderTarEntry(FILE)).toHaveLength(512);
    expect(renderTarEntry({ ...FILE, path: 'x'.repeat(100) })).toHaveLength(512);
    expect(renderTarEntry({ ...FILE, path: 'x'.repeat(101) })).toHaveLength(3 * 512);
    expect(renderTarEntry({ ...FILE, path: 'ü' })).toHaveLength(3 * 512);
    expect(renderTarEntry({ ...FILE, xattrs: new Map([['user.big', Buffer.alloc(4000)]]) })).toHaveLength(
      10 * 512,
    );
  });

  test('GNU tar reads what plain fields cannot hold', async () => {
    const long = `${'long/'.repeat(60)}ü`;
    const entries: TarEntry[] = [
      { ...FILE, path: long, mode: 0o4755, uid: 3_000_000_000, gid: 2_500_000, mtime: -7 },
      { ...FILE, type: 'symlink', path: 'link', target: 'é'.repeat(120) },
      { ...FILE, type: 'directory', path: 'd'.repeat(100), mode: 0o1777 },
      { ...FILE, type: 'character-device', path: 'null', major: 1, minor: 3 },
      { ...FILE, path: 'huge', size: 9 * 2 ** 30 },
    ];
    const archive = Buffer.concat(entries.map(renderTarEntry));
    const { stdout } = await run(
      ['tar', '-tv', '--numeric-owner', '--full-time', '--quoting-style=literal', '-f', '-'],
      { stdin: archive, okExitCodes: [2] }, // the contents of `huge` are missing
    );
    const lines = stdout.split('\n').map((line) => line.replaceAll(/ +/g, ' '));
    expect(lines).toEqual([
      `-rwsr-xr-x 3000000000/2500000 0 1969-12-31 23:59:53 ${long}`,
      `lrw-r--r-- 0/0 0 1970-01-01 00:00:00 link -> ${'é'.repeat(120)}`,
      `drwxrwxrwt 0/0 0 1970-01-01 00:00:00 ${'d'.repeat(100)}/`,
      'crw-r--r-- 0/0 1,3 1970-01-01 00:00:00 null',
      `-rw-r--r-- 0/0 ${9 * 2 ** 30} 1970-01-01 00:00:00 huge`,
    ]);
  });

  test('attributes come in one order, whatever order they are given in', () => {
    const one = new Map([
      ['user.a', Buffer.from([0, 10, 255])],
      ['security.capability', Buffer.from([1, 0, 0, 2])],
    ]);
    const other = new Map([...one].reverse());
    expect(renderTarEntry({ ...FILE, xattrs: one })).toEqual(renderTarEntry({ ...FILE, xattrs: other }));
    expect(renderTarEntry({ ...FILE, xattrs: one }).includes(Buffer.from([0, 10, 255, 10]))).toBe(true);
  });

  test('refuses attribute names that readers understand differently', () => {
    const xattrs = new Map([['user.k=1', Buffer.alloc(0)]]);
    expect(() => renderTarEntry({ ...FILE, xattrs })).toThrow(
      expect.objectContaining({ code: 'BUILD_FAILED' }),
    );
  });

  test('padding fills the last block', () => {
    fc.assert(
      fc.property(fc.nat(), (size) => {
        expect((size + paddingOf(size)) % 512).toBe(0);
        expect(paddingOf(size)).toBeLessThan(512);
      }),
    );
  });
});
