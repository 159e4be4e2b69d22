/**
 * The program around the commands: signals, one catch, one exit.
 *
 * The first Ctrl-C or SIGTERM asks everything to stop and clean up; the second ends at once, and takes the
 * programs that still run with it.
 */
import { errnoOf, exitCodeOf } from '../errors.ts';
import { killAllGroups } from '../proc/children.ts';
import { createPalette, wantsColor } from '../report/palette.ts';
import type { Commands } from './commands.ts';
import { RESULT_SCHEMA_VERSION, runProgram } from './program.ts';
import { errorToJson, renderError } from './render-error.ts';

const EXIT_INTERRUPTED = 130;

const args = process.argv.slice(2);

/** Runs this process's command line with these commands, and ends the process. */
export async function start(commands: Commands): Promise<void> {
  // The caller's umask would become the modes of folders in images: bits, and so digests, that depend on who builds.
  // What nobody else may read (disks, console logs, mirror addresses) is made with a mode of its own.
  process.umask(0o022);
  const interruption = new AbortController();

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (interruption.signal.aborted) {
        killAllGroups();
        process.exit(EXIT_INTERRUPTED);
      }
      interruption.abort();
    });
  }
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      // The reader of a pipe may leave early: `ingot store df | head -1`.
      // And a terminal may be closed under us: its SIGHUP is what ends the work, in order.
      if (!['EPIPE', 'EIO'].includes(errnoOf(error) ?? '')) fail(error);
    });
  }
  process.on('uncaughtException', fail);

  try {
    const exitCode = await runProgram(commands, args, {
      stdout: process.stdout,
      stderr: process.stderr,
      env: process.env,
      cwd: process.cwd(),
      signal: interruption.signal,
    });
    await flushStdout();
    process.exit(exitCode);
  } catch (error) {
    printError(error);
    await flushStdout();
    process.exit(exitCodeOf(error));
  }
}

function printError(error: unknown): void {
  // The options may be what is wrong, so they are looked for by hand.
  const options = new Set(args.slice(0, args.includes('--') ? args.indexOf('--') : undefined));
  if (options.has('--json')) {
    const json = { schemaVersion: RESULT_SCHEMA_VERSION, ...errorToJson(error) };
    process.stdout.write(`${JSON.stringify(json, null, 2)}\n`);
  }
  const color = wantsColor({
    isTerminal: process.stderr.isTTY,
    env: process.env,
    refused: options.has('--no-color'),
  });
  process.stderr.write(
    renderError(error, {
      palette: createPalette(color),
      cwd: process.cwd(),
      verbose: options.has('-v') || options.has('--verbose'),
    }),
  );
}

/** An error nobody waited for: a bug, whatever it is. */
function fail(error: unknown): never {
  killAllGroups();
  printError(error instanceof Error ? new Error('unhandled error', { cause: error }) : error);
  process.exit(70);
}

/** `process.exit` drops what a pipe has not taken yet. */
async function flushStdout(): Promise<void> {
  await new Promise<void>((resolve) => {
    process.stdout.write('', () => {
      resolve();
    });
  });
}
