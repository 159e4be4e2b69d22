import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { requireWritableFolder } from './writable-place.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-place-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

it('takes a folder that is there, or can be made, and leaves nothing in it', async () => {
  await mkdir(join(folder, 'there'));
  await requireWritableFolder(join(folder, 'there'));
  await requireWritableFolder(join(folder, 'not/yet/there'));
  expect(await readdir(folder)).toEqual(['there']);
  expect(await readdir(join(folder, 'there'))).toEqual([]);
});

it.each(['file', 'file/below', 'dangling', 'dangling/below', 'x'.repeat(300)])('refuses %s', async (name) => {
  await writeFile(join(folder, 'file'), '');
  await symlink('nowhere', join(folder, 'dangling'));
  await expect(requireWritableFolder(join(folder, name))).rejects.toMatchObject({ code: 'USAGE' });
});

it.each(['/proc/ingot', '/proc/ingot/below', '/proc/self/fd'])(
  'refuses %s, where no name can be made',
  async (path) => {
    await expect(requireWritableFolder(path)).rejects.toMatchObject({ code: 'USAGE' });
  },
);
