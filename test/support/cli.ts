/** Runs the real program, as a user does. */
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';

import { minimalEnvironment, run, splitLines, type Argv } from '../../src/proc/run.ts';

export const PRODUCT_ROOT = resolve(import.meta.dirname, '../..');

export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Goes before the program, such as `setpriv …`. */
  readonly prefix?: readonly string[];
}

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
/** What a user's shell would hand on and a test may not hide. */
const PASSED_ON = ['INGOT_MIRROR', 'INGOT_SECURITY_MIRROR', 'INGOT_SNAPSHOT', 'HOME'];

function environment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const passed = PASSED_ON.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return minimalEnvironment({ ...Object.fromEntries(passed), NO_COLOR: '1', ...extra });
}

function argvOf(args: readonly string[], prefix: readonly string[] = []): Argv {
  return [...prefix, process.execPath, join(PRODUCT_ROOT, 'src/main.ts'), ...args] as unknown as Argv;
}

/** Runs `ingot ARGS` to its end, whatever its exit code. */
export async function ingot(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const { exitCode, stdout, stderr } = await run(argvOf(args, options.prefix), {
    cwd: options.cwd ?? PRODUCT_ROOT,
    env: environment(options.env),
    okExitCodes: ANY_EXIT,
    timeoutMs: options.timeoutMs ?? 600_000,
  });
  return { exitCode, stdout, stderr };
}

/** Runs `ingot ARGS --json`, which must succeed, and gives what it printed. */
export async function ingotJson(
  args: readonly string[],
  options: CliOptions = {},
): Promise<Record<string, unknown>> {
  const result = await ingot([...args, '--json'], options);
  if (result.exitCode !== 0) {
    throw new Error(
      `ingot ${args.join(' ')} exited with ${result.exitCode}\n${result.stderr}\n${result.stdout}`,
    );
  }
  return JSON.parse(result.stdout) as Record<string, unknown>;
}

export interface StartedIngot {
  readonly pid: number;
  /** Resolves when a line of stderr matches; rejects when the program ends first. */
  saying(pattern: RegExp): Promise<void>;
  /** Its end: exit code, or null when a signal ended it. */
  readonly ended: Promise<{ readonly exitCode: number | null; readonly stderr: string }>;
}

/** Starts `ingot ARGS`, for tests that send it signals. */
export function startIngot(args: readonly string[], options: CliOptions = {}): StartedIngot {
  const [program, ...rest] = argvOf(args, options.prefix);
  const child = spawn(program, rest, {
    cwd: options.cwd ?? PRODUCT_ROOT,
    env: environment(options.env),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  splitLines(child.stderr, (line) => {
    lines.push(line);
    for (const check of waiting) check();
  });
  const ended = new Promise<{ exitCode: number | null; stderr: string }>((resolveEnd) => {
    child.once('close', (exitCode) => {
      resolveEnd({ exitCode, stderr: lines.join('\n') });
    });
  });
  return {
    pid: child.pid ?? 0,
    ended,
    saying: (pattern) =>
      new Promise((resolveLine, reject) => {
        const check = (): void => {
          if (!lines.some((line) => pattern.test(line))) return;
          waiting.delete(check);
          resolveLine();
        };
        waiting.add(check);
        check();
        void ended.then(({ exitCode, stderr }) => {
          if (waiting.delete(check))
            reject(new Error(`ended with ${exitCode ?? 'a signal'} first:\n${stderr}`));
        });
      }),
  };
}
