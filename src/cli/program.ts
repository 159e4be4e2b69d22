/**
 * The command line. Reads options, makes the context, calls one handler, prints its result on stdout.
 * Never exits and never renders errors: `start.ts` does both.
 */
import { CommanderError, type Command } from 'commander';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { createReporter } from '../report/events.ts';
import { createPalette, wantsColor } from '../report/palette.ts';
import type { Commands } from './commands.ts';
import type { Bind, CommandContext, CommandResult } from './context.ts';
import { openReporting } from './reporting.ts';
import { createRootCommand, PRODUCT_ROOT, type GlobalOptions } from './root-command.ts';

export const RESULT_SCHEMA_VERSION = 1;

/** The outside world, handed in so that tests can hand in another. */
export interface ProgramIo {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Fires on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
}

/**
 * Runs one command line.
 *
 * @param args without node and script: `['build', 'x.yaml', '--json']`
 * @returns the exit code of a command that gave an answer
 * @throws IngotError USAGE for a command line that makes no sense, and whatever the command throws
 */
export async function runProgram(
  commands: Commands,
  args: readonly string[],
  io: ProgramIo,
): Promise<number> {
  let exitCode = 0;
  const program = createRootCommand().configureOutput({
    writeOut: (text) => io.stdout.write(text),
    writeErr: () => undefined, // main renders the error
  });
  const bind: Bind =
    (handler) =>
    async (...handlerArgs) => {
      const options = program.opts<GlobalOptions>();
      const result = await runHandler(options, io, (context) => handler(context, ...handlerArgs));
      io.stdout.write(renderResult(result, options.json === true));
      exitCode = result.exitCode ?? 0;
    };
  for (const command of await loadCommands(commands, args, bind)) program.addCommand(command);
  inheritSettings(program);
  try {
    await program.parseAsync(args.length === 0 ? ['--help'] : [...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0; // --help, --version
    throw usageError(error, args, commands);
  }
  return exitCode;
}

/** Loads only the module of the command that is asked for, so that start-up stays short. */
async function loadCommands(
  commands: Commands,
  args: readonly string[],
  bind: Bind,
): Promise<readonly Command[]> {
  const verb = verbOf(args);
  if (args.includes('--version') || args.includes('-V')) return [];
  const wanted = verb === undefined ? undefined : commands.get(verb);
  const loaders = wanted === undefined ? [...commands.values()] : [wanted];
  return Promise.all(loaders.map(async (load) => (await load())(bind)));
}

/** The first word that is neither an option nor the value of a global one. */
function verbOf(args: readonly string[]): string | undefined {
  for (let index = 0; index < args.length; index += 1) {
    const word = args[index] ?? '';
    if (word === '--store' || word === '--progress-fd') index += 1;
    else if (!word.startsWith('-')) return word;
  }
  return undefined;
}

/** `addCommand` leaves a command's settings alone; all of ours are the root's. */
function inheritSettings(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inheritSettings(child);
  }
}

async function runHandler(
  options: GlobalOptions,
  io: ProgramIo,
  handler: (context: CommandContext) => Promise<CommandResult>,
): Promise<CommandResult> {
  await using reporting = openReporting(options, io);
  const reporter = createReporter(reporting.sinks);
  const onAbort = (): void => {
    reporter.warning('interrupted, cleaning up (once more to end at once)');
  };
  io.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await handler({
      reporter,
      signal: io.signal,
      env: io.env,
      cwd: io.cwd,
      storePath: storePath(options, io),
      productRoot: PRODUCT_ROOT,
      now: () => new Date(),
      verbose: options.verbose === true,
      palette: createPalette(
        wantsColor({ isTerminal: io.stdout.isTTY === true, env: io.env, refused: !options.color }),
      ),
      json: options.json === true,
    });
  } catch (error) {
    throw asIngotError(error, io.signal) ?? error;
  } finally {
    io.signal.removeEventListener('abort', onAbort);
  }
}

/** What a file system answers for its own reasons: nothing that Ingot could have known. */
const REFUSALS: ReadonlySet<string> = new Set([
  ...['EACCES', 'EIO', 'EISDIR', 'ELOOP', 'ENAMETOOLONG', 'ENOTDIR', 'EPERM', 'EROFS', 'ESTALE', 'ETXTBSY'],
]);

/** What the platform says in its own way, wherever it says it. */
function asIngotError(error: unknown, signal: AbortSignal): IngotError | undefined {
  // Node.js itself rejects with an AbortError where it was given the signal.
  if (signal.aborted && error instanceof Error && error.name === 'AbortError') {
    return new IngotError('INTERRUPTED', 'interrupted', { cause: error });
  }
  const errno = errnoOf(error);
  if (error instanceof IngotError || errno === undefined) return undefined;
  const path = error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : '';
  const syscall = error instanceof Error && 'syscall' in error ? error.syscall : undefined;
  if (path !== '' && (REFUSALS.has(errno) || (errno === 'ENOENT' && syscall === 'mkdir'))) {
    return new IngotError('ENVIRONMENT', `the system does not let us use ${path} (${errno})`, {
      hint: 'is the file system read-only, or something else of that name in the way? Give another path',
      cause: error,
    });
  }
  if (errno !== 'ENOSPC' && errno !== 'EDQUOT') return undefined;
  return new IngotError('DISK_FULL', `no space is left${path === '' ? '' : ` to write ${path}`}`, {
    hint: 'free some space, run `ingot store gc`, or set INGOT_STORE to a larger file system',
    cause: error,
  });
}

function storePath(options: GlobalOptions, io: ProgramIo): string {
  const chosen = options.store ?? io.env['INGOT_STORE'];
  if (chosen !== undefined && chosen !== '') return resolve(io.cwd, chosen);
  const cache = io.env['XDG_CACHE_HOME'];
  // The XDG base directory specification: a relative path is to be ignored.
  return cache?.startsWith('/') === true ? join(cache, 'ingot') : join(homedir(), '.cache/ingot');
}

function renderResult(result: CommandResult, json: boolean): string {
  if (json) return `${JSON.stringify({ schemaVersion: RESULT_SCHEMA_VERSION, ...result.json }, null, 2)}\n`;
  return result.text === '' || result.text.endsWith('\n') ? result.text : `${result.text}\n`;
}

/** Commander's message reads `error: unknown option '--jsn'\n(Did you mean --json?)`. */
function usageError(error: CommanderError, args: readonly string[], commands: Commands): IngotError {
  const verb = verbOf(args);
  const helpFor = verb !== undefined && commands.has(verb) ? `ingot ${verb} --help` : 'ingot --help';
  if (error.code === 'commander.help') {
    return new IngotError('USAGE', `no ${verb === undefined ? '' : `${verb} `}command given`, {
      hint: `\`${helpFor}\` lists them`,
    });
  }
  const [first = '', second = ''] = error.message.split('\n');
  const suggestion = /^\((.*)\)$/.exec(second)?.[1];
  const message = first.replace(/^error: /, '');
  const hint = `\`${helpFor}\` shows what is possible`;
  return new IngotError('USAGE', message, {
    hint: suggestion === undefined ? hint : `${suggestion.replace(/^Did/, 'did')} ${hint}`,
  });
}
