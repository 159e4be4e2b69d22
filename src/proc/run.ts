/**
 * The only place that starts programs.
 *
 * Always: an argument vector and never a shell, a minimal environment with LC_ALL=C.UTF-8, stdin closed unless
 * given, its own process group so that an abort or a timeout ends grandchildren too, and the last lines of
 * output kept for the error message. Nothing secret belongs in argv or in `env` values that are logged.
 */
import { stat } from 'node:fs/promises';
import { Readable, type Writable } from 'node:stream';

import { errnoOf, IngotError } from '../errors.ts';
import { killGroup, trackGroup } from './children.ts';
import { PROGRAM_PATH, toolMissing } from './find-program.ts';
import { closeOutputAfterExit, OutputTail, splitLines } from './output.ts';

export { killGroup, splitLines };

export type Argv = readonly [program: string, ...args: string[]];

export interface RunOptions {
  readonly cwd?: string;
  /** Added to the minimal environment (PATH, HOME, LC_ALL, TZ). */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array | Readable;
  /** Kills the process group after this many milliseconds. */
  readonly timeoutMs?: number;
  /** Kills it when it has said nothing for this many milliseconds. Counts what `onLine` hears. */
  readonly silenceMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Exit codes that are answers rather than failures. Default: 0. */
  readonly okExitCodes?: readonly number[];
  /** Receives every line of stdout and stderr as it comes, without its newline. */
  readonly onLine?: (line: string) => void;
  /**
   * Streams stdout here, byte for byte and no faster than it is taken, instead of keeping it in memory; `stdout`
   * of the result is then empty. Left open; when it breaks, the program is ended and its error thrown. A number is an
   * open file descriptor, which the program gets as its own: its output never passes through this process.
   */
  readonly stdoutTo?: Writable | number;
  /** How the program is called in error messages. Default: its base name. */
  readonly label?: string;
  /** The command as error messages show it, for a caller that wraps it. Default: `argv`. */
  readonly shown?: readonly string[];
}

export interface RunResult {
  /** As UTF-8, without the final newline. */
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
  readonly seconds: number;
}

/** Output kept in memory is text of bounded size; whatever may be larger goes through `stdoutTo`. */
const MAX_KEPT_BYTES = 256 * 1024 * 1024;
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
 * Runs a program to its end. Output of a grandchild that outlives the program is not waited for.
 *
 * @throws IngotError TOOL_MISSING when there is no such program, TOOL_FAILED on an unexpected exit, DISK_FULL
 *   when that is why, TIMEOUT, or INTERRUPTED when `signal` fires.
 */
export async function run(argv: Argv, options: RunOptions = {}): Promise<RunResult> {
  const [program, ...args] = argv;
  const label = options.label ?? program.replace(/^.*\//, '');
  if (options.signal?.aborted === true) throw interrupted(label);
  // A third of all modules: a command that starts nothing does without.
  const { execa } = await import('execa');
  const started = performance.now();
  const child = execa(program, args, {
    env: minimalEnvironment(options.env),
    extendEnv: false,
    reject: false,
    detached: true, // its own process group
    cleanup: false, // we end the group ourselves; execa would end the leader alone
    buffer: false,
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    stdin: options.stdin === undefined ? 'ignore' : 'pipe',
    // As spawn(2) has it, any descriptor will do; the types know those of the standard streams alone.
    stdout: typeof options.stdoutTo === 'number' ? (options.stdoutTo as 1) : 'pipe',
  });
  const untrack = child.pid === undefined ? undefined : trackGroup(child.pid);
  // There is none to read when the program has a descriptor of the caller's.
  const piped = child.stdout;
  closeOutputAfterExit(
    child,
    [piped, child.stderr].filter((stream) => stream !== null),
  );

  let ending: Ending | undefined;
  let over = false;
  let grace: NodeJS.Timeout | undefined;
  const end = (why: Ending): void => {
    const pid = child.pid;
    // Once it is over, the number may belong to somebody else.
    if (pid === undefined || ending !== undefined || over) return;
    ending = why;
    killGroup(pid, 'SIGTERM');
    grace = setTimeout(() => {
      killGroup(pid, 'SIGKILL');
    }, KILL_GRACE_MS);
  };
  const onAbort = (): void => {
    end({ why: 'abort' });
  };
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const { timeoutMs } = options;
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          end({ why: 'timeout', timeoutMs });
        }, timeoutMs);
  const { silenceMs } = options;
  const silence =
    silenceMs === undefined
      ? undefined
      : setTimeout(() => {
          end({ why: 'silence', silenceMs });
        }, silenceMs);

  const tail = new OutputTail();
  const onLine = (line: string): void => {
    tail.add(line);
    silence?.refresh();
    options.onLine?.(line);
  };
  const onBroken = (error: Error): void => {
    end({ why: 'broken', error });
  };
  const onClosed = (): void => {
    onBroken(new Error(`the stream that takes the output of ${label} was closed`));
  };
  const stderr = keepText(child.stderr, onBroken);
  splitLines(child.stderr, onLine);
  let stdout: (() => string) | undefined;
  const stdoutTo = typeof options.stdoutTo === 'number' ? undefined : options.stdoutTo;
  if (piped !== null && stdoutTo !== undefined) {
    stdoutTo.on('error', onBroken).on('close', onClosed);
    piped.pipe(stdoutTo, { end: false });
  } else if (piped !== null) {
    stdout = keepText(piped, onBroken);
    splitLines(piped, onLine);
  }
  if (options.stdin !== undefined && child.stdin !== null) feed(options.stdin, child.stdin, onBroken);

  try {
    const result = await child;
    const seconds = (performance.now() - started) / 1000;
    const output = tail.text;
    if (child.pid === undefined) throw await cannotStart(program, label, options.cwd, result.code);
    if (ending !== undefined) throw endingError(ending, label, output);
    const exitCode = result.exitCode;
    if (exitCode === undefined || !(options.okExitCodes ?? [0]).includes(exitCode)) {
      const how = exitCode === undefined ? `was ended by ${result.signal ?? '?'}` : `exited with ${exitCode}`;
      throw failure(`${label} ${how}: ${quoteArgv(options.shown ?? argv)}`, label, output);
    }
    return { stdout: stdout?.() ?? '', stderr: stderr(), exitCode, seconds };
  } finally {
    over = true;
    clearTimeout(timer);
    clearTimeout(silence);
    clearTimeout(grace);
    options.signal?.removeEventListener('abort', onAbort);
    stdoutTo?.off('error', onBroken).off('close', onClosed);
    untrack?.();
    // A grandchild may have outlived its parent.
    if (ending !== undefined && child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
  }
}

