/**
 * A private mount and PID namespace that lives exactly as long as we do.
 *
 * Mounts made inside are never seen outside, so there is nothing to unmount: when the last process inside is
 * gone, so are they. The PID namespace makes sure of that last process: its init is a holder (holder.ts), and
 * when init ends the kernel kills every process inside, daemons and grandchildren included. Init ends when it is
 * disposed, when our end of its pipe closes, and by its parent-death signal: kill -9 of Ingot leaves nothing.
 */
import { IngotError } from '../errors.ts';
import { toolMissing } from './find-program.ts';
import { startHolder, type Holder } from './holder.ts';
import { run, type Argv, type RunOptions, type RunResult } from './run.ts';

export interface MountNamespaceOptions {
  /** Ends the wait for the namespace; programs inside have their own. */
  readonly signal?: AbortSignal | undefined;
}

export class MountNamespace implements AsyncDisposable {
  readonly #holder: Holder;
  /** Prefix that makes an argument vector run inside, in its root directory. */
  readonly enterArgv: readonly [string, ...string[]];

  private constructor(holder: Holder) {
    this.#holder = holder;
    // /proc/PID/ns/pid is the namespace that unshare(1) came from: it only gave its child a new one.
    const ns = `/proc/${holder.pid}/ns`;
    this.enterArgv = ['nsenter', `--mount=${ns}/mnt`, `--pid=${ns}/pid_for_children`, '--'];
  }

  /** @throws IngotError NOT_ROOT, INTERRUPTED, TOOL_MISSING, or TOOL_FAILED when the kernel refuses. */
  static async open(options: MountNamespaceOptions = {}): Promise<MountNamespace> {
    if (process.getuid?.() !== 0) {
      throw new IngotError('NOT_ROOT', 'only root can make a mount namespace', {
        hint: 'run the same command as root, for example with sudo',
      });
    }
    const holder = await startHolder(
      [
        ...['setpriv', '--pdeathsig', 'KILL', '--'],
        ...['unshare', '--mount', '--propagation', 'private'],
        ...['--pid', '--fork', '--kill-child=KILL', '--mount-proc', '--'],
        // An init that ignores SIGCHLD has its orphans reaped by the kernel.
        ...['env', '--ignore-signal=CHLD', 'cat'],
      ] as [string, ...string[]],
      { what: 'a mount namespace', signal: options.signal },
    );
    return new MountNamespace(holder);
  }

  /** Runs a program inside. `cwd` is a path as seen inside; default `/`. Throws as `run` does. */
  async run(argv: Argv, options: RunOptions = {}): Promise<RunResult> {
    const { cwd, ...rest } = options;
    // Entering a mount namespace moves the process to its root directory, so the folder is set after it.
    const chdir = cwd === undefined ? [] : ['env', `--chdir=${cwd}`];
    try {
      return await run([...this.enterArgv, ...chdir, ...argv], {
        ...rest,
        shown: options.shown ?? argv,
        label: options.label ?? argv[0].replace(/^.*\//, ''),
      });
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
      // Only the wrapper looked for the program.
      const complaints = [`nsenter: failed to execute ${argv[0]}: `, `env: ‘${argv[0]}’: No such file`];
      throw complaints.some((words) => error.output?.startsWith(words)) ? toolMissing(argv[0]) : error;
    }
  }

  /** How a path inside looks from outside: the kernel walks into the namespace through its holder. */
  outsidePath(path: string): string {
    return `/proc/${this.#holder.pid}/root${path}`;
  }

  /** Ends every process inside, and with them every mount. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder[Symbol.asyncDispose]();
  }
}
