import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';

import { cleanConsoleText, ConsoleLog } from './console-log.ts';

test('control sequences go, text stays', () => {
  const line =
    '\u001b[0;1;31m[FAILED]\u001b[0m Failed \u001b]0;title\u0007to start \u001b]8;;file:///x\u001b\\ssh\u001b]8;;\u001b\\.\r';
  expect(cleanConsoleText(line)).toBe('[FAILED] Failed to start ssh.');
  expect(cleanConsoleText('\u001b[?25h\u001b[2J\u001b[01;01H\u001b=\u001b(BBdsDxe: loading')).toBe(
    'BdsDxe: loading',
  );
  expect(cleanConsoleText('tab\tand grüße stay')).toBe('tab\tand grüße stay');
});

test('lines carry the second they came in, and can be waited for', async () => {
  let now = 1;
  const log = new ConsoleLog(() => now);
  const stream = new PassThrough();
  log.follow(stream);
  stream.write('first\r\n\r\n');
  const waited = log.waitFor(/Linux version \d/);
  now = 12.34;
  stream.write('[    0.000000] Linux ver');
  stream.write('sion 6.12\nlast\n');
  expect(await waited).toEqual({ seconds: 12.34, text: '[    0.000000] Linux version 6.12' });
  expect((await log.waitFor(/first/)).seconds).toBe(1);
  expect(log.find(/panic/)).toBeUndefined();
  expect(log.tail(2)).toBe('[  12.3] [    0.000000] Linux version 6.12\n[  12.3] last');
});
