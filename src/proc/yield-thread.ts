/** Threads that others go before. */
import { readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

/** Steps of niceness: against one thread that does not yield, a quarter of a core. */
const STEPS = 6;

/**
 * Lowers the priority of the calling thread alone: Linux takes the number of a thread where POSIX has that of a process
 * (setpriority(2), "C library/kernel differences").
 */
export function yieldThread(): void {
  const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  setPriority(thread, Math.min(constants.priority.PRIORITY_LOW, getPriority(thread) + STEPS));
}
