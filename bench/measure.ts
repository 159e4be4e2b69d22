/**
 * Runs a program and measures all that it starts.
 *
 * Processor time is the control group's. The sum over waited-for children, which time(1) prints, would miss much:
 * bubblewrap leaves without waiting for the namespace that it made.
 *
 * The program has a PID and a mount namespace of its own, so that an interrupted one leaves neither a process nor a
 * mount, whatever it is.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import { run, type Argv } from '../src/proc/run.ts';
import { ControlGroup } from './control-group.ts';

export interface Measurement {
  /** Seconds from start to end. */
  readonly wall: number;
  /** Seconds of processor time, user and system, of the program and all it started. */
  readonly cpu: number;
  /**
   * Bytes: the highest sum of resident set sizes among samples. Pages that processes share count for each. The
   * control group's own peak is no substitute: it counts page cache.
   */
  readonly rss: number;
}

export interface MeasureOptions {
  /** An existing folder, where the measuring may put something for the time. */
  readonly scratch: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly onLine?: (line: string) => void;
}

/** Enters the group, then becomes the program. */
const ENTER = ['sh', '-e', '-c', 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"', 'sh'] as const;
const APART = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--'] as const;
const SAMPLE_MS = 100;

/** @throws IngotError as `run` does; NOT_ROOT */
export async function measure(
  argv: Argv,
  { scratch, env, signal, onLine }: MeasureOptions,
): Promise<{ readonly measurement: Measurement; readonly stdout: string }> {
  await using cleanup = new AsyncDisposableStack();
  const mountPoint = await mkdtemp(join(scratch, 'cgroup-'));
  cleanup.defer(() => rmdir(mountPoint));
  const group = cleanup.use(await ControlGroup.open(mountPoint, signal));
  let rss = 0;
  const timer = setInterval(() => {
    rss = Math.max(rss, residentBytes(group.processes()));
  }, SAMPLE_MS);
  cleanup.defer(() => {
    clearInterval(timer);
  });
  const { seconds, stdout } = await run([...ENTER, group.folder, ...APART, ...argv], {
    shown: argv,
    label: argv[0].replace(/^.*\//, ''),
    signal,
    ...(env !== undefined && { env }),
    ...(onLine !== undefined && { onLine }),
  });
  return { measurement: { wall: seconds, cpu: await group.processorSeconds(), rss }, stdout };
}

/**
 * Takes `bytes` of memory, writes to them and gives them back. A virtual machine gives its host the memory that has
 * been free for seconds (free page reporting), and what asks for it next pays for getting it again, up to a second for
 * each gigabyte: programs that are compared are to find the same. It lasts as long as the host takes to ask again.
 */
export async function touchMemory(bytes: number, signal?: AbortSignal): Promise<void> {
  await run([process.execPath, '-e', `Buffer.allocUnsafeSlow(${bytes}).fill(1)`], { signal });
}

/** What processes have in memory. */
export function residentBytes(pids: readonly number[]): number {
  let bytes = 0;
  for (const pid of pids) {
    try {
      bytes += parseResidentBytes(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      // It has ended meanwhile.
    }
  }
  return bytes;
}

/** `VmRSS` of proc_pid_status(5). A zombie has none. */
export function parseResidentBytes(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}
