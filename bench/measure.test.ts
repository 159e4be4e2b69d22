import { expect, test } from 'vitest';

import { parseProcessorSeconds } from './control-group.ts';
import { parseResidentBytes, residentBytes } from './measure.ts';

test('reads the processor time of a control group', () => {
  expect(parseProcessorSeconds('usage_usec 2354284\nuser_usec 2098648\nsystem_usec 255636\n')).toBe(2.354284);
});

test('refuses what is no processor time', () => {
  expect(() => parseProcessorSeconds('user_usec 2098648\n')).toThrow(SyntaxError);
});

test('reads what a process has in memory', () => {
  expect(parseResidentBytes('Name:\tnode\nVmHWM:\t  140004 kB\nVmRSS:\t  120776 kB\nRssAnon:\t 1 kB\n')).toBe(
    120776 * 1024,
  );
});

test('a zombie has no memory', () => {
  expect(parseResidentBytes('Name:\tsh\nState:\tZ (zombie)\nThreads:\t1\n')).toBe(0);
});

test('sums processes, and passes over those that have ended', () => {
  const own = residentBytes([process.pid]);
  expect(own).toBeGreaterThan(10 * 1024 * 1024);
  expect(residentBytes([process.pid, 4_194_304])).toBeGreaterThan(own / 2);
  expect(residentBytes([])).toBe(0);
});
