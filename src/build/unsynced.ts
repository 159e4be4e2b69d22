/**
 * A directory through a mount where syncing does nothing.
 *
 * dpkg syncs its database dozens of times per package, which its `--force-unsafe-io` leaves as it is. A tree that was
 * not made to its end is made again from scratch, and a whole one is synced once, so each of these only costs time.
 */
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { MountNamespace } from '../proc/mount-namespace.ts';
import type { Store } from '../store/store.ts';
import { mountOverlayArgv } from '../tools/mount.ts';
import { RootFs } from './root-fs.ts';

export interface UnsyncedRoot {
  /** The directory as programs in `namespace` see it. */
  readonly root: string;
  readonly namespace: MountNamespace;
  /** The same from outside. The directory itself must be left alone as long as `work` runs. */
  readonly fs: RootFs;
}

/**
 * Mounts the directory that `root` is in, which must hold nothing else, as the upper one of an overlay whose lower
 * one is empty. As nothing in `root` has a counterpart below, the kernel leaves no marks of an overlay there.
 *
 * @param root on the store's file system
 */
export async function withoutSyncing(
  root: string,
  options: { readonly store: Store; readonly signal?: AbortSignal | undefined },
  work: (unsynced: UnsyncedRoot) => Promise<void>,
): Promise<void> {
  const { store, signal } = options;
  await using scratch = await store.scratch('unsynced');
  await using namespace = await MountNamespace.open({ signal });
  const [lower, workDirectory, target] = ['lower', 'work', 'mounted'].map((name) => join(scratch.path, name)) as [
    string,
    string,
    string,
  ];
  for (const folder of [lower, workDirectory, target]) await mkdir(folder);
  await namespace.run(
    mountOverlayArgv({ lower: [lower], upper: dirname(root), work: workDirectory, target }),
    { signal },
  );
  const mounted = join(target, basename(root));
  await work({ root: mounted, namespace, fs: new RootFs(namespace.outsidePath(mounted)) });
}
