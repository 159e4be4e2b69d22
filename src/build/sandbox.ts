/**
 * Runs package scripts and image programs inside an unfinished root.
 *
 * They get their own mount, PID, IPC, UTS and network namespaces (no network at all), the store's packages
 * read-only, and just the capabilities that installing packages takes. They can't see the host's files, load a
 * module, mount, or change the clock.
 */
import { MountNamespace } from '../proc/mount-namespace.ts';
import type { Argv, RunOptions, RunResult } from '../proc/run.ts';
import { bubblewrapArgv, type Bind } from '../tools/bubblewrap.ts';

/** What dpkg, sysusers and dracut need: owners, modes, file capabilities, device nodes in an initramfs. */
const CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'SETFCAP',
  'SETGID',
  'SETUID',
  'SYS_CHROOT',
] as const;

/** Where the package store appears inside. */
export const PACKAGES_INSIDE = '/run/ingot/packages';

export interface SandboxOptions {
  /** The root's path, as seen in `namespace` when there is one. */
  readonly root: string;
  /** Where the root is mounted, when it is an overlay. */
  readonly namespace?: MountNamespace;
  readonly packages?: string;
  /** Seconds; exported as SOURCE_DATE_EPOCH. */
  readonly epoch: number;
  /**
   * Programs of the root that do nothing for now: the initramfs and the module index are made once, at the end,
   * instead of by every package that asks.
   */
  readonly masked?: readonly string[];
}

/** Runs `program` inside the root. Errors as `run`. */
export async function runInSandbox(
  program: Argv,
  sandbox: SandboxOptions,
  options: RunOptions = {},
): Promise<RunResult> {
  const binds: Bind[] = (sandbox.masked ?? []).map((path) => ({
    source: `${sandbox.root}/usr/bin/true`,
    target: path,
    readOnly: true,
  }));
  if (sandbox.packages !== undefined) {
    binds.push({ source: sandbox.packages, target: PACKAGES_INSIDE, readOnly: true });
  }
  const argv = bubblewrapArgv(program, {
    root: sandbox.root,
    binds,
    tmpfs: ['/tmp', '/var/tmp', '/run'],
    capabilities: CAPABILITIES,
    environment: {
      PATH: '/usr/sbin:/usr/bin',
      HOME: '/root',
      LC_ALL: 'C.UTF-8',
      TZ: 'UTC',
      DEBIAN_FRONTEND: 'noninteractive',
      DEBCONF_NONINTERACTIVE_SEEN: 'true',
      SYSTEMD_OFFLINE: '1',
      SOURCE_DATE_EPOCH: String(sandbox.epoch),
    },
  });
  const start = { label: program[0].replace(/^.*\//, ''), ...options };
  return runSandboxed(argv, start, sandbox.namespace);
}

/**
 * Runs bubblewrap where nothing of it outlives us. It makes its child, ties itself to its parent's life, and then lets
 * the child go on: killed in between, it would leave a child that waits for ever. The kernel ends what is in a namespace
 * whose holder is gone, in whatever state.
 */
export async function runSandboxed(argv: Argv, options: RunOptions, namespace?: MountNamespace): Promise<RunResult> {
  if (namespace !== undefined) return namespace.run(argv, options);
  await using own = await MountNamespace.open({ signal: options.signal });
  return await own.run(argv, options);
}
