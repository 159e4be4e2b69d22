/** ostree 2025.2. Manuals: ostree(1), ostree-admin(1) and their subcommands. */
import type { Argv } from '../proc/run.ts';

/** Makes an empty physical root: `boot/` and `ostree/`, no more. */
export function ostreeInitFsArgv(sysroot: string): Argv {
  return ['ostree', 'admin', 'init-fs', '--modern', sysroot];
}

export function ostreeStaterootInitArgv(sysroot: string, stateroot: string): Argv {
  return ['ostree', 'admin', 'stateroot-init', `--sysroot=${sysroot}`, stateroot];
}

/** `key` is `group.name`, such as `sysroot.bootloader`. */
export function ostreeConfigSetArgv(repo: string, key: string, value: string): Argv {
  return ['ostree', 'config', `--repo=${repo}`, 'set', key, value];
}

/**
 * Commits a tar archive as it is; whiteouts stay as files. Prints the commit's checksum.
 *
 * @param isDurable waits until it would survive a power loss
 */
export function ostreeCommitArchiveArgv(repo: string, ref: string, archive: string, isDurable = false): Argv {
  return [
    'ostree',
    'commit',
    `--repo=${repo}`,
    `--branch=${ref}`,
    `--tree=tar=${archive}`,
    '--tar-autocreate-parents',
    ...(isDurable ? [] : ['--disable-fsync']),
  ];
}

/** Gives a commit a name, or an existing name to it. */
export function ostreeSetRefArgv(repo: string, ref: string, commit: string): Argv {
  return ['ostree', 'refs', `--repo=${repo}`, '--force', `--create=${ref}`, commit];
}

/** Prints the version and, a line each, what it was built with. */
export const ostreeVersionArgv: Argv = ['ostree', '--version'];

/** Of `ostree --version`. */
export function parseOstreeFeatures(text: string): readonly string[] {
  return [...text.matchAll(/^\s+- (\S+)$/gm)].map(([, name]) => name ?? '');
}

/** The composefs of a deployment, in its folder. */
export const COMPOSEFS_FILE = '.ostree.cfs';

/**
 * Writes the composefs of a commit: the file that libostree, built with composefs, puts beside a deployment. ostree makes
 * it in the working directory and links it to its name, so that is where it must be (2026.4).
 */
export function ostreeComposefsArgv(repo: string, ref: string, folder: string, name: string): Argv {
  return ['env', `--chdir=${folder}`, 'ostree', 'checkout', '--composefs', `--repo=${repo}`, ref, name];
}

/** Fails when the revision has no such path. */
export function ostreeListArgv(repo: string, revision: string, path: string): Argv {
  return ['ostree', 'ls', `--repo=${repo}`, revision, path];
}

/**
 * Deploys into a root that is not running. Arguments are appended: `--karg` would keep only the last of several with
 * one name, such as `console=`. Nothing is carried over from another deployment. */
export function ostreeDeployArgv(options: {
  readonly sysroot: string;
  readonly stateroot: string;
  readonly ref: string;
  readonly kernelArguments: readonly string[];
}): Argv {
  return [
    'ostree',
    'admin',
    'deploy',
    `--sysroot=${options.sysroot}`,
    `--os=${options.stateroot}`,
    '--no-merge',
    ...options.kernelArguments.map((argument) => `--karg-append=${argument}`),
    options.ref,
  ];
}

/**
 * Prepares the next deployment of the running system: /etc is merged, and the boot entries are written, when it goes
 * down. The arguments are all that the kernel gets, but for `ostree=`.
 */
export function ostreeStageArgv(options: {
  readonly stateroot: string;
  readonly ref: string;
  /** A key file: origin(5)-like, group `origin` with `refspec`, and groups of others. */
  readonly originFile: string;
  readonly kernelArguments: readonly string[];
}): Argv {
  return [
    'ostree',
    'admin',
    'deploy',
    `--os=${options.stateroot}`,
    '--stage',
    `--origin-file=${options.originFile}`,
    '--karg-none',
    ...options.kernelArguments.map((argument) => `--karg-append=${argument}`),
    options.ref,
  ];
}

/** Puts a deployment first, so that it starts next. `index` is its place in `ostree admin status`. */
export function ostreeSetDefaultArgv(index: number): Argv {
  return ['ostree', 'admin', 'set-default', String(index)];
}

export function ostreePinArgv(index: number, isPinned: boolean): Argv {
  return ['ostree', 'admin', 'pin', ...(isPinned ? [] : ['--unpin']), String(index)];
}

export function ostreeUndeployArgv(index: number): Argv {
  return ['ostree', 'admin', 'undeploy', String(index)];
}

/** Lays a file system over /usr of the running system, which is writable and goes with the next restart. */
export const ostreeUnlockArgv: Argv = ['ostree', 'admin', 'unlock'];

/** Removes what no deployment and no branch needs. */
export function ostreeCleanupArgv(): Argv {
  return ['ostree', 'admin', 'cleanup'];
}

/** Deletes one branch; its commit stays until it is cleaned up. */
export function ostreeDeleteRefArgv(repo: string, ref: string): Argv {
  return ['ostree', 'refs', `--repo=${repo}`, '--delete', ref];
}

/** Prints the whole names of branches below `prefix`. */
export function ostreeListRefsArgv(repo: string, prefix: string): Argv {
  return ['ostree', 'refs', `--repo=${repo}`, '--list', prefix];
}

/** One deployment as `ostree admin status` shows it. */
export interface OstreeDeployment {
  readonly booted: boolean;
  readonly staged: boolean;
  /** It starts next. */
  readonly pending: boolean;
  readonly rollback: boolean;
  /** It is not dropped for newer ones. */
  readonly pinned: boolean;
  /** /usr can be written to. */
  readonly unlocked: boolean;
  readonly stateroot: string;
  readonly checksum: string;
  /** Tells deployments of one commit apart. */
  readonly serial: number;
  readonly version?: string;
  readonly origin?: string;
}

/**
 * Parses `ostree admin status`: a line `* STATEROOT CHECKSUM.SERIAL (pending)` for each deployment, then indented
 * `Key: value` lines. ostree 2025.2, of Debian 13, has no `--json`.
 */
export function parseOstreeStatus(text: string): OstreeDeployment[] {
  const deployments: OstreeDeployment[] = [];
  for (const line of text.split('\n')) {
    const head = /^([* ]) (\S+) ([0-9a-f]{64})\.(\d+)(.*)$/.exec(line);
    if (head !== null) {
      const remarks = head[5] ?? '';
      deployments.push({
        booted: head[1] === '*',
        staged: remarks.includes('(staged)'),
        pending: remarks.includes('(pending)'),
        rollback: remarks.includes('(rollback)'),
        pinned: false,
        unlocked: false,
        stateroot: head[2] ?? '',
        checksum: head[3] ?? '',
        serial: Number(head[4]),
      });
      continue;
    }
    const field = /^\s+(Version|origin refspec|Pinned|Unlocked): (.+)$/.exec(line);
    const last = deployments.pop();
    if (last === undefined) continue;
    const value = field?.[2] ?? '';
    if (field?.[1] === 'Version') deployments.push({ ...last, version: value });
    else if (field?.[1] === 'Pinned') deployments.push({ ...last, pinned: value === 'yes' });
    else if (field?.[1] === 'Unlocked') deployments.push({ ...last, unlocked: value !== 'none' });
    else if (field !== null) deployments.push({ ...last, origin: value });
    else deployments.push(last);
  }
  return deployments;
}
