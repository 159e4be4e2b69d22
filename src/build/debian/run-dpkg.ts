/** Runs dpkg in the sandbox and turns its failure into an error that names the package and its script's words. */
import { IngotError } from '../../errors.ts';
import type { LockedPackage } from '../../packages/package.ts';
import type { Argv } from '../../proc/run.ts';
import type { Reporter } from '../../report/events.ts';
import { packageAtWork, parseDpkgFailure } from '../../tools/dpkg.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';

/** dpkg names each package that it works on; of Debian's none takes a tenth of this. */
const SILENCE_MS = 20 * 60 * 1000;

export interface DpkgOptions {
  /** Whose files dpkg is given: it names those that it has not unpacked by their path. */
  readonly packages?: readonly LockedPackage[];
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  /** How long a package script may say nothing before it counts as hanging. */
  readonly scriptSilenceMs?: number | undefined;
}

/** @throws IngotError BUILD_FAILED, TIMEOUT naming the package, DISK_FULL, INTERRUPTED */
export async function runDpkg(argv: Argv, sandbox: SandboxOptions, options: DpkgOptions): Promise<void> {
  let current: string | undefined;
  const byHash = new Map((options.packages ?? []).map(({ name, sha256 }) => [sha256, name]));
  const nameOf = (word: string): string => byHash.get(/([0-9a-f]{64})\.deb$/.exec(word)?.[1] ?? '') ?? word;
  try {
    await runInSandbox(argv, sandbox, {
      signal: options.signal,
      silenceMs: options.scriptSilenceMs ?? SILENCE_MS,
      onLine: (line) => {
        current = packageAtWork(line) ?? current;
        options.reporter.debug(line);
      },
      label: 'dpkg',
    });
  } catch (error) {
    if (error instanceof IngotError && error.code === 'TIMEOUT') {
      throw hanging(error, current === undefined ? undefined : nameOf(current));
    }
    if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
    const names = parseDpkgFailure(error.output ?? '').map(nameOf);
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

function hanging(error: IngotError, name: string | undefined): IngotError {
  return new IngotError('TIMEOUT', `${error.message}${name === undefined ? '' : `, at work on ${name}`}`, {
    cause: error,
    hint: 'a package script waits for something that is not there; INGOT_SCRIPT_SILENCE gives it more time, such as 1h',
    ...(error.output !== undefined && { output: error.output }),
  });
}
