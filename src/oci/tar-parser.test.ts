import { createHash } from 'node:crypto';
import { link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { TarParser, type TarMember } from './tar-parser.ts';

const LONG = 'a-rather-long-name-to-leave-the-old-limits'.repeat(3);
const CONTENT = Buffer.from('some bytes, more than a block of them\n'.repeat(40));
let scratch: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-tar-'));
  const tree = join(scratch, 'tree');
  await mkdir(tree);
  await writeFile(join(tree, 'a-file'), CONTENT, { mode: 0o640 });
  await link(join(tree, 'a-file'), join(tree, 'b-hardlink'));
  await symlink(LONG, join(tree, 'c-symlink'));
  await writeFile(join(tree, LONG), '');
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

test.each(['gnu', 'pax'])(
  '%s: types, targets, long names and contents, however the bytes arrive',
  async (format) => {
    const file = join(scratch, `${format}.tar`);
    await run(['tar', '-C', join(scratch, 'tree'), '--sort=name', `--format=${format}`, '-cf', file, '.']);
    const archive = await readFile(file);
    for (const step of [1, 511, 513, archive.length]) {
      const members = new Map<string, TarMember>();
      const hashes = new Map<string, string>();
      const parser = new TarParser((member) => {
        members.set(member.path, member);
        const hash = createHash('sha256');
        return {
          write: (bytes) => hash.update(bytes),
          end: () => hashes.set(member.path, hash.digest('hex')),
        };
      });
      for (let at = 0; at < archive.length; at += step) parser.write(archive.subarray(at, at + step));
      parser.end();
      const type = (path: string): string | undefined => members.get(path)?.type;
      expect([...members.keys()].sort()).toEqual(['', 'a-file', 'b-hardlink', 'c-symlink', LONG].sort());
      expect(['', 'a-file', 'b-hardlink', 'c-symlink', LONG].map(type)).toEqual([
        'directory',
        'file',
        'hardlink',
        'symlink',
        'file',
      ]);
      expect(members.get('a-file')).toMatchObject({ mode: 0o640, size: CONTENT.length });
      expect(members.get('b-hardlink')?.target).toBe('./a-file');
      expect(members.get('c-symlink')?.target).toBe(LONG);
      expect(hashes.get('a-file')).toBe(createHash('sha256').update(CONTENT).digest('hex'));
      expect(hashes.get(LONG)).toBe(createHash('sha256').digest('hex'));
    }
  },
);
