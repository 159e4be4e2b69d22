/** A real image as a node has it after its first boot: unpacked, /var made by systemd-tmpfiles, programs to run in it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { preparePlan } from '../../src/cli/prepare-plan.ts';
import type { Plan } from '../../src/plan/plan.ts';
import { type Argv, run, type RunResult } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import { createPalette } from '../../src/report/palette.ts';
import { bubblewrapArgv } from '../../src/tools/bubblewrap.ts';
import type { BuiltImage } from './built-image.ts';
import { PRODUCT_ROOT } from './cli.ts';
import { unpackImage } from './unpack-image.ts';

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);

export interface UnpackedRoot {
  readonly path: string;
  /** Runs a program in it as root, without network; any exit code is an answer. */
  readonly run: (program: Argv) => Promise<RunResult>;
}

/** @param path an empty folder, or none yet */
export async function unpackedRoot(image: BuiltImage, path: string): Promise<UnpackedRoot> {
  await mkdir(path, { recursive: true });
  await unpackImage(image.layout, image.version, path);
  const inside = (program: Argv): Promise<RunResult> =>
    run(
      bubblewrapArgv(program, {
        root: path,
        rootReadOnly: true, // as on a node: Python would write down what it compiled
        binds: ['etc', 'var'].map((name) => ({ source: join(path, name), target: `/${name}` })),
        capabilities: ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'SETGID', 'SETUID'],
        environment: { PATH: '/usr/sbin:/usr/bin', HOME: '/tmp', LC_ALL: 'C.UTF-8', TZ: 'UTC' },
      }),
      { okExitCodes: ANY_EXIT },
    );
  // It complains of what asks for the machine's identity, which nobody has given this one.
  await inside(['systemd-tmpfiles', '--create', '--prefix=/var']);
  return { path, run: inside };
}

/** The plan that the image was built from. */
export async function planOf(image: BuiltImage): Promise<Plan> {
  const { plan } = await preparePlan(
    {
      reporter: silentReporter,
      signal: new AbortController().signal,
      env: process.env,
      cwd: PRODUCT_ROOT,
      storePath: image.store,
      productRoot: PRODUCT_ROOT,
      now: () => new Date(),
      verbose: false,
      palette: createPalette(false),
      json: false,
    },
    image.declaration,
  );
  return plan;
}
