/**
 * The program: signals, one catch, one exit.
 *
 * The first Ctrl-C or SIGTERM asks everything to stop and clean up; the second ends at once, and takes the
 * programs that still run with it.
 */
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

// The caller's umask would become the modes of folders in images: bits, and so digests, that depend on who builds.
// What nobody else may read (disks, console logs, mirror addresses) is made with a mode of its own.
process.umask(0o022);

// Compiled code is kept from run to run: a third of the time to the first line. In the user's own folder, never in
// /tmp, where somebody else could lay out code for us. Before the first import of ours, hence all are dynamic.
enableCompileCache(process.env['NODE_COMPILE_CACHE'] ?? join(homedir(), '.cache/ingot-code'));

const { RESULT_SCHEMA_VERSION, runProgram } = await import('./cli/program.ts');
const { errorToJson, renderError } = await import('./cli/render-error.ts');
const { errnoOf, exitCodeOf } = await import('./errors.ts');
const { killAllGroups } = await import('./proc/children.ts');
const { createPalette, wantsColor } = await import('./report/palette.ts');

const EXIT_INTERRUPTED = 130;

const args = process.argv.slice(2);
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
  const exitCode = await runProgram(args, {
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
