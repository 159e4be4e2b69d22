/** The root that kernel modules are built in: a tree of the store, made by the same code as a base. */
import { fetchPackages } from '../../packages/fetch.ts';
import type { Mirrors } from '../../packages/mirror.ts';
import type { PlannedTree } from '../../plan/plan.ts';
import type { Reporter } from '../../report/events.ts';
import { formatBytes } from '../../report/format.ts';
import type { Store } from '../../store/store.ts';
import { bootstrapRoot } from '../debian/bootstrap.ts';
import { openTreeStore } from '../trees.ts';

export interface CompileRootOptions {
  readonly store: Store;
  /** Asked for only when a package is missing. */
  readonly mirrors: () => Promise<Mirrors>;
  /** When the lock was made: the time that snapshot archives are asked for. */
  readonly created: Date;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/** @throws IngotError as building an image does */
export async function ensureCompileRoot(step: PlannedTree, options: CompileRootOptions): Promise<string> {
  const { store, mirrors, created, reporter, signal } = options;
  const trees = await openTreeStore(store);
  return reporter.stage('Prepare compiler', async (stage) => {
    const existing = await trees.find(step.treeKey);
    if (existing !== undefined) {
      stage.cached(step.summary);
      return existing;
    }
    const { fetchedBytes } = await fetchPackages(step.packages, {
      store,
      mirrors: await mirrors(),
      created,
      stage,
      signal,
    });
    const essential = new Set(step.packages.filter((file) => file.essential).map((file) => file.name));
    const root = await trees.ensure(
      step.treeKey,
      step.name,
      (path) => bootstrapRoot(path, { store, reporter, signal, packages: step.packages, essential, epoch: step.epoch }),
      {
        signal,
        onWait: () => {
          reporter.info('waiting for another build to prepare the compiler');
        },
      },
    );
    await trees.sync(signal);
    stage.detail(`${step.summary}, ${formatBytes(fetchedBytes)} fetched`);
    return root;
  });
}
