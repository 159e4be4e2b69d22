import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { readInitramfs } from '../../build/lints/cpio.ts';
import { renderNewc } from './newc.ts';
import { foldersOf } from './programs.ts';

test('an archive is read as it was written, whatever the lengths', async () => {
  const contents = ['', 'a', 'ab', 'abc', 'abcd', 'abcde'];
  const files = contents.map((text, index) => ({
    path: `usr/lib/${'x'.repeat(index + 1)}/file`,
    contents: Buffer.from(text),
    mode: 0o755,
  }));
  const folders = foldersOf(files.map(({ path }) => path));
  expect(folders.map(({ path }) => path).slice(0, 3)).toEqual(['usr', 'usr/lib', 'usr/lib/x']);
  const folder = await mkdtemp(join(tmpdir(), 'newc-'));
  try {
    const path = join(folder, 'archive');
    await writeFile(path, Buffer.concat([...renderNewc([...folders, ...files])]));
    const read = await Array.fromAsync(readInitramfs(path, () => true));
    expect(read.filter(({ mode }) => mode === 0o100755).map((entry) => entry.contents?.toString())).toEqual(
      contents,
    );
    expect(read.find((entry) => entry.path === 'usr/lib')?.mode).toBe(0o040755);
  } finally {
    await rm(folder, { recursive: true });
  }
});
