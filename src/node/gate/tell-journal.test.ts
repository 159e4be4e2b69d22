import { expect, test } from 'vitest';

import { isEmulated } from '../../tools/detect-virt.ts';
import { renderJournalEntry } from '../../tools/logger.ts';
import type { LastVerdict } from './last-verdict.ts';
import { CHECK_MESSAGE_ID, journalRecords, VERDICT_MESSAGE_ID } from './tell-journal.ts';

const VERDICT: LastVerdict = {
  at: '2026-01-01T00:00:00.000Z',
  deployment: 'abc.0',
  boot: 'b',
  healthy: false,
  checks: [
    {
      name: 'well',
      source: 'image',
      required: true,
      healthy: true,
      seconds: 1,
      timedOut: false,
      exitCode: 0,
      output: '',
    },
    {
      name: 'late',
      source: 'script',
      required: false,
      healthy: false,
      seconds: 300,
      timedOut: true,
      output: 'a\nb',
    },
    {
      name: 'bad',
      source: 'gpu',
      required: true,
      healthy: false,
      seconds: 2,
      timedOut: false,
      exitCode: 3,
      output: 'x',
    },
  ],
};

test('each check is a record, and the verdict is the last', () => {
  const records = journalRecords(VERDICT);
  expect(records.map(({ MESSAGE, PRIORITY }) => [MESSAGE, PRIORITY])).toEqual([
    ['check well passed', 6],
    ['check late took too long', 4],
    ['check bad exited with 3', 3],
    ['this system is not healthy: bad', 3],
  ]);
  expect(records.map(({ MESSAGE_ID }) => MESSAGE_ID)).toEqual([
    ...Array<string>(3).fill(CHECK_MESSAGE_ID),
    VERDICT_MESSAGE_ID,
  ]);
  for (const id of [CHECK_MESSAGE_ID, VERDICT_MESSAGE_ID]) expect(id).toMatch(/^[0-9a-f]{32}$/);
});

test('an entry is one field a line, whatever a check says', () => {
  const text = renderJournalEntry(journalRecords(VERDICT)[1] ?? {});
  for (const line of text.trimEnd().split('\n')) expect(line).toMatch(/^[A-Z_]+=/);
  expect(text).toContain('GATE_OUTPUT=a\nGATE_OUTPUT=b\n');
  expect(text).not.toContain('GATE_EXIT_CODE');
});

test.each([
  ['qemu\n', true],
  ['kvm\n', false],
  ['none\n', false],
  ['vmware', false],
])('%j: emulated %s', (stdout, expected) => {
  expect(isEmulated(stdout)).toBe(expected);
});
