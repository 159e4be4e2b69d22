/** A tree in the making: the upper directory of an overlay over the trees below it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { MountNamespace } from '../proc/mount-namespace.ts';
import type { Store } from '../store/store.ts';
import { mountOverlayArgv } from '../tools/mount.ts';
import { dropNeedlessOpaqueMarks } from './layer-overlap.ts';
import { RootFs } from './root-fs.ts';

export interface BelowTree {
  readonly name: string;
  readonly root: string;
  /** Names of the steps it stands on. */
  readonly needs: readonly string[];
}

/** Mounts an overlay whose upper directory is `root`, where only this work and its sandboxes see it. */
export async function inOverlay(
  root: string,
  below: readonly BelowTree[],
  options: { readonly store: Store; readonly signal?: AbortSignal | undefined },
  work: (merged: string, namespace: MountNamespace, fs: RootFs) => Promise<void>,
): Promise<void> {
  await using scratch = await options.store.scratch('overlay');
  await using namespace = await MountNamespace.open({ signal: options.signal });
  const target = join(scratch.path, 'merged');
  const workDirectory = join(scratch.path, 'work');
  await mkdir(target);
  await mkdir(workDirectory);
  const lower = below.map((tree) => tree.root);
  await namespace.run(mountOverlayArgv({ lower, upper: root, work: workDirectory, target }), {
    signal: options.signal,
  });
  await work(target, namespace, new RootFs(namespace.outsidePath(target)));
  await namespace[Symbol.asyncDispose](); // the upper directory may change only when it is no longer mounted
  await dropNeedlessOpaqueMarks(root, lower, options.signal);
}
