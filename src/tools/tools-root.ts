/**
 * The tools root: a Debian root that our own programs run from (ostree, e2fsprogs, QEMU, firmware, boot loaders),
 * so that the age of the host's tools does not matter.
 *
 * A program sees the root's /usr and /etc, read-only, and of the host just the paths it is given. Its `/` is an
 * empty tmpfs, so that no mount point is ever made inside the root itself, which is shared by everything that runs
 * from it. Unless asked for, it has no network and no capability.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { Argv } from '../proc/run.ts';
import { bubblewrapArgv, type Bind } from './bubblewrap.ts';

/** A host path that the program may see. */
export interface ToolBind {
  /** Absolute. */
  readonly path: string;
  /** Absolute path inside. Default: the same. */
  readonly target?: string;
  readonly readOnly?: boolean;
  /** A device node; skipped when there is none. */
  readonly device?: boolean;
}

export interface ToolOptions {
  /** Capabilities left to the program, without `CAP_`. Default: none. */
  readonly capabilities?: readonly string[];
  /** Leaves the program this machine's network. Default: none. */
  readonly sharesNetwork?: boolean;
}

export interface ToolsRoot {
  readonly path: string;
  /** The argument vector that runs a program of the root. */
  argv(program: Argv, binds: readonly ToolBind[], options?: ToolOptions): Argv;
}

/**
 * Files of any owner and mode written as they are: what importing an image takes. Without LINUX_IMMUTABLE ostree
 * leaves out the immutable flag, so that what it wrote can be removed again.
 */
export const FILE_OWNER_CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'MKNOD',
  'SETFCAP',
] as const;

const ENVIRONMENT = {
  PATH: '/usr/sbin:/usr/bin',
  HOME: '/tmp',
  LC_ALL: 'C.UTF-8', // libarchive refuses names that are not ASCII in the C locale
  TZ: 'UTC',
  MTOOLS_SKIP_CHECK: '1',
} as const;

/** Top-level links of a merged-/usr root. */
const LINKS = ['bin', 'sbin', 'lib', 'lib64'] as const;

/**
 * A tools root at `path`. The parts of /usr are bound one by one, so that a store or an output below /usr/local
 * or /usr/src can be bound as well.
 */
export async function openToolsRoot(path: string): Promise<ToolsRoot> {
  const parts = (await readdir(join(path, 'usr'), { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && !['local', 'src'].includes(entry.name))
    .map((entry) => `/usr/${entry.name}`);
  const system: readonly Bind[] = [...parts, '/etc'].map((part) => ({
    source: join(path, part),
    target: part,
    readOnly: true,
  }));
  return {
    path,
    argv: (program, binds, options = {}) =>
      bubblewrapArgv(program, {
        links: LINKS.map((name) => ({ target: `usr/${name}`, path: `/${name}` })),
        binds: [...system, ...binds.map(({ path: source, ...rest }): Bind => ({ source, ...rest }))],
        tmpfs: ['/tmp', '/run', '/var/tmp'],
        environment: ENVIRONMENT,
        ...(options.capabilities !== undefined && { capabilities: options.capabilities }),
        ...(options.sharesNetwork === true && { sharesNetwork: true }),
      }),
  };
}
