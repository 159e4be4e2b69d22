/**
 * The only place that starts programs.
 *
 * Always: an argument vector and never a shell, a minimal environment with LC_ALL=C.UTF-8, stdin closed unless
 * given, its own process group so that an abort or a timeout ends grandchildren too, and the last lines of
 * output kept for the error message. Nothing secret belongs in argv or in `env` values that are logged.
 */
import { execa } from 'execa';
import type { Readable, Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

import { errnoOf, IngotError } from '../errors.ts';
import { killGroup } from './children.ts';
import { PROGRAM_PATH, toolMissing } from './find-program.ts';

export { killGroup };

export type Argv = readonly [program: string, ...args: string[]];

export interface RunOptions {
  readonly cwd?: string;
  /** Added to the minimal environment (PATH, HOME, LC_ALL, TZ). */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array | Readable;
  /** Kills the process group after this many milliseconds. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Exit codes that are answers rather than failures. Default: 0. */
  readonly okExitCodes?: readonly number[];
  /** Receives every line of stdout and stderr as it comes, without its newline. */
  readonly onLine?: (line: string) => void;
  /** Streams stdout here instead of keeping it in memory; `stdout` of the result is then empty. */
  readonly stdoutTo?: Writable;
  /** How the program is called in error messages. Default: its base name. */
  readonly label?: string;
  /** The command as error messages show it, for a caller that wraps it. Default: `argv`. */
  readonly shown?: readonly string[];
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
  readonly seconds: number;
}

const TAIL_LINES = 25;
const KILL_GRACE_MS = 2_000;

/** The environment every program starts from. */
export function minimalEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    PATH: PROGRAM_PATH,
    HOME: '/root',
    LC_ALL: 'C.UTF-8',
    TZ: 'UTC',
    ...extra,
  };
}

/** Argv as a person would type it, for messages only. */
export function quoteArgv(argv: readonly string[]): string {
  return argv
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ');
}

/**
 * Runs a program to its end.
 *
 * @throws IngotError TOOL_MISSING when there is no such program, TOOL_FAILED on an unexpected exit,
 *   TIMEOUT, or INTERRUPTED when `signal` fires.
 */
export async function run(argv: Argv, options: RunOptions = {}): Promise<RunResult> {
  const [program, ...args] = argv;
  const label = options.label ?? program.replace(/^.*\//, '');
  if (options.signal?.aborted === true) throw interrupted(label);
  const started = performance.now();
  const tail: string[] = [];
  const keep = (line: string): void => {
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    options.onLine?.(line);
  };
  const child = execa(program, args, {
    env: minimalEnvironment(options.env),
    extendEnv: false,
    reject: false,
    detached: true, // its own process group
    cleanup: false, // we end the group ourselves; execa would end the leader alone
    stripFinalNewline: true,
    maxBuffer: 512 * 1024 * 1024,
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.stdin === undefined
      ? { stdin: 'ignore' as const }
      : typeof options.stdin === 'string' || options.stdin instanceof Uint8Array
        ? { input: options.stdin }
        : { stdin: 'pipe' as const }),
    buffer: { stdout: options.stdoutTo === undefined, stderr: true },
  });
  if (
    options.stdin !== undefined &&
    typeof options.stdin !== 'string' &&
    !(options.stdin instanceof Uint8Array)
  ) {
    options.stdin.pipe(child.stdin).on('error', () => undefined);
  }
  if (options.stdoutTo === undefined) splitLines(child.stdout, keep);
  else child.stdout.pipe(options.stdoutTo, { end: false });
  splitLines(child.stderr, keep);

  let ended: 'timeout' | 'abort' | undefined;
  let grace: NodeJS.Timeout | undefined;
  const end = (why: 'timeout' | 'abort'): void => {
    const pid = child.pid;
    if (pid === undefined || ended !== undefined) return;
    ended = why;
    killGroup(pid, 'SIGTERM');
    grace = setTimeout(() => {
      killGroup(pid, 'SIGKILL');
    }, KILL_GRACE_MS);
  };
  const onAbort = (): void => {
    end('abort');
  };
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          end('timeout');
        }, options.timeoutMs);
  try {
    const result = await child;
    const seconds = (performance.now() - started) / 1000;
    if (errnoOf(result.cause) === 'ENOENT' || result.code === 'ENOENT') {
      throw toolMissing(program);
    }
    if (ended === 'abort') throw interrupted(label);
    if (ended === 'timeout') {
      throw new IngotError('TIMEOUT', `${label} did not finish within ${(options.timeoutMs ?? 0) / 1000} s`, {
        output: tail.join('\n'),
      });
    }
    const exitCode = result.exitCode ?? 128;
    if (result.exitCode === undefined || !(options.okExitCodes ?? [0]).includes(exitCode)) {
      const how = result.signal === undefined ? `exited with ${exitCode}` : `was ended by ${result.signal}`;
      throw new IngotError('TOOL_FAILED', `${label} ${how}: ${quoteArgv(options.shown ?? argv)}`, {
        output: tail.join('\n'),
      });
    }
    return { stdout: result.stdout, stderr: result.stderr, exitCode, seconds };
  } finally {
    clearTimeout(timer);
    clearTimeout(grace);
    options.signal?.removeEventListener('abort', onAbort);
    // A grandchild may have outlived its parent.
    if (ended !== undefined && child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
  }
}

function interrupted(label: string): IngotError {
  return new IngotError('INTERRUPTED', `interrupted during ${label}`);
}

/** Calls `onLine` for each line of a text stream; a last line without a newline counts. */
export function splitLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  // Not setEncoding: others read the same stream as bytes.
  const decoder = new StringDecoder('utf8');
  stream.on('data', (chunk: Buffer) => {
    const parts = (rest + decoder.write(chunk)).split(/\r?\n/);
    rest = parts.pop() ?? '';
    for (const part of parts) onLine(part);
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
}
