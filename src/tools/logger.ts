/** logger(1) of util-linux, which speaks the native protocol of systemd's journal; Node.js has no datagram sockets. */
import type { Argv } from '../proc/run.ts';

/** Writes the entry that comes on stdin. */
export function loggerJournalArgv(): Argv {
  return ['logger', '--journald'];
}

/** A value with several lines is several values of its field, and a message is put together again. */
export function renderJournalEntry(fields: Readonly<Record<string, string | number | undefined>>): string {
  return Object.entries(fields)
    .flatMap(([name, value]) =>
      value === undefined
        ? []
        : String(value)
            .split(/\r?\n/)
            .map((line) => `${name}=${line}\n`),
    )
    .join('');
}
