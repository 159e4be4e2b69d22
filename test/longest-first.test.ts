import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

import { LONGEST, longestFirst } from './support/longest-first.ts';

const FOLDERS = ['test/integration', 'src/resolve/fit'];

test('every file that is put first is there', () => {
  const root = resolve(import.meta.dirname, '..');
  const gone = LONGEST.filter((name) => !FOLDERS.some((folder) => existsSync(join(root, folder, name))));
  expect(gone).toEqual([]);
});

test('the longest come first, in their order, and the others after them', () => {
  const files = ['b', 'installer', 'a', 'vm'].map((name) => `/tests/${name}.test.ts`);
  expect(longestFirst(files, (file) => file)).toEqual(
    ['vm', 'installer', 'b', 'a'].map((name) => `/tests/${name}.test.ts`),
  );
});
