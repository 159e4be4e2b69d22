import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { digestOf } from '../../digest.ts';
import { Packers, type PackJob } from './packers.ts';
import type { TreeEntry } from './tree-walk.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot packers-ü-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function jobOf(name: string): PackJob {
  const common = { mode: 0o755, uid: 0, gid: 0, mtime: 7 };
  const entries: TreeEntry[] = [
    { entry: { ...common, path: name, type: 'directory' }, dated: false },
    {
      entry: { ...common, path: `${name}/link`, type: 'symlink', target: 'x', xattrs: new Map([['user.a', Buffer.from([0, 255])]]) },
      dated: true,
    },
  ];
  return { entries, time: 5, level: 3, path: join(folder, name) };
}

describe('packers', () => {
  test('pack more chunks than there are threads, each to its own blob', async () => {
    await using packers = new Packers(2);
    const names = ['a', 'b', 'c', 'd', 'e'];
    const blobs = await Promise.all(names.map((name) => packers.pack(jobOf(name))));
    for (const [at, name] of names.entries()) {
      const bytes = await readFile(join(folder, name));
      const plain = zstdDecompressSync(bytes);
      expect(blobs[at]).toEqual({ diffId: digestOf(plain), digest: digestOf(bytes), size: bytes.length, uncompressedSize: plain.length });
      expect(plain.toString('latin1', 0, 3)).toBe(`${name}/\0`);
      expect(plain.includes('SCHILY.xattr.user.a=\0\xff\n', 0, 'latin1')).toBe(true);
    }
  });

  test('tell what the system says, and pack on', async () => {
    await using packers = new Packers(1);
    await writeFile(join(folder, 'taken'), 'kept');
    await expect(packers.pack(jobOf('taken'))).rejects.toMatchObject({ code: 'EEXIST' });
    expect(await readFile(join(folder, 'taken'), 'utf8')).toBe('kept');
    expect((await packers.pack(jobOf('free'))).size).toBeGreaterThan(0);
  });

  test('an abort ends those who wait too, and nobody else', async () => {
    await using packers = new Packers(1);
    const signal = AbortSignal.abort();
    const aborted = [jobOf('one'), jobOf('two')].map((job) => packers.pack(job, { signal }));
    for (const packing of aborted) await expect(packing).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect((await packers.pack(jobOf('other'))).size).toBeGreaterThan(0);
  });
});
