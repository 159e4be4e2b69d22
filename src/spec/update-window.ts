/**
 * When a node may restart for an update: `Sat,Sun 02:00-04:00`, `Mon..Fri 22:00-02:00`, `02:00-04:00`. By the node's
 * own wall clock: where a clock is put forward, minutes that it leaves out are in no window; where it is put back,
 * minutes that come twice are in it twice. Pure.
 */

/** Monday is 0, as in systemd. */
export interface UpdateWindow {
  /** On which it opens. */
  readonly days: readonly number[];
  /** Minutes since midnight. `to` is not in it; at or before `from` it is on the next day. */
  readonly from: number;
  readonly to: number;
}

export const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;
const DAY_MINUTES = 1440;
const WEEK_MINUTES = 7 * DAY_MINUTES;
const EVERY_DAY = WEEKDAYS.map((_, day) => day);

/** Undefined for what is no window. */
export function parseUpdateWindow(text: string): UpdateWindow | undefined {
  const match = /^(?:(\S+)\s+)?(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(text.trim());
  if (match === null) return undefined;
  const [, names, ...numbers] = match;
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = numbers.map(Number);
  const days = names === undefined ? EVERY_DAY : parseDays(names);
  const [from, to] = [fromHour * 60 + fromMinute, toHour * 60 + toMinute];
  const isTime = fromHour < 24 && fromMinute < 60 && toMinute < 60 && to <= DAY_MINUTES && from !== to;
  return days === undefined || !isTime ? undefined : { days, from, to };
}

/** `Sat,Sun`, `Mon..Fri`, `Fri..Mon`, in any mixture; as systemd.time(7) has them. */
function parseDays(text: string): readonly number[] | undefined {
  const days = new Set<number>();
  for (const part of text.split(',')) {
    const [first, last = first, ...more] = part.split('..').map((name) => WEEKDAYS.indexOf(name as 'Mon'));
    if (first === undefined || last === undefined || first === -1 || last === -1 || more.length > 0)
      return undefined;
    for (let day = first; ; day = (day + 1) % 7) {
      days.add(day);
      if (day === last) break;
    }
  }
  return [...days].sort();
}

/** Minutes that it lasts, on a day on which no clock is changed. */
export function windowLength({ from, to }: UpdateWindow): number {
  return ((to - from + DAY_MINUTES - 1) % DAY_MINUTES) + 1;
}

/** As a calendar event of systemd.time(7): when it opens. */
export function windowCalendar({ days, from }: UpdateWindow): string {
  const names = days.length === 7 ? '' : `${days.map((day) => WEEKDAYS[day]).join(',')} `;
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${names}*-*-* ${two(Math.floor(from / 60))}:${two(from % 60)}:00`;
}

/** @param minute of the week, by the wall clock */
function isIn({ days, from, to }: UpdateWindow, minute: number): boolean {
  const length = windowLength({ days, from, to });
  return days.some((day) => (minute - (day * DAY_MINUTES + from) + WEEK_MINUTES) % WEEK_MINUTES < length);
}

export interface WindowState {
  readonly isOpen: boolean;
  /** When it opens next, or closes; undefined: not within the next nine days, which is never. */
  readonly changesAt: Date | undefined;
}

const MINUTE_MS = 60_000;
/** Clocks are put forward and back at multiples of a quarter of an hour, everywhere. */
const BLOCK_MINUTES = 15;
const LOOK_AHEAD_MINUTES = 9 * DAY_MINUTES;

/** @param timeZone as IANA names it: that of the node */
export function windowState(windows: readonly UpdateWindow[], at: Date, timeZone: string): WindowState {
  const clock = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    hourCycle: 'h23',
    ...({ weekday: 'short', hour: '2-digit', minute: '2-digit' } as const),
  });
  const start = Math.floor(at.getTime() / MINUTE_MS);
  let block = Number.NaN;
  let blockStart = 0;
  const isOpenAt = (minute: number): boolean => {
    const here = Math.floor(minute / BLOCK_MINUTES);
    if (here !== block) {
      block = here;
      blockStart = minuteOfWeek(clock, new Date(here * BLOCK_MINUTES * MINUTE_MS));
    }
    const inWeek = (blockStart + minute - here * BLOCK_MINUTES) % WEEK_MINUTES;
    return windows.some((window) => isIn(window, inWeek));
  };
  const isOpen = isOpenAt(start);
  for (let minute = start + 1; minute <= start + LOOK_AHEAD_MINUTES; minute += 1) {
    if (isOpenAt(minute) !== isOpen) return { isOpen, changesAt: new Date(minute * MINUTE_MS) };
  }
  return { isOpen, changesAt: undefined };
}

function minuteOfWeek(clock: Intl.DateTimeFormat, at: Date): number {
  const parts = new Map(clock.formatToParts(at).map(({ type, value }) => [type, value]));
  const day = WEEKDAYS.indexOf(parts.get('weekday') as 'Mon');
  return day * DAY_MINUTES + Number(parts.get('hour')) * 60 + Number(parts.get('minute'));
}

/** Those of settings that were checked before. */
export function windowsOf({ window }: { readonly window: readonly string[] }): readonly UpdateWindow[] {
  return window.flatMap((text) => parseUpdateWindow(text) ?? []);
}