type Ending =
  | { readonly why: 'abort' }
  | { readonly why: 'timeout'; readonly timeoutMs: number }
  | { readonly why: 'silence'; readonly silenceMs: number }
  /** A stream that the program reads or writes has failed on our side. */
  | { readonly why: 'broken'; readonly error: Error };

function endingError(ending: Ending, label: string, output: string): Error {
  switch (ending.why) {
    case 'abort':
      return interrupted(label);
    case 'timeout':
      return new IngotError('TIMEOUT', `${label} did not finish within ${ending.timeoutMs / 1000} s`, {
        output,
      });
    case 'silence':
      return new IngotError('TIMEOUT', `${label} said nothing for ${ending.silenceMs / 1000} s`, { output });
    case 'broken':
      return errnoOf(ending.error) === 'ENOSPC' ? diskFull(label, output, ending.error) : ending.error;
  }
}

/** Keeps a stream's text, up to a bound. The returned function gives it without its final newline. */
function keepText(stream: Readable, onBroken: (error: Error) => void): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_KEPT_BYTES) chunks.push(chunk);
    else onBroken(new RangeError(`more than ${MAX_KEPT_BYTES} bytes of output; use stdoutTo`));
  });
  return () =>
    Buffer.concat(chunks)
      .toString('utf8')
      .replace(/\r?\n$/, '');
}

function feed(
  input: string | Uint8Array | Readable,
  stdin: Writable,
  onBroken: (error: Error) => void,
): void {
  // A program need not read all it is offered; its exit code says whether that was right.
  stdin.on('error', () => undefined);
  if (input instanceof Readable) {
    input.once('error', onBroken);
    input.pipe(stdin);
  } else {
    stdin.end(input);
  }
}

async function cannotStart(
  program: string,
  label: string,
  cwd: string | undefined,
  errno: string | undefined,
): Promise<IngotError> {
  if (errno !== 'ENOENT')
    return new IngotError('TOOL_FAILED', `${label} cannot be started (${errno ?? '?'})`);
  // The same ENOENT stands for a missing folder.
  const folder = cwd === undefined ? true : await stat(cwd).catch(() => undefined);
  if (folder !== undefined) return toolMissing(program);
  return new IngotError('TOOL_FAILED', `${label} cannot be started in ${cwd ?? ''}: there is no such folder`);
}

/** TOOL_FAILED, or DISK_FULL where the program's last words say that this was the reason. */
function failure(message: string, label: string, output: string): IngotError {
  // GNU tar says of a file that does not fit how much of it did.
  if (/No space left on device|\bENOSPC\b|Disk quota exceeded|Wrote only \d+ of \d+ bytes/.test(output))
    return diskFull(label, output);
  return new IngotError('TOOL_FAILED', message, { output });
}

function diskFull(label: string, output: string, cause?: Error): IngotError {
  return new IngotError('DISK_FULL', `no space left on the disk during ${label}`, {
    output,
    hint: 'make room (`ingot store gc` frees what no build uses), or set INGOT_STORE to a larger disk',
    cause,
  });
}

function interrupted(label: string): IngotError {
  return new IngotError('INTERRUPTED', `interrupted during ${label}`);
}
