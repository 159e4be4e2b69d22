import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { removeMachineFile, requireWritable, writeMachineFile } from './write-files.ts';

let root: string;
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'write-'));
  await mkdir(join(root, 'etc'));
  await mkdir(join(root, 'elsewhere'));
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

const write = (path: string, contents = 'new'): Promise<void> =>
  writeMachineFile(root, { path, contents: Buffer.from(contents), mode: 0o640, ...owner });

test('a file is written with its folders, and replaced', async () => {
  await write('/etc/a/b/c');
  await write('/etc/a/b/c', 'newer');
  expect(await readFile(join(root, 'etc/a/b/c'), 'utf8')).toBe('newer');
  expect((await lstat(join(root, 'etc/a/b/c'))).mode & 0o7777).toBe(0o640);
  expect((await lstat(join(root, 'etc/a'))).mode & 0o777).toBe(0o755);
  expect(await readdir(join(root, 'etc/a/b'))).toEqual(['c']);
  await removeMachineFile(root, '/etc/a/b/c');
  await removeMachineFile(root, '/etc/a/b/c');
  await removeMachineFile(root, '/etc/none/c');
  expect(await readdir(join(root, 'etc/a/b'))).toEqual([]);
});

describe('nothing is written through', () => {
  test.each([
    ['a linked folder', () => symlink('../elsewhere', join(root, 'etc/link')), '/etc/link/file'],
    ['an absolute link', () => symlink('/tmp', join(root, 'etc/link')), '/etc/link/file'],
    ['a link in place of the file', () => symlink('../elsewhere/file', join(root, 'etc/file')), '/etc/file'],
    ['a link that leads nowhere', () => symlink('gone', join(root, 'etc/file')), '/etc/file'],
    ['a file as a folder', () => writeFile(join(root, 'etc/link'), ''), '/etc/link/file'],
    ['a folder in place of the file', () => mkdir(join(root, 'etc/file')), '/etc/file'],
  ])('%s', async (_what, make, path) => {
    await make();
    const refused = expect.objectContaining({
      code: 'PROVISION_INVALID',
      message: expect.stringContaining(`${path} is not written: `) as string,
    }) as Error;
    await expect(requireWritable(root, path)).rejects.toEqual(refused);
    await expect(write(path)).rejects.toEqual(refused);
    await expect(removeMachineFile(root, path)).rejects.toEqual(refused);
    expect(await readdir(join(root, 'elsewhere'))).toEqual([]);
  });
});

test('what could be written is not written by asking', async () => {
  await requireWritable(root, '/etc/a/b');
  expect(await readdir(join(root, 'etc'))).toEqual([]);
});
