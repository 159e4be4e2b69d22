import { lstatSync, lutimesSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { dateByLock } from './lagging-clock.ts';
import { settleTimes } from './tree-times.ts';

const LOCK = 1_700_000_000;
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ingot-clock-'));
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

/** Times of a tree with a file of a package and what a build by a clock that says `now` made. */
function times(now: number): Record<string, number> {
  const tree = join(root, String(now));
  mkdirSync(join(tree, 'folder'), { recursive: true });
  writeFileSync(join(tree, 'packaged'), '');
  lutimesSync(join(tree, 'packaged'), 1000, 1000);
  writeFileSync(join(tree, 'folder/made'), '');
  symlinkSync('made', join(tree, 'folder/link'));
  for (const path of ['folder/made', 'folder/link', 'folder']) lutimesSync(join(tree, path), now + 1, now + 1);
  dateByLock(tree, now * 1000, LOCK);
  settleTimes(tree, LOCK);
  return Object.fromEntries(
    ['packaged', 'folder', 'folder/made', 'folder/link'].map((path) => [
      path,
      lstatSync(join(tree, path)).mtimeMs / 1000,
    ]),
  );
}

it('gives a tree the same times whether the clock is ahead of the lock or behind it', () => {
  const right = times(LOCK + 100);
  expect(right).toEqual({ packaged: 1000, folder: LOCK + 1, 'folder/made': LOCK + 1, 'folder/link': LOCK + 1 });
  expect(times(LOCK - 86_400)).toEqual(right);
  expect(times(LOCK - 5)).toEqual(right);
});
