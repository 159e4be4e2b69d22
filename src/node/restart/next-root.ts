/**
 * The root that systemd goes over to in a soft reboot, /run/nextroot, made of a deployment as ostree-prepare-root makes
 * the root in the initramfs: the deployment, its /usr read-only, its /etc writable, the physical root read-only at
 * /sysroot. /var and /boot have mount units, which run again. Where the root is a composefs, so is the next. (ostree can
 * do that since 2025.3, if the kernel's arguments are the same, which ours never are: each deployment has an id.)
 *
 * Its mounts are made where systemd sees them, in the namespace of process 1: a service may have one of its own.
 */
import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { Argv } from '../../proc/run.ts';
import {
  bindMountArgv,
  makePrivateArgv,
  mountComposefsArgv,
  mountImageArgv,
  remountBindArgv,
  unmountArgv,
  unmountTreeArgv,
} from '../../tools/mount.ts';
import { COMPOSEFS_FILE } from '../../tools/ostree.ts';
import { HostTools, type NodeTools } from '../host-tools.ts';

/** systemd-soft-reboot.service(8). While something is mounted here, even `systemctl reboot` is a soft one. */
export const NEXT_ROOT = '/run/nextroot';

/** Where its names are mounted for a moment. */
const NAMES = '/run/ingot/composefs';

export interface NextRootSource {
  /** Of the deployment, as process 1 sees it. */
  readonly folder: string;
  /** Of the physical root. */
  readonly sysroot: string;
  readonly isComposefs: boolean;
}

export function nextRootMounts(source: NextRootSource, target = NEXT_ROOT): readonly Argv[] {
  const { folder, sysroot, isComposefs } = source;
  const usr = join(target, 'usr');
  const etc = join(target, 'etc');
  const physical = join(target, 'sysroot');
  const root = isComposefs
    ? [
        ['mkdir', '--parents', NAMES] as const,
        mountImageArgv(join(folder, COMPOSEFS_FILE), 'erofs', NAMES),
        mountComposefsArgv(NAMES, join(sysroot, 'ostree/repo/objects'), target),
        unmountArgv(NAMES),
        makePrivateArgv(target),
        bindMountArgv(join(folder, 'etc'), etc),
        remountBindArgv(etc, 'rw'),
      ]
    : [
        bindMountArgv(folder, target),
        // Else what is mounted below shows up again in the namespaces of services, and keeps it there.
        makePrivateArgv(target),
        // /sysroot is read-only, and what is taken from there is as well. The folder itself is immutable.
        remountBindArgv(target, 'rw'),
        bindMountArgv(etc, etc),
        bindMountArgv(usr, usr),
        remountBindArgv(usr, 'ro'),
      ];
  return [...root, bindMountArgv(sysroot, physical), remountBindArgv(physical, 'ro')];
}

export interface NextRoot extends AsyncDisposable {
  /** From now on it stays: systemd takes it. */
  keep(): void;
}

/** Taken down again unless it is kept. @throws IngotError NODE_FAILED */
export async function mountNextRoot(source: NextRootSource, tools: NodeTools): Promise<NextRoot> {
  await takeDownNextRoot();
  await mkdir(NEXT_ROOT, { recursive: true });
  let isKept = false;
  try {
    for (const argv of nextRootMounts(source)) await tools.run(inside(argv));
  } catch (error) {
    await takeDownNextRoot();
    throw error;
  }
  return {
    keep: () => {
      isKept = true;
    },
    [Symbol.asyncDispose]: async () => {
      if (!isKept) await takeDownNextRoot();
    },
  };
}

/** Also when we were interrupted, so by tools that nothing stops. */
export async function takeDownNextRoot(): Promise<void> {
  const tools = new HostTools();
  while (isMounted(await readFile('/proc/1/mountinfo', 'utf8'), NEXT_ROOT)) {
    await tools.run(inside(unmountTreeArgv(NEXT_ROOT)));
  }
  if (isMounted(await readFile('/proc/1/mountinfo', 'utf8'), NAMES))
    await tools.run(inside(unmountArgv(NAMES)));
  await rmdir(NEXT_ROOT).catch(() => undefined);
}

/** @param mountinfo proc_pid_mountinfo(5): the fifth word of a line is the place */
export function isMounted(mountinfo: string, place: string): boolean {
  return mountinfo.split('\n').some((line) => line.split(' ')[4] === place);
}

function inside(argv: Argv): Argv {
  return ['nsenter', '--target', '1', '--mount', '--', ...argv];
}
