/** What systemctl and systemd-analyze print. Manuals: systemctl(1), systemd-analyze(1). */
import type { Argv } from '../proc/run.ts';

/** Seconds a boot spent in each part, as far as systemd knows them. */
export interface BootTimes {
  readonly firmware?: number;
  readonly loader?: number;
  readonly kernel?: number;
  readonly initrd?: number;
  readonly userspace?: number;
}

/** Names in the first column of `systemctl list-units --plain --no-legend`. */
export function parseUnitNames(stdout: string): string[] {
  return stdout
    .split('\n')
    .map((line) => /^\s*(\S+)/.exec(line)?.[1])
    .filter((name) => name !== undefined);
}

/** `Startup finished in 5.035s (kernel) + 23.390s (initrd) + 1min 4.344s (userspace) = …` */
export function parseBootTimes(stdout: string): BootTimes {
  const times: Record<string, number> = {};
  const parts = /^Startup finished in (.+?)(?: = .+)?$/m.exec(stdout)?.[1] ?? '';
  for (const part of parts.split(' + ')) {
    const match = /^(.+) \((firmware|loader|kernel|initrd|userspace)\)$/.exec(part.trim());
    if (match?.[1] !== undefined && match[2] !== undefined) times[match[2]] = parseTimespan(match[1]);
  }
  return times;
}

/** `systemd 257 (257.9-1~deb13u1)`, the first line of `systemctl --version`. */
export function parseSystemdVersion(stdout: string): number | undefined {
  const version = /^systemd (\d+)/.exec(stdout)?.[1];
  return version === undefined ? undefined : Number(version);
}

/** When the last start of user space ended. A soft reboot starts it anew. Prints `FinishTimestamp=@SECONDS`. */
export function systemctlFinishTimeArgv(): Argv {
  return ['systemctl', 'show', '--property=FinishTimestamp', '--timestamp=unix'];
}

/** Seconds since the epoch; undefined while it has not ended. */
export function parseFinishTime(stdout: string): number | undefined {
  const seconds = /^FinishTimestamp=@(\d+)$/m.exec(stdout)?.[1];
  return seconds === undefined || seconds === '0' ? undefined : Number(seconds);
}

const UNIT_SECONDS: Readonly<Record<string, number>> = {
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  min: 60,
  h: 3600,
};

/** systemd.time(7): `1min 12.770s`. */
export function parseTimespan(text: string): number {
  let seconds = 0;
  for (const [, value, unit] of text.matchAll(/([\d.]+)\s*([a-z]+)/g)) {
    seconds += Number(value) * (UNIT_SECONDS[unit ?? ''] ?? Number.NaN);
  }
  return seconds;
}
