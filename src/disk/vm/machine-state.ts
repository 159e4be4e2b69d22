/** What a machine leaves in its folder, and what the next one may go on with: its disk, its firmware, its memory. */
import { access, copyFile, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';

import { errnoOf, IngotError } from '../../errors.ts';
import type { DiskTools } from '../../ostree/disk-tools.ts';
import { writeFileAtomically } from '../../store/store.ts';
import { qemuImgCreateOverlayArgv, type DiskFormat } from '../../tools/qemu-img.ts';
import type { Qmp } from './qmp.ts';

/**
 * `throw-away`: made anew, and not made to last. `keep`: gone on with where there is some, as on a machine that is
 * switched on again; what the guest flushed is in the files, whatever happens to QEMU. `resume`: the same, and the
 * guest goes on running where `Vm.suspend` stopped it.
 */
export type MachineState = 'throw-away' | 'keep' | 'resume';

export interface MachineFiles {
  /** qcow2: what the guest wrote. */
  readonly overlay: string;
  /** Of the firmware. */
  readonly variables: string;
  /** The guest's memory, while it is suspended. */
  readonly memory: string;
  /** `SuspendedMachine`, as JSON. */
  readonly suspended: string;
}

const SuspendedMachine = z.object({
  accelerator: z.enum(['kvm', 'tcg']),
  memoryMiB: z.int(),
  /** The boot that answers on the channel. */
  bootId: z.string(),
});
export type SuspendedMachine = z.infer<typeof SuspendedMachine>;

export interface Firmware {
  readonly code: string;
  /** Variables to begin with, relative to the root that has the firmware. */
  readonly variables: string;
}

const OVMF = 'usr/share/OVMF';

/** With Secure Boot, the variables hold the keys of Microsoft, which signed Debian's shim. */
export function findFirmware(secureBoot: boolean): Firmware {
  return secureBoot
    ? { code: `/${OVMF}/OVMF_CODE_4M.secboot.fd`, variables: `${OVMF}/OVMF_VARS_4M.ms.fd` }
    : { code: `/${OVMF}/OVMF_CODE_4M.fd`, variables: `${OVMF}/OVMF_VARS_4M.fd` };
}

export function machineFiles(folder: string): MachineFiles {
  return {
    overlay: join(folder, 'overlay.qcow2'),
    variables: join(folder, 'variables.fd'),
    memory: join(folder, 'memory'),
    suspended: join(folder, 'suspended.json'),
  };
}

/** Makes in `folder` what a machine on `disk` needs and `state` does not find there. */
export async function prepareMachineFiles(
  folder: string,
  state: MachineState,
  disk: { readonly path: string; readonly format: DiskFormat; readonly size: number },
  firmware: Firmware,
  tools: DiskTools,
): Promise<void> {
  const { overlay, variables, memory, suspended } = machineFiles(folder);
  if (state === 'resume') return;
  // A machine that was switched on goes another way than its memory of before.
  for (const path of [memory, suspended]) await rm(path, { force: true });
  if (state === 'throw-away' || !(await exists(overlay))) {
    await tools.run(qemuImgCreateOverlayArgv(overlay, disk.size, disk), [{ path: folder }]);
  }
  if (state === 'throw-away' || !(await exists(variables))) {
    await copyFile(join(tools.root.path, firmware.variables), variables);
  }
}

/** @throws IngotError VM_FAILED when no machine was suspended in the folder. */
export async function readSuspended(folder: string): Promise<SuspendedMachine> {
  try {
    return SuspendedMachine.parse(JSON.parse(await readFile(machineFiles(folder).suspended, 'utf8')));
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw cause;
    throw new IngotError('VM_FAILED', `no machine was suspended in ${folder}`, { cause });
  }
}

const MigrationState = z.object({ status: z.string().optional(), 'error-desc': z.string().optional() });
const RunState = z.object({ status: z.string() });
const POLL_MS = 100;

/** Writes the memory of a machine that stands still to its folder; QEMU lets go of the disk then. */
export async function saveMemory(qmp: Qmp, folder: string, machine: SuspendedMachine): Promise<void> {
  const { memory, suspended } = machineFiles(folder);
  await qmp.execute('migrate', { uri: `file:${memory}` });
  for (;;) {
    const answer = MigrationState.parse(await qmp.execute('query-migrate'));
    if (answer.status === 'completed') break;
    if (answer.status === 'failed' || answer.status === 'cancelled') {
      throw new IngotError(
        'VM_FAILED',
        `the memory cannot be saved: ${answer['error-desc'] ?? answer.status}`,
      );
    }
    await sleep(POLL_MS);
  }
  await writeFileAtomically(suspended, JSON.stringify(machine));
}

/** Brings the memory back; the machine can run then, and does not yet. */
export async function loadMemory(qmp: Qmp, folder: string): Promise<void> {
  await qmp.execute('migrate-incoming', { uri: `file:${machineFiles(folder).memory}` });
  while (RunState.parse(await qmp.execute('query-status')).status === 'inmigrate') await sleep(POLL_MS);
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
