/** How far an update is, as the console tells it, and how long each part of it takes. */
import type { Vm } from '../../../src/disk/vm/machine.ts';
import { BOOT_MS, type VmLab } from './vm-lab.ts';

export const PHASES = [
  'download and import',
  'staging',
  'finalising',
  'boot',
  'checks and blessing',
] as const;
export type Phase = (typeof PHASES)[number];

/**
 * What says on the console that a phase has begun. The checks come when systemd says nothing there any more: they begin
 * when the new system runs commands.
 */
const BEGINNINGS: readonly (readonly [Phase, RegExp])[] = [
  ['download and import', /Pull and import/],
  ['staging', /^Stage/],
  ['finalising', /Stopping .*ostree-finalize/i],
  ['boot', /BdsDxe: starting/],
];

export interface Beginning {
  readonly phase: Phase;
  readonly seconds: number;
}

/** Updates the running machine and restarts it; resolves once the new system is known to be good. Gives its phases. */
export async function carryOutUpdate(
  lab: VmLab,
  vm: Vm,
  onPhase: (beginning: Beginning) => Promise<void> | void = () => undefined,
): Promise<readonly Beginning[]> {
  const beginnings: Beginning[] = [];
  const begin = async (phase: Phase, seconds: number): Promise<void> => {
    beginnings.push({ phase, seconds });
    await onPhase({ phase, seconds });
  };
  const watched = BEGINNINGS.map(async ([phase, pattern]) => {
    await begin(phase, (await vm.console.waitFor(pattern)).seconds);
  });
  const boot = vm.bootId;
  await lab.must(vm, lab.updateCommand('new'));
  vm.tell('systemctl --no-block reboot');
  await vm.waitForBoot({ timeoutMs: BOOT_MS, after: boot });
  await begin('checks and blessing', vm.seconds);
  await lab.waitUntilGood(vm, boot);
  const seen = vm.console.tail(2000);
  for (const [phase] of BEGINNINGS) {
    if (!beginnings.some((one) => one.phase === phase))
      throw new Error(`the console does not tell of ${phase}\n${seen}`);
  }
  await Promise.all(watched);
  requireDelta(vm.console.tail(2000));
  return beginnings;
}

/** One of the layers comes by a delta: with it, the other one is all there is to pull. */
function requireDelta(lines: string): void {
  const [, mebibytes] = /Pull and import: done .*?([\d.]+) MiB in 2 layers/.exec(lines) ?? [];
  if (mebibytes !== undefined && Number(mebibytes) < 18) return;
  throw new Error(`the console does not tell of an update by a delta\n${lines}`);
}

/** Where an update that nobody waits for is when its power is cut. @param before the boot that it began in */
export function phaseOf(vm: Vm, before: string | undefined): Phase | 'before' {
  if (vm.bootId !== undefined && vm.bootId !== before) return 'checks and blessing';
  return BEGINNINGS.findLast(([, pattern]) => vm.console.find(pattern) !== undefined)?.[0] ?? 'before';
}

/** Starts the same, and does not wait for it. */
export function beginUpdate(lab: VmLab, vm: Vm): void {
  const script = `${lab.updateCommand('new')} && systemctl --no-block reboot`;
  // The power goes meanwhile.
  vm.exec(script, { timeoutMs: BOOT_MS }).catch(() => undefined);
}
