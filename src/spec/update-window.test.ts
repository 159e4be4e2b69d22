import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import {
  parseUpdateWindow,
  type UpdateWindow,
  WEEKDAYS,
  windowCalendar,
  windowLength,
  windowState,
} from './update-window.ts';

function window(text: string): UpdateWindow {
  const parsed = parseUpdateWindow(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

test.each([
  ['Sat,Sun 02:00-04:00', [5, 6], 120, 240, 120, 'Sat,Sun *-*-* 02:00:00'],
  ['Mon..Fri 22:00-02:00', [0, 1, 2, 3, 4], 1320, 120, 240, 'Mon,Tue,Wed,Thu,Fri *-*-* 22:00:00'],
  ['Fri..Mon 23:30-24:00', [0, 4, 5, 6], 1410, 1440, 30, 'Mon,Fri,Sat,Sun *-*-* 23:30:00'],
  ['00:00-24:00', [0, 1, 2, 3, 4, 5, 6], 0, 1440, 1440, '*-*-* 00:00:00'],
  ['03:00-00:00', [0, 1, 2, 3, 4, 5, 6], 180, 0, 1260, '*-*-* 03:00:00'],
])('%s', (text, days, from, to, length, calendar) => {
  expect(window(text)).toEqual({ days, from, to });
  expect(windowLength(window(text))).toBe(length);
  expect(windowCalendar(window(text))).toBe(calendar);
});

test.each([
  ...['', 'Sat', '2:00-4:00', '24:00-01:00', '01:00-24:01', '02:60-03:00', '02:00-02:00', 'sat 02:00-04:00'],
  ...['Sat..Sun..Mon 02:00-04:00', 'Sat, Sun 02:00-04:00', 'Sam 02:00-04:00', '02:00 - 04:00'],
])('%s is no window', (text) => {
  expect(parseUpdateWindow(text)).toBeUndefined();
});

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'Pacific/Apia',
];
const windows = fc
  .record({
    days: fc.uniqueArray(fc.integer({ min: 0, max: 6 }), { minLength: 1 }),
    from: fc.integer({ min: 0, max: 1439 }),
    to: fc.integer({ min: 0, max: 1440 }),
  })
  .filter(({ from, to }) => from !== to && !(from === 0 && to === 1440));
/** Of ten years, with every change of clocks. */
const moments = fc
  .integer({ min: 1_735_689_600, max: 2_051_222_400 })
  .map((seconds) => new Date(seconds * 1000));
const zones = fc.constantFrom(...ZONES);

/** Said another way: what the clock on the wall shows, and, after midnight, what day it was yesterday. */
function isOpenByClock({ days, from, to }: UpdateWindow, at: Date, timeZone: string): boolean {
  const shown = at.toLocaleString('en-GB', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
  });
  const [, name = '', hour, minute] = /^(\w{3})\D+(\d\d):(\d\d)/.exec(shown) ?? [];
  const day = WEEKDAYS.indexOf(name as 'Mon');
  const now = Number(hour) * 60 + Number(minute);
  if (from < to) return days.includes(day) && from <= now && now < to;
  return (days.includes(day) && now >= from) || (days.includes((day + 6) % 7) && now < to);
}

test('a window is open when the clock on the wall says so', () => {
  fc.assert(
    fc.property(windows, moments, zones, (one, at, zone) => {
      expect(windowState([one], at, zone).isOpen).toBe(isOpenByClock(one, at, zone));
    }),
    { numRuns: 300 },
  );
});

test('until it changes it stays as it is, and then it is the other', () => {
  fc.assert(
    fc.property(
      windows,
      moments,
      zones,
      fc.double({ min: 0, max: 1, noNaN: true }),
      (one, at, zone, share) => {
        const { isOpen, changesAt } = windowState([one], at, zone);
        if (changesAt === undefined) throw new Error('no window lasts for ever');
        expect(changesAt.getTime()).toBeGreaterThan(at.getTime());
        const between = new Date(at.getTime() + (changesAt.getTime() - 1 - at.getTime()) * share);
        expect(isOpenByClock(one, between, zone)).toBe(isOpen);
        expect(isOpenByClock(one, changesAt, zone)).toBe(!isOpen);
      },
    ),
    { numRuns: 100 },
  );
});

test('of several, one that is open is enough', () => {
  fc.assert(
    fc.property(windows, windows, moments, (one, other, at) => {
      const open = [one, other].map((each) => windowState([each], at, 'Europe/Berlin').isOpen);
      expect(windowState([one, other], at, 'Europe/Berlin').isOpen).toBe(open.includes(true));
    }),
    { numRuns: 50 },
  );
});

describe('where clocks are changed', () => {
  const nightly = window('Sun 02:00-03:00');
  const state = (text: string) => windowState([nightly], new Date(text), 'Europe/Berlin');

  test('forward, an hour that is left out is in no window', () => {
    // 02:00 to 03:00 is not there on that day.
    expect(state('2026-03-28T12:00:00Z')).toEqual({
      isOpen: false,
      changesAt: new Date('2026-04-05T00:00:00Z'),
    });
  });

  test('back, an hour that comes twice is in it twice', () => {
    expect(state('2026-10-24T12:00:00Z')).toEqual({
      isOpen: false,
      changesAt: new Date('2026-10-25T00:00:00Z'),
    });
    expect(state('2026-10-25T00:30:00Z')).toEqual({
      isOpen: true,
      changesAt: new Date('2026-10-25T02:00:00Z'),
    });
  });

  test('forward, a window into it ends early', () => {
    const early = [window('Sun 01:30-02:30')];
    expect(windowState(early, new Date('2026-03-29T00:45:00Z'), 'Europe/Berlin')).toEqual({
      isOpen: true,
      changesAt: new Date('2026-03-29T01:00:00Z'),
    });
  });
});

test('a window that is always open never changes', () => {
  expect(windowState([window('00:00-24:00')], new Date(), 'UTC')).toEqual({
    isOpen: true,
    changesAt: undefined,
  });
});
