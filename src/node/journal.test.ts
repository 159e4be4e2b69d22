import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { Journal, parseJournal, updatesIn } from './journal.ts';

let folder: string;
let journal: Journal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-journal-'));
  journal = new Journal(join(folder, 'state/journal.jsonl'), () => new Date('2026-11-22T10:00:00Z'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('a journal that is not there is empty, and one entry makes it', async () => {
  expect(await journal.read()).toEqual({ entries: [], damaged: 0 });
  await journal.append({ update: 'a', event: 'started', version: '1' });
  expect(await journal.read()).toEqual({
    entries: [{ at: '2026-11-22T10:00:00.000Z', update: 'a', event: 'started', version: '1' }],
    damaged: 0,
  });
});

test('a line that was cut short takes no other with it', async () => {
  await journal.append({ update: 'a', event: 'started' });
  const whole = await readFile(journal.path, 'utf8');
  for (let cut = 1; cut < whole.length; cut += 1) {
    await writeFile(journal.path, `${whole}${whole.slice(0, cut)}`);
    await journal.append({ update: 'a', event: 'staged' });
    const { entries } = await journal.read();
    // Cut before its line end alone, the entry is whole.
    const isWhole = cut === whole.length - 1;
    expect(entries.map(({ event }) => event)).toEqual(
      isWhole ? ['started', 'started', 'staged'] : ['started', 'staged'],
    );
  }
});

test('garbage is counted, whatever it is', async () => {
  await journal.append({ update: 'a', event: 'started' });
  await appendFile(
    journal.path,
    Buffer.from([0, 0xff, 0xfe, 0x0a, 0x7b, 0x7d, 0x0a, 0x6e, 0x75, 0x6c, 0x6c, 0x0a]),
  );
  await appendFile(journal.path, '{"at":"x","update":"a","event":"exploded"}\n');
  await journal.append({ update: 'a', event: 'failed', reason: 'r' });
  const { entries, damaged } = await journal.read();
  expect(entries.map(({ event }) => event)).toEqual(['started', 'failed']);
  expect(damaged).toBe(4);
});

test('a journal does not grow for ever, and keeps what is newest in whole lines', async () => {
  await journal.append({ update: 'old', event: 'started' });
  await appendFile(journal.path, `${'x'.repeat(700)}\n`.repeat(1500));
  await journal.append({ update: 'new', event: 'started' });
  expect((await stat(journal.path)).size).toBeLessThan(600 * 1024);
  expect((await readFile(journal.path, 'utf8')).split('\n')[0]).toMatch(/^x{700}$/);
  expect((await journal.read()).entries.map(({ update }) => update)).toEqual(['new']);
});

test('updates are told newest first, with how each ended', () => {
  const line = (fields: object): string => JSON.stringify({ at: '2026-11-22T10:00:00Z', ...fields });
  const digest = `sha256:${'a'.repeat(64)}`;
  const { entries } = parseJournal(
    [
      line({ update: '1', event: 'started', reference: 'r', digest, version: '1' }),
      line({ update: '2', event: 'refused', reference: 'r', reason: 'older' }),
      line({ update: '1', event: 'failed', reason: 'no space', code: 'DISK_FULL' }),
    ].join('\n'),
  );
  expect(updatesIn(entries)).toMatchObject([
    { update: '2', outcome: 'refused', reason: 'older' },
    { update: '1', outcome: 'failed', reason: 'no space', digest, version: '1' },
  ]);
});
