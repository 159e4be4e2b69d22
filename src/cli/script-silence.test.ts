import { expect, test } from 'vitest';

import { scriptSilenceMs } from './script-silence.ts';

test.each([
  ['45m', 45 * 60_000],
  ['5s', 5000],
  ['2h', 7_200_000],
  ['', undefined],
])('%j is %s milliseconds', (text, expected) => {
  expect(scriptSilenceMs({ INGOT_SCRIPT_SILENCE: text })).toBe(expected);
  expect(scriptSilenceMs({})).toBeUndefined();
});

test.each(['0m', '-1m', '1', '1.5h', '1 m', 'm', '1d', '597h', '999999h'])('%j is no time', (text) => {
  expect(() => scriptSilenceMs({ INGOT_SCRIPT_SILENCE: text })).toThrow(
    expect.objectContaining({ code: 'ENVIRONMENT' }) as Error,
  );
});
