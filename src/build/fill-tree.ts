/** The tree of each kind of step. */
import { availableParallelism } from 'node:os';

import type { PlannedImage, PlanStep } from '../plan/plan.ts';
import { GrowingArchives } from './archive/growing-archives.ts';
import type { BuildOptions, StepRun } from './build-image.ts';
import { unpackBase } from './image-base/base-tree.ts';
import { makeSealOnImageTree, makeSettleTree } from './image-base/steps.ts';
import { makeInitramfsTree } from './initramfs/initramfs-tree.ts';
import { makeModulesTree } from './modules/modules-tree.ts';
import type { BelowTree } from './overlay.ts';
import { makeInstallTree } from './rpm/install-tree.ts';
import { makeBaseTree, makeSealTree, makeUnpackTree } from './steps.ts';
import { ensureRoot } from './tools-tree.ts';

/** Fills the empty directory `root` with what the step adds to the trees `below` it. */
export function fillTree(
  root: string,
  step: PlanStep,
  below: readonly BelowTree[],
  run: StepRun,
): Promise<void> {
  switch (step.kind) {
    case 'base':
      return makeBaseTree(root, step, run);
    case 'image-base':
      return unpackBase(root, imageOf(step), { ...run, openBase: openerOf(run) });
    case 'settle':
      return makeSettleTree(root, step, imageOf(step), below, run);
    case 'unpack':
      return unpackAndGrow(root, step, below, run);
    case 'install':
      return installRpms(root, step, below, run);
    case 'modules':
      return makeModulesTree(root, step, {
        ...run,
        created: new Date(run.plan.epoch * 1000),
        signer: run.moduleSigner,
      });
    case 'initramfs':
      return makeInitramfsTree(root, step, run.plan.kernelRelease, below, run);
    case 'seal':
      if (run.plan.seal.family !== undefined) {
        return makeSealOnImageTree(root, step, run.plan.seal, below, run);
      }
      return makeSealTree(root, step, run.plan.seal, below, run);
  }
}

/**
 * From so many cores on, packages are archived while they are unpacked. With fewer, decompressing takes all of them, and
 * whatever is done beside it makes the tree later, which others wait for; nobody waits for blobs.
 */
const CORES_TO_GROW = 4;

async function unpackAndGrow(root: string, step: PlanStep, below: readonly BelowTree[], run: StepRun): Promise<void> {
  if (run.found.has(step.name) || availableParallelism() < CORES_TO_GROW) {
    return makeUnpackTree(root, step, below, run);
  }
  const { chunks, epoch } = step;
  const growing = await GrowingArchives.open(run.store, { chunks, epoch, level: run.plan.compressionLevel });
  run.begun.set(step.name, growing);
  await makeUnpackTree(root, step, below, { ...run, growing });
}

async function installRpms(
  root: string,
  step: PlanStep,
  below: readonly BelowTree[],
  run: StepRun,
): Promise<void> {
  const { rpm } = step;
  if (rpm === undefined) throw new TypeError(`the step ${step.name} has no rpm`);
  const created = new Date(run.plan.epoch * 1000);
  const tools = await ensureRoot(rpm.tools, { ...run, created, title: 'Prepare rpm' });
  await makeInstallTree(root, step, rpm, below, { ...run, tools: tools.path });
}

export function imageOf({ name, image }: PlanStep): PlannedImage {
  if (image === undefined) throw new TypeError(`the step ${name} has no image`);
  return image;
}

/** Asked only for layers that the store lacks. */
export function openerOf({ openBase }: BuildOptions): NonNullable<BuildOptions['openBase']> {
  return (reference) => {
    if (openBase === undefined) throw new TypeError(`nobody can open ${reference}`);
    return openBase(reference);
  };
}
