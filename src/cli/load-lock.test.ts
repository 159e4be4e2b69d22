import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { modulesFrom } from '../../test/support/modules-from.ts';
import { LOCK_CODE, loadLock } from './load-lock.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-lock-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('what is no file of bounded size is not read at all', async () => {
  const fifo = join(folder, 'fifo');
  await run(['mkfifo', fifo]);
  for (const path of ['/dev/zero', fifo, folder, join(folder, 'nothing')]) {
    await expect(loadLock(path)).rejects.toMatchObject({
      code: 'LOCK_MISSING',
      hint: '`ingot lock FILE` makes it',
    });
  }
  const large = join(folder, 'large.lock.yaml');
  await writeFile(large, ' '.repeat(2 * 1024 * 1024));
  await expect(loadLock(large)).rejects.toMatchObject({ code: 'LOCK_INVALID' });
});

test('the code that a kept lock depends on is all named', async () => {
  const modules = await modulesFrom(join(import.meta.dirname, '../resolve/lock-text.ts'));
  expect(modules.size).toBeGreaterThan(8);
  const isNamed = (file: string): boolean =>
    LOCK_CODE.some((place) => file === place || file.startsWith(`${place}/`));
  expect([...modules].filter((file) => !isNamed(file))).toEqual([]);
});
