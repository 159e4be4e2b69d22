/**
 * Runs rpm on an unfinished root, and turns its failures into errors that name the package and what it did.
 *
 * rpm comes out of a root of its own and works from within the one that it installs into, so that scripts are run there
 * as they would be on a node: by the image's own shell, without network, and with no more rights than files and
 * accounts take.
 */
import { IngotError } from '../../errors.ts';
import type { MountNamespace } from '../../proc/mount-namespace.ts';
import type { Argv } from '../../proc/run.ts';
import type { Reporter } from '../../report/events.ts';
import { bubblewrapArgv, type Bind } from '../../tools/bubblewrap.ts';
import { nameOfNevra, parseRpmFailures, rpmAtWork, rpmEnvironment, rpmOf } from '../../tools/rpm.ts';
import { PACKAGES_INSIDE } from '../sandbox.ts';

/** A root with everything that rpm needs of it. */
export interface RpmRoot {
  /** As seen in `namespace`. */
  readonly root: string;
  readonly namespace: MountNamespace;
  /** Path of the root that rpm comes from. */
  readonly tools: string;
  /** The store's packages. */
  readonly packages: string;
  /** Seconds; rpm takes it for the time of installing, which is in its database. */
  readonly epoch: number;
  /** Programs of the root that do nothing for now. */
  readonly masked: readonly string[];
}

export interface RpmOptions {
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  /** How long a script may say nothing before it counts as hanging. */
  readonly scriptSilenceMs?: number | undefined;
}

/** Owners, modes and capabilities of files; accounts that scripts make. No device nodes, no other root. */
const CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'SETFCAP', 'SETGID', 'SETUID'],
] as const;
const TOOLS_INSIDE = '/run/ingot/rpm';
/** Lines of output in an error. */
const RECENT = 20;
const SILENCE_MS = 20 * 60 * 1000;

/** rpm as the sandbox sees it. */
export const RPM = rpmOf(TOOLS_INSIDE);

/** @throws IngotError BUILD_FAILED, TIMEOUT naming the package, DISK_FULL, INTERRUPTED */
export async function runRpm(argv: Argv, place: RpmRoot, options: RpmOptions): Promise<void> {
  const complaints: string[] = [];
  /** For the person who reads of a failure: a script's own words are none of rpm's. */
  const recent: string[] = [];
  let current: string | undefined;
  try {
    await place.namespace.run(sandboxed(argv, place), {
      label: 'rpm',
      signal: options.signal,
      silenceMs: options.scriptSilenceMs ?? SILENCE_MS,
      onLine: (line) => {
        current = rpmAtWork(line) ?? current;
        if (isComplaint(line)) complaints.push(line);
        recent.push(line);
        if (recent.length > RECENT) recent.shift();
        options.reporter.debug(line);
      },
    });
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    if (error.code === 'TIMEOUT') throw hanging(error, current);
    if (error.code !== 'TOOL_FAILED') throw error;
    throw failed(complaints, recent, error);
  }
  // What fails after a package was installed is a warning to rpm: its files are there, its work is not done.
  if (parseRpmFailures(complaints.join('\n')).length > 0) throw failed(complaints, recent);
}

function sandboxed(argv: Argv, { root, tools, packages, epoch, masked }: RpmRoot): Argv {
  const binds: Bind[] = masked.map((path) => ({ source: `${root}/usr/bin/true`, target: path, readOnly: true }));
  binds.push({ source: `${tools}/usr`, target: TOOLS_INSIDE, readOnly: true });
  binds.push({ source: packages, target: PACKAGES_INSIDE, readOnly: true });
  return bubblewrapArgv(argv, {
    root,
    binds,
    tmpfs: ['/tmp', '/var/tmp', '/run'],
    capabilities: CAPABILITIES,
    environment: {
      PATH: '/usr/sbin:/usr/bin',
      HOME: '/root',
      LC_ALL: 'C.UTF-8',
      TZ: 'UTC',
      SYSTEMD_OFFLINE: '1',
      SOURCE_DATE_EPOCH: String(epoch),
      ...rpmEnvironment(TOOLS_INSIDE),
    },
  });
}

function isComplaint(line: string): boolean {
  return /scriptlet failed|conflicts (?:with|between)|^\s*(?:error|warning): /.test(line);
}

function failed(complaints: readonly string[], recent: readonly string[], cause?: unknown): IngotError {
  const failures = parseRpmFailures(complaints.join('\n'));
  const named = failures.map((failure) => `${nameOfNevra(failure.package)}: ${failure.what}`);
  const message =
    named.length === 0 ? 'rpm failed' : `installing failed for ${named.join('; ')}`;
  return new IngotError('BUILD_FAILED', message, {
    hint: 'package scripts run without network; with -v every line of rpm is shown',
    output: recent.join('\n'),
    cause,
  });
}

function hanging(error: IngotError, nevra: string | undefined): IngotError {
  const at = nevra === undefined ? '' : `, at work on ${nameOfNevra(nevra)}`;
  return new IngotError('TIMEOUT', `${error.message}${at}`, {
    cause: error,
    hint: 'a package script waits for something that is not there; INGOT_SCRIPT_SILENCE gives it more time, such as 1h',
    ...(error.output !== undefined && { output: error.output }),
  });
}
