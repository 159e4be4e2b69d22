/** Runs dpkg in the sandbox and turns its failure into an error that names the package and its script's words. */
import { IngotError } from '../../errors.ts';
import type { Argv } from '../../proc/run.ts';
import type { Reporter } from '../../report/events.ts';
import { parseDpkgFailure } from '../../tools/dpkg.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';

/** A package script that has not ended by then hangs: none of Debian's takes a tenth of this. */
const SCRIPT_LIMIT_MS = 20 * 60 * 1000;

export async function runDpkg(
  argv: Argv,
  sandbox: SandboxOptions,
  options: { readonly reporter: Reporter; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  try {
    await runInSandbox(argv, sandbox, {
      signal: options.signal,
      timeoutMs: SCRIPT_LIMIT_MS,
      onLine: (line) => {
        options.reporter.debug(line);
      },
      label: 'dpkg',
    });
  } catch (error) {
    if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
    const names = parseDpkgFailure(error.output ?? '');
    throw new IngotError(
      'BUILD_FAILED',
      names.length === 0 ? 'dpkg failed' : `installing failed for ${names.join(', ')}`,
      {
        cause: error,
        hint: 'package scripts run without network; with -v every line of dpkg is shown',
        ...(error.output !== undefined && { output: error.output }),
      },
    );
  }
}
