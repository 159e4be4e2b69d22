import { expect, test } from 'vitest';

import { isWithoutLogind, parseInhibitors } from './busctl.ts';

/** In the form of org.freedesktop.login1(5) as busctl(1) prints it; written down, not recorded. */
const REPLY =
  '{"type":"a(ssssuu)","data":[[["shutdown:sleep","backup","a backup runs","block",0,4321],' +
  '["sleep","UPower","Pause device polling","delay",0,800]]]}';

test('locks are read', () => {
  expect(parseInhibitors(REPLY)).toEqual([
    { what: ['shutdown', 'sleep'], who: 'backup', why: 'a backup runs', mode: 'block' },
    { what: ['sleep'], who: 'UPower', why: 'Pause device polling', mode: 'delay' },
  ]);
  expect(parseInhibitors('{"type":"a(ssssuu)","data":[[]]}')).toEqual([]);
});

test.each(['', '{}', '{"type":"s","data":["x"]}', '{"type":"a(ssssuu)","data":[[["shutdown"]]]}'])(
  '%s is no list of locks',
  (text) => {
    expect(parseInhibitors(text)).toBeUndefined();
  },
);

test.each([
  // systemd 252 and 257, without a bus.
  ['Failed to connect to bus: No such file or directory', true],
  ['Failed to connect to system scope bus via local transport: No such file or directory', true],
  ['Failed to set bus address: No such file or directory', true],
  ['Call failed: The name org.freedesktop.login1 was not provided by any .service files', true],
  ['Call failed: Connection timed out', false],
])('%s', (stderr, expected) => {
  expect(isWithoutLogind(stderr)).toBe(expected);
});
