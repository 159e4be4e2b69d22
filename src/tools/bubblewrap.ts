/**
 * bubblewrap: runs a program in a root of its own, in new mount, PID, IPC and UTS namespaces, with a bounded set
 * of capabilities and, unless asked for, no network. Manual: bwrap(1).
 */
import type { Argv } from '../proc/run.ts';

export interface Bind {
  /** Absolute path outside. */
  readonly source: string;
  /** Absolute path inside; default: the same. */
  readonly target?: string;
  readonly readOnly?: boolean;
  /** A device node, usable as such. Skipped when it does not exist. */
  readonly device?: boolean;
}

export interface BubblewrapOptions {
  /** Becomes `/`. Left out, `/` is an empty tmpfs that the binds and links fill. */
  readonly root?: string;
  readonly rootReadOnly?: boolean;
  readonly binds?: readonly Bind[];
  /** Symbolic links to make in an empty root. */
  readonly links?: readonly { readonly target: string; readonly path: string }[];
  /** Fresh tmpfs mounts inside, such as `/tmp`. */
  readonly tmpfs?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Capabilities left to the program, without `CAP_`; none by default. */
  readonly capabilities?: readonly string[];
  readonly workingDirectory?: string;
  /** Leaves the program this machine's network. Default: it has a network of its own, with nothing in it. */
  readonly sharesNetwork?: boolean;
}

/** Argument vector that runs `program` under bubblewrap. */
export function bubblewrapArgv(program: Argv, options: BubblewrapOptions): Argv {
  const argv: [string, ...string[]] = ['bwrap', '--unshare-pid', '--unshare-ipc', '--unshare-uts'];
  if (options.sharesNetwork !== true) argv.push('--unshare-net');
  argv.push('--die-with-parent', '--new-session', '--hostname', 'localhost', '--cap-drop', 'ALL');
  for (const capability of options.capabilities ?? []) argv.push('--cap-add', `CAP_${capability}`);
  if (options.root !== undefined) {
    argv.push(options.rootReadOnly === true ? '--ro-bind' : '--bind', options.root, '/');
  }
  for (const link of options.links ?? []) argv.push('--symlink', link.target, link.path);
  argv.push('--dev', '/dev', '--proc', '/proc');
  for (const path of options.tmpfs ?? ['/tmp', '/run']) argv.push('--tmpfs', path);
  for (const bind of options.binds ?? []) {
    const flag = bind.device === true ? '--dev-bind-try' : bind.readOnly === true ? '--ro-bind' : '--bind';
    argv.push(flag, bind.source, bind.target ?? bind.source);
  }
  argv.push('--clearenv');
  for (const [name, value] of Object.entries(options.environment ?? {})) argv.push('--setenv', name, value);
  argv.push('--chdir', options.workingDirectory ?? '/', '--', ...program);
  return argv;
}
