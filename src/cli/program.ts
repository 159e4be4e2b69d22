/**
 * The command line. Reads options, makes the context, calls one handler, prints its result on stdout.
 * Never exits and never renders errors: `main.ts` does both.
 */
import { Command, CommanderError } from 'commander';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

import { IngotError } from '../errors.ts';
import { createReporter } from '../report/events.ts';
import { COMMANDS } from './commands.ts';
import type { Bind, CommandContext, CommandResult } from './context.ts';
import { openReporting } from './reporting.ts';

export const RESULT_SCHEMA_VERSION = 1;

/** The outside world, handed in so that tests can hand in another. */
export interface ProgramIo {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Fires on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
}

export interface GlobalOptions {
  readonly json?: true;
  readonly store?: string;
  readonly verbose?: true;
  readonly progressFd?: string;
  /** False with `--no-color`. */
  readonly color: boolean;
}

const PRODUCT_ROOT = resolve(import.meta.dirname, '../..');

const HELP_AFTER = `
Examples:
  ingot validate images/debian-minimal.yaml      check a declaration
  ingot lock images/debian-minimal.yaml          choose every package and write the lock
  ingot build images/debian-minimal.yaml         build what the lock says
  ingot disk images/debian-minimal.yaml -o node.raw
  ingot test images/debian-minimal.yaml          boot it and run its health checks

Environment:
  INGOT_STORE        folder of the local cache (--store)
  INGOT_MIRROR       package mirror, instead of the machine's own apt configuration
  NO_COLOR           no colours; FORCE_COLOR asks for them off a terminal
  SOURCE_DATE_EPOCH  the time that a new lock carries

Exit codes: 0 fine, 1 the operation failed, 2 usage or declaration, 70 a bug in Ingot, 130 interrupted.
`;

/**
 * Runs one command line.
 *
 * @param args without node and script: `['build', 'x.yaml', '--json']`
 * @returns the exit code of a command that gave an answer
 * @throws IngotError USAGE for a command line that makes no sense, and whatever the command throws
 */
export async function runProgram(args: readonly string[], io: ProgramIo): Promise<number> {
  let exitCode = 0;
  const program = createRootCommand(io);
  const bind: Bind =
    (handler) =>
    async (...handlerArgs) => {
      const options = program.opts<GlobalOptions>();
      const result = await runHandler(options, io, (context) => handler(context, ...handlerArgs));
      io.stdout.write(renderResult(result, options.json === true));
      exitCode = result.exitCode ?? 0;
    };
  for (const command of await loadCommands(args, bind)) program.addCommand(command);
  inheritSettings(program);
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0; // --help, --version
    throw usageError(error, args);
  }
  return exitCode;
}

/** Every command with its options, none of which runs. For completions and documentation. */
export async function describeProgram(io: ProgramIo): Promise<Command> {
  const program = createRootCommand(io);
  const bind: Bind = () => () => Promise.resolve();
  for (const command of await loadCommands([], bind)) program.addCommand(command);
  return program;
}

function createRootCommand(io: ProgramIo): Command {
  return new Command('ingot')
    .description('Locks, builds and boots immutable OS images for AI nodes from one YAML file.')
    .usage('<command> [options]')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help, with examples')
    .option('--json', 'print the result as JSON')
    .option('--store <dir>', 'local cache (default: INGOT_STORE, or ~/.cache/ingot)')
    .option('-v, --verbose', 'say more on stderr')
    .option('--progress-fd <n>', 'write progress as JSON lines to this open file descriptor')
    .option('--no-color', 'no colours')
    .addHelpText('after', HELP_AFTER)
    .configureHelp({ showGlobalOptions: true, sortOptions: false })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: () => undefined, // main renders the error
    })
    .showSuggestionAfterError(true)
    .exitOverride();
}

/** Loads only the module of the command that is asked for, so that start-up stays short. */
async function loadCommands(args: readonly string[], bind: Bind): Promise<readonly Command[]> {
  const verb = verbOf(args);
  if (args.includes('--version') || args.includes('-V')) return [];
  const wanted = verb === undefined ? undefined : COMMANDS.get(verb);
  const loaders = wanted === undefined ? [...COMMANDS.values()] : [wanted];
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
      json: options.json === true,
    });
  } catch (error) {
    // Node.js itself rejects with an AbortError where it was given the signal.
    if (io.signal.aborted && error instanceof Error && error.name === 'AbortError') {
      throw new IngotError('INTERRUPTED', 'interrupted', { cause: error });
    }
    throw error;
  } finally {
    io.signal.removeEventListener('abort', onAbort);
  }
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
function usageError(error: CommanderError, args: readonly string[]): IngotError {
  const verb = verbOf(args);
  const helpFor = verb !== undefined && COMMANDS.has(verb) ? `ingot ${verb} --help` : 'ingot --help';
  if (error.code === 'commander.help') {
    return new IngotError('USAGE', verb === undefined ? 'no command given' : `which \`${verb}\` command?`, {
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

export function readVersion(): string {
  const text = readFileSync(join(PRODUCT_ROOT, 'package.json'), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return version;
}
