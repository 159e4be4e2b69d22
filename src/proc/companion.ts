/**
 * A program that runs beside us, such as a virtual machine, and the sockets we share with it.
 *
 * Each channel is one end of a socket pair; the program inherits the other end as file descriptor 3 and up. Such
 * a socket has no name: there is no path to clean up, no limit on its length, and nobody else can connect.
 * Its own process group, minimal environment and kept output are as in run.ts. The kernel ends it when we end,
 * however we end.
 */
import { execa } from 'execa';
import type { Duplex } from 'node:stream';

import { errnoOf, IngotError } from '../errors.ts';
import { killGroup, trackGroup } from './children.ts';
import { findProgram, toolMissing } from './find-program.ts';
import { OutputTail, splitLines } from './output.ts';
import { minimalEnvironment, type Argv } from './run.ts';

/** File descriptor of the first channel in the program. */
export const FIRST_CHANNEL_FD = 3;

export interface CompanionOptions {
  /** How many channels: the program finds them at FIRST_CHANNEL_FD, in order. */
  readonly channels: number;
  readonly label: string;
}

export interface CompanionExit {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** Last lines of its stdout and stderr. */
  readonly output: string;
}

export interface Companion extends AsyncDisposable {
  readonly channels: readonly Duplex[];
  /** Settles when the program has ended, however it did; never rejects. */
  readonly exited: Promise<CompanionExit>;
  /** Ends the process group and waits until it is gone. By SIGKILL it cannot put anything in order first. */
  kill(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

const KILL_GRACE_MS = 2_000;

/** @throws IngotError TOOL_MISSING or TOOL_FAILED when the program cannot be started. */
export async function startCompanion(argv: Argv, options: CompanionOptions): Promise<Companion> {
  const program = await findProgram(argv[0]);
  if (program === undefined) throw toolMissing(argv[0]);
  const tail = new OutputTail();
  const keep = (line: string): void => {
    tail.add(line);
  };
  const child = execa('setpriv', ['--pdeathsig', 'KILL', '--', program, ...argv.slice(1)], {
    env: minimalEnvironment(),
    extendEnv: false,
    reject: false,
    detached: true,
    cleanup: false,
    // "pipe" beyond the first three is a socket pair (libuv), so it carries both directions.
    stdio: ['ignore', 'pipe', 'pipe', ...Array.from({ length: options.channels }, () => 'pipe' as const)],
    buffer: false,
  });
  splitLines(child.stdout, keep);
  splitLines(child.stderr, keep);
  const channels = child.stdio.slice(FIRST_CHANNEL_FD) as unknown as Duplex[];
  // A channel that breaks means that the program is gone, which `exited` tells.
  for (const channel of channels) channel.on('error', () => undefined);
  const ended = child.then((result) => {
    for (const channel of channels) channel.destroy();
    return result;
  });
  const exited = ended.then((result): CompanionExit => ({
    exitCode: result.exitCode,
    signal: result.signal,
    output: tail.text,
  }));
  if (child.pid === undefined) {
    const result = await ended;
    if (errnoOf(result.cause) === 'ENOENT' || result.code === 'ENOENT') throw toolMissing('setpriv');
    throw new IngotError('TOOL_FAILED', `${options.label} cannot be started`, { cause: result.cause });
  }
  const pid = child.pid;
  const untrack = trackGroup(pid);
  void exited.then(untrack);
  const kill = async (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> => {
    // After its end the number may belong to somebody else.
    if (child.exitCode === null && child.signalCode === null) killGroup(pid, signal);
    const grace = setTimeout(() => {
      if (child.exitCode === null && child.signalCode === null) killGroup(pid, 'SIGKILL');
    }, KILL_GRACE_MS);
    await exited;
    clearTimeout(grace);
  };
  return { channels, exited, kill, [Symbol.asyncDispose]: () => kill() };
}
