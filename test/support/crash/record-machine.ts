/** Records an update of a machine: what it wrote, and when it did what. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { findPartitions } from './judge-disk.ts';
import type { Mark, Recording } from './record-update.ts';
import type { VmLab } from './vm-lab.ts';
import { type Beginning, carryOutUpdate } from './vm-phases.ts';
import { countEntries } from './write-log.ts';

const POWER_OFF_MS = 600_000;

export interface RecordedMachine {
  readonly recording: Recording;
  /** In seconds since the machine was resumed. */
  readonly beginnings: readonly Beginning[];
  /** When the new system was known to be good. */
  readonly end: number;
}

/** @param folder empty; it gets two disks and the log */
export async function recordMachine(lab: VmLab, folder: string): Promise<RecordedMachine> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const [before, after, log] = ['before.raw', 'after.raw', 'writes.log'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  await lab.readDisk(undefined, before);
  const marks: Mark[] = [];
  await using vm = await lab.resume('recorded', log);
  marks.push({ phase: 'before', at: await countEntries(log) });
  const beginnings = await carryOutUpdate(lab, vm, async ({ phase }) => {
    marks.push({ phase, at: await countEntries(log) });
  });
  const end = vm.seconds;
  marks.push({ phase: 'end', at: await countEntries(log) });
  const system = await lab.bootedSystem(vm);
  if (system !== 'new') throw new Error(`the update ended in the ${system} system`);
  await vm.powerOff({ timeoutMs: POWER_OFF_MS });
  await lab.readDisk('recorded', after);
  await lab.remove('recorded');
  const partitions = await findPartitions(before, lab.toolsRoot);
  return { recording: { before, settled: [after], names: ['new'], log, partitions, marks }, beginnings, end };
}
