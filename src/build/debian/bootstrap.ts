/**
 * The base root, from nothing but packages: the essential set is extracted, so that there is a shell and a dpkg,
 * and then installed over itself; the rest is unpacked and configured in one go.
 *
 * What several packages would each compute again (initramfs, module index) is masked and left to the seal.
 */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';

import type { LockedPackage } from '../../packages/package.ts';
import { MountNamespace } from '../../proc/mount-namespace.ts';
import { runPiped } from '../../proc/pipe.ts';
import type { Argv } from '../../proc/run.ts';
import type { Reporter } from '../../report/events.ts';
import type { Store } from '../../store/store.ts';
import { bubblewrapArgv } from '../../tools/bubblewrap.ts';
import {
  dpkgConfigureArgv,
  dpkgDebFsysTarArgv,
  dpkgInstallArgv,
  dpkgUnpackArgv,
  tarExtractArgv,
} from '../../tools/dpkg.ts';
import { RootFs } from '../root-fs.ts';
import { PACKAGES_INSIDE, type SandboxOptions } from '../sandbox.ts';
import { withoutSyncing } from '../unsynced.ts';
import { runDpkg, type DpkgOptions } from './run-dpkg.ts';

/**
 * Programs that package scripts call and that run once at the end instead. Keys of a host are made on that host: what
 * ssh's package makes of them would be thrown away.
 */
export const MASKED_PROGRAMS = [
  '/usr/bin/dracut',
  '/usr/bin/kmod',
  '/usr/bin/ssh-keygen',
  '/usr/sbin/update-initramfs',
];

export interface BootstrapOptions {
  readonly packages: readonly LockedPackage[];
  /** Names of the essential packages and what they depend on: installed first. */
  readonly essential: ReadonlySet<string>;
  readonly store: Store;
  /** Seconds. */
  readonly epoch: number;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  readonly scriptSilenceMs?: number | undefined;
}

/** Where a package file is, as programs inside the sandbox see it. */
export function packageInside(file: LockedPackage): string {
  return `${PACKAGES_INSIDE}/${file.sha256.slice(0, 2)}/${file.sha256}.deb`;
}

/**
 * Fills the empty directory `root`, alone in a directory of its own on the store's file system. Every package is
 * configured afterwards.
 */
export async function bootstrapRoot(root: string, options: BootstrapOptions): Promise<void> {
  const { packages, essential, store, signal } = options;
  const first = packages.filter((file) => essential.has(file.name));
  const rest = packages.filter((file) => !essential.has(file.name));
  await makeSkeleton(root);
  await extractAll(root, first, store, signal);
  await withoutSyncing(root, options, async ({ fs, ...mounted }) => {
    const sandbox: SandboxOptions = {
      ...mounted,
      packages: store.path('packages'),
      epoch: options.epoch,
    };
    await forbidServices(fs);
    await runDpkg(dpkgInstallArgv(first.map(packageInside)), sandbox, options);
    if (rest.length > 0) {
      await runDpkg(dpkgUnpackArgv(rest.map(packageInside), { triggers: true }), sandbox, options);
      await configurePending(sandbox, options);
    }
    await allowServices(fs);
  });
}

/** `dpkg --configure --pending`, with the masks that exist in this root. */
export async function configurePending(
  sandbox: SandboxOptions,
  options: DpkgOptions,
): Promise<void> {
  // Through the namespace's holder when the root is an overlay that only the namespace sees.
  const fs = new RootFs(sandbox.namespace?.outsidePath(sandbox.root) ?? sandbox.root);
  const masked: string[] = [];
  for (const path of MASKED_PROGRAMS) if (await fs.exists(path)) masked.push(path);
  await runDpkg(dpkgConfigureArgv(), { ...sandbox, masked }, options);
}

/**
 * Merged /usr from the start, and the package database below /usr, so that it is part of the image and goes back
 * with it on a rollback.
 */
async function makeSkeleton(root: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(root, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(root, name));
  }
  const database = join(root, 'usr/lib/sysimage/dpkg');
  for (const name of ['info', 'updates', 'triggers']) await mkdir(join(database, name), { recursive: true });
  await writeFile(join(database, 'status'), '');
  await mkdir(join(root, 'var/lib'), { recursive: true });
  await symlink('../../usr/lib/sysimage/dpkg', join(root, 'var/lib/dpkg'));
}

async function extractAll(
  root: string,
  packages: readonly LockedPackage[],
  store: Store,
  signal: AbortSignal | undefined,
): Promise<void> {
  const limit = pLimit(2);
  await using namespace = await MountNamespace.open({ signal }); // where no sandbox outlives us
  const extract: Argv = [...namespace.enterArgv, ...extractInside(root)];
  // Nobody may write there any more when this is over.
  const results = await Promise.allSettled(
    packages.map((file) =>
      limit(() => runPiped(dpkgDebFsysTarArgv(store.packagePath(file.sha256)), extract, { signal })),
    ),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

const TREE_INSIDE = '/tree';

/**
 * tar(1) where nothing but the tree can be written: it follows links to directories, which merged /usr takes, and one
 * of them may have come with an earlier package and lead to this machine's own files.
 */
function extractInside(root: string): Argv {
  return bubblewrapArgv(tarExtractArgv(TREE_INSIDE), {
    links: ['bin', 'lib', 'lib64'].map((name) => ({ target: `usr/${name}`, path: `/${name}` })),
    binds: [
      { source: '/usr', readOnly: true },
      { source: root, target: TREE_INSIDE },
    ],
    tmpfs: [],
    capabilities: ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'MKNOD'],
    environment: { PATH: '/usr/bin', LC_ALL: 'C.UTF-8', TZ: 'UTC' },
  });
}

const POLICY = '/usr/sbin/policy-rc.d';

/** No service starts while packages are installed: invoke-rc.d(8) asks this script. */
export async function forbidServices(fs: RootFs): Promise<void> {
  await fs.writeFile(POLICY, '#!/bin/sh\nexit 101\n', 0o755);
}

export async function allowServices(fs: RootFs): Promise<void> {
  await fs.remove(POLICY);
}
