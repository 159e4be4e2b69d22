/** One machine after the other loses its power during an update, and is switched on again. */
import type { Vm } from '../../../src/disk/vm/machine.ts';
import type { RecordedMachine } from './record-machine.ts';
import type { VmLab } from './vm-lab.ts';
import { beginUpdate, type Phase, phaseOf, PHASES } from './vm-phases.ts';

export interface TrialOutcome {
  /** Where the update was. */
  readonly phase: Phase | 'before';
  /** What came up. */
  readonly system: string;
  /** What took the next update: emulated, that is another restart of two minutes. */
  readonly next: 'machine' | 'disk';
  /** What went wrong; undefined when nothing did. */
  readonly complaint?: string;
}

/**
 * Seconds after the start of an update. Each phase in turn, somewhere in it: most of an update is boot, and few would
 * hit the others.
 */
export function chooseMoments(
  { beginnings, end }: Pick<RecordedMachine, 'beginnings' | 'end'>,
  count: number,
  random: () => number,
): number[] {
  const starts = [...beginnings.map(({ seconds }) => seconds), end].sort((one, other) => one - other);
  return Array.from({ length: count }, (_, index) => {
    const phase = index % (starts.length - 1);
    const [from = 0, to = from] = starts.slice(phase, phase + 2);
    return from + random() * (to - from);
  });
}

/**
 * @param moment in seconds since the machine goes on
 * @param next what takes the next update: the machine itself, or, once it is good and its power cut again, the node's
 *   own programs on its disk
 */
export async function runTrial(
  lab: VmLab,
  name: string,
  moment: number,
  next: TrialOutcome['next'],
): Promise<TrialOutcome> {
  let phase: TrialOutcome['phase'] = 'before';
  let system = 'none';
  try {
    {
      await using vm = await lab.resume(name);
      const boot = vm.bootId;
      beginUpdate(lab, vm);
      await new Promise((resume) => setTimeout(resume, Math.max(0, moment - vm.seconds) * 1000));
      phase = phaseOf(vm, boot);
      await vm.cutPower();
    }
    {
      await using vm = await lab.powerOn(name);
      await lab.waitUntilGood(vm);
      system = await lab.bootedSystem(vm);
      if (system !== 'old' && system !== 'new') throw new Error(`the ${system} system came up`);
      if (next === 'machine') await updateMachine(lab, vm);
      await vm.cutPower();
    }
    if (next === 'machine') await lab.readRepository(name);
    else await lab.updateDisk(name, system);
    await lab.remove(name);
    return { phase, system, next };
  } catch (error) {
    return { phase, system, next, complaint: error instanceof Error ? error.message : String(error) };
  }
}

async function updateMachine(lab: VmLab, vm: Vm): Promise<void> {
  const boot = vm.bootId;
  await lab.must(vm, lab.updateCommand('last'));
  vm.tell('systemctl --no-block reboot');
  await lab.waitUntilGood(vm, boot);
  const booted = await lab.bootedSystem(vm);
  if (booted !== 'last') throw new Error(`the next update ended in the ${booted} system`);
}

/** Phase × system that came up. */
export function renderTrials(outcomes: readonly TrialOutcome[], seed: number): string {
  const line = (name: string, of: readonly TrialOutcome[]): string =>
    [
      name.padEnd(20),
      ...['old', 'new'].map((system) => String(of.filter((one) => one.system === system).length).padStart(5)),
      String(of.filter(({ complaint }) => complaint !== undefined).length).padStart(5),
    ].join('  ');
  return [
    `${outcomes.length} power losses, seed ${seed}`,
    `${'POWER LOST IN'.padEnd(20)}    OLD    NEW    BAD`,
    ...(['before', ...PHASES] as const)
      .map((phase) => [phase, outcomes.filter((one) => one.phase === phase)] as const)
      .filter(([, of]) => of.length > 0)
      .map(([phase, of]) => line(phase, of)),
    line('in all', outcomes),
  ].join('\n');
}
