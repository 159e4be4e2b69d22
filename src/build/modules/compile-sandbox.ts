/**
 * Runs what a module source brings (its configuration, its make files) inside the compile root: read-only, without
 * network, as a user who owns nothing but the scratch folder.
 */
import { chown, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import type { Argv, RunOptions, RunResult } from '../../proc/run.ts';
import { bubblewrapArgv } from '../../tools/bubblewrap.ts';
import { asUserArgv } from '../../tools/setpriv.ts';
import { PACKAGES_INSIDE, runSandboxed } from '../sandbox.ts';

/** The scratch folder as programs see it: always the same, since compilers write paths into what they make. */
export const BUILD_INSIDE = '/run/ingot/build';

/** Of the user's own, as /tmp is not. */
const TEMPORARY = `${BUILD_INSIDE}/tmp`;

const NOBODY = 65_534;

export interface CompileSandbox {
  /** The compile root. */
  readonly root: string;
  /** The store's packages. */
  readonly packages: string;
  /** The scratch folder on this machine. */
  readonly scratch: string;
  /** SOURCE_DATE_EPOCH, seconds. */
  readonly epoch: number;
}

/** Makes the scratch folder of a sandbox below `parent`, which is root's alone, for the user whom programs run as. */
export async function makeScratch(parent: string): Promise<string> {
  const scratch = join(parent, 'build');
  for (const folder of [scratch, join(scratch, 'tmp')]) {
    await mkdir(folder, { mode: 0o755 });
    await chown(folder, NOBODY, NOBODY);
  }
  return scratch;
}

/** @param cwd below BUILD_INSIDE. Errors as `run`. */
export async function runCompiling(
  program: Argv,
  { root, packages, scratch, epoch }: CompileSandbox,
  { cwd, env, ...options }: RunOptions = {},
): Promise<RunResult> {
  const argv = bubblewrapArgv(asUserArgv(NOBODY, program), {
    root,
    rootReadOnly: true,
    binds: [
      { source: packages, target: PACKAGES_INSIDE, readOnly: true },
      { source: scratch, target: BUILD_INSIDE },
    ],
    // Each is open to all to look into; what bubblewrap makes on the way to a mount is root's alone.
    tmpfs: ['/tmp', '/var/tmp', '/run', dirname(BUILD_INSIDE)],
    capabilities: ['SETUID', 'SETGID'], // for setpriv, which gives them up
    workingDirectory: cwd ?? BUILD_INSIDE,
    environment: {
      PATH: '/usr/sbin:/usr/bin',
      HOME: TEMPORARY,
      TMPDIR: TEMPORARY,
      LC_ALL: 'C.UTF-8',
      TZ: 'UTC',
      SOURCE_DATE_EPOCH: String(epoch),
      // kbuild(8) would take the clock, the user and the host.
      KBUILD_BUILD_TIMESTAMP: new Date(epoch * 1000).toISOString(),
      KBUILD_BUILD_USER: 'ingot',
      KBUILD_BUILD_HOST: 'ingot',
      ...env,
    },
  });
  return runSandboxed(argv, { label: program[0].replace(/^.*\//, ''), shown: program, ...options });
}
