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

/** Commits a tar archive as it is; whiteouts stay as files. Prints the commit's checksum. */
export function ostreeCommitArchiveArgv(repo: string, ref: string, archive: string): Argv {
  return [
    'ostree',
    'commit',
    `--repo=${repo}`,
    `--branch=${ref}`,
    `--tree=tar=${archive}`,
    '--tar-autocreate-parents',
    '--disable-fsync',
  ];
}

/** Lays a commit over what is in `directory` as hard links, applying its whiteouts. */
export function ostreeCheckoutOverArgv(repo: string, ref: string, directory: string): Argv {
  return [
    'ostree',
    'checkout',
    `--repo=${repo}`,
    '--require-hardlinks',
    '--union',
    '--whiteouts',
    ref,
    directory,
  ];
}

export interface OstreeCommitTree {
  readonly ref: string;
  /** Consumed. Files that are hard links into the repository are taken without reading them. */
  readonly directory: string;
  readonly subject: string;
  /** Seconds since the epoch, so that equal trees are equal commits. */
  readonly timestamp: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Commits a bootable tree. Prints the commit's checksum. */
export function ostreeCommitTreeArgv(repo: string, commit: OstreeCommitTree): Argv {
  return [
    'ostree',
    'commit',
    `--repo=${repo}`,
    `--branch=${commit.ref}`,
    `--tree=dir=${commit.directory}`,
    '--link-checkout-speedup',
    '--consume',
    '--bootable',
    '--disable-fsync',
    `--subject=${commit.subject}`,
    `--timestamp=@${commit.timestamp}`,
    ...Object.entries(commit.metadata).map(([key, value]) => `--add-metadata-string=${key}=${value}`),
  ];
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

/** One deployment as `ostree admin status` shows it. */
export interface OstreeDeployment {
  readonly booted: boolean;
  readonly staged: boolean;
  readonly rollback: boolean;
  readonly stateroot: string;
  readonly checksum: string;
  readonly version?: string;
  readonly origin?: string;
}

/**
 * Parses `ostree admin status`: a line `* STATEROOT CHECKSUM.SERIAL (pending)` for each deployment, then indented
 * `Key: value` lines.
 */
export function parseOstreeStatus(text: string): OstreeDeployment[] {
  const deployments: OstreeDeployment[] = [];
  for (const line of text.split('\n')) {
    const head = /^([* ]) (\S+) ([0-9a-f]{64})\.\d+(.*)$/.exec(line);
    if (head !== null) {
      const remarks = head[4] ?? '';
      deployments.push({
        booted: head[1] === '*',
        staged: remarks.includes('(staged)'),
        rollback: remarks.includes('(rollback)'),
        stateroot: head[2] ?? '',
        checksum: head[3] ?? '',
      });
      continue;
    }
    const field = /^\s+(Version|origin refspec): (.+)$/.exec(line);
    const last = deployments.pop();
    if (last === undefined) continue;
    if (field?.[1] === 'Version') deployments.push({ ...last, version: field[2] ?? '' });
    else if (field !== null) deployments.push({ ...last, origin: field[2] ?? '' });
    else deployments.push(last);
  }
  return deployments;
}
