/** What a build has to make: the trees of steps that the store lacks, and those that they stand on. */
import type { LockedPackage } from '../packages/package.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import type { PackedLayer } from './packed-layer.ts';
import type { TreeStore } from './trees.ts';

/** @param found what the store has packed, by step name */
export async function stepsToMake(
  plan: Plan,
  trees: Pick<TreeStore, 'find'>,
  found: ReadonlyMap<string, PackedLayer>,
): Promise<readonly PlanStep[]> {
  const byName = new Map(plan.steps.map((step) => [step.name, step]));
  const making = new Set<PlanStep>();
  const need = async (step: PlanStep | undefined): Promise<void> => {
    if (step === undefined || making.has(step) || (await trees.find(step.treeKey)) !== undefined) return;
    making.add(step);
    for (const name of step.needs) await need(byName.get(name));
  };
  for (const step of plan.steps) if (!found.has(step.name)) await need(step);
  return [...making];
}

export function packagesOf(steps: readonly PlanStep[]): readonly LockedPackage[] {
  return steps.flatMap((step) => step.packages);
}

/** What the steps compile from and with, or install with, which is fetched when it comes to that. */
export async function compilePackagesOf(
  steps: readonly PlanStep[],
  trees: Pick<TreeStore, 'find'>,
): Promise<readonly LockedPackage[]> {
  const lists = await Promise.all(
    steps.map(async ({ modules, rpm }) => {
      if (rpm !== undefined) {
        return (await trees.find(rpm.tools.treeKey)) === undefined ? rpm.tools.packages : [];
      }
      if (modules === undefined) return [];
      const root = await trees.find(modules.compile.treeKey);
      return [modules.source, ...(root === undefined ? modules.compile.packages : [])];
    }),
  );
  return lists.flat();
}
