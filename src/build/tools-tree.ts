/** The tools root as a tree of the store: made by the same code as a base, from the lock's own packages. */
import { fetchPackages } from '../packages/fetch.ts';
import type { Mirrors } from '../packages/mirror.ts';
import { planTools } from '../plan/make-plan.ts';
import type { PlannedTree } from '../plan/plan.ts';
import { formatBytes } from '../report/format.ts';
import type { Reporter } from '../report/events.ts';
import type { Lock } from '../resolve/lock.ts';
import type { Store } from '../store/store.ts';
import { openToolsRoot, type ToolsRoot } from '../tools/tools-root.ts';
import { builderDigest } from './builder-digest.ts';
import { makeToolsTree } from './steps.ts';
import { openTreeStore } from './trees.ts';

export interface ToolsOptions {
  readonly lock: Pick<Lock, 'tools' | 'created'>;
  readonly store: Store;
  /** Asked for only when a package is missing. */
  readonly mirrors: () => Promise<Mirrors>;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The tools root of a lock, made when the store does not have it. The caller holds the store in use.
 *
 * @throws IngotError as building an image does.
 */
export async function ensureToolsRoot(options: ToolsOptions): Promise<ToolsRoot> {
  const { lock } = options;
  const step = planTools(lock, await builderDigest());
  return ensureRoot(step, { ...options, created: new Date(lock.created), title: 'Prepare tools' });
}

export interface RootOptions extends Omit<ToolsOptions, 'lock'> {
  /** When the lock was made: the time that snapshot archives are asked for. */
  readonly created: Date;
  /** Of the stage. */
  readonly title: string;
}

/** A root of programs that any plan names, in the same way. */
export async function ensureRoot(step: PlannedTree, options: RootOptions): Promise<ToolsRoot> {
  const { store, mirrors, created, reporter, title, signal } = options;
  const trees = await openTreeStore(store);
  return reporter.stage(title, async (stage) => {
    const existing = await trees.find(step.treeKey);
    if (existing !== undefined) {
      stage.cached(step.summary);
      return openToolsRoot(existing);
    }
    const { fetchedBytes } = await fetchPackages(step.packages, {
      store,
      mirrors: await mirrors(),
      created,
      stage,
      signal,
    });
    const root = await trees.ensure(
      step.treeKey,
      step.name,
      (path) => makeToolsTree(path, step, { store, reporter, signal }),
      {
        signal,
        onWait: () => {
          reporter.info('waiting for another command to prepare the tools');
        },
      },
    );
    await trees.sync(signal);
    stage.detail(`${step.summary}, ${formatBytes(fetchedBytes)} fetched`);
    return openToolsRoot(root);
  });
}
