/** busctl of systemd 240 and later; logind's locks are described in org.freedesktop.login1(5). */
import * as z from 'zod';

import type { Argv } from '../proc/run.ts';

/** Prints every inhibitor lock that is held. `systemd-inhibit --list` has the same as a table with names cut short. */
export const listInhibitorsArgv: Argv = [
  ...(['busctl', '--json=short', 'call', 'org.freedesktop.login1', '/org/freedesktop/login1'] as const),
  ...['org.freedesktop.login1.Manager', 'ListInhibitors'],
];

export interface InhibitorLock {
  /** Such as `shutdown`, `sleep`, `idle`. */
  readonly what: readonly string[];
  readonly who: string;
  readonly why: string;
  /** `block`, `block-weak` (with systemd 257), `delay`. */
  readonly mode: string;
}

const Reply = z.object({
  type: z.literal('a(ssssuu)'),
  data: z.tuple([z.array(z.tuple([z.string(), z.string(), z.string(), z.string(), z.number(), z.number()]))]),
});

/** Undefined for what is no list of locks. */
export function parseInhibitors(text: string): readonly InhibitorLock[] | undefined {
  try {
    return Reply.parse(JSON.parse(text)).data[0].map(([what, who, why, mode]) => ({
      what: what.split(':'),
      who,
      why,
      mode,
    }));
  } catch {
    return undefined;
  }
}

/** Whether busctl failed because there is no logind to hold locks: no bus, or nobody on it by that name. */
export function isWithoutLogind(stderr: string): boolean {
  return /Failed to (?:connect to [^:]*bus[^:]*|set bus address): No such file|not provided by any|was not provided|Unit dbus-org\.freedesktop\.login1\.service not found/.test(
    stderr,
  );
}
