/** What the gate said last: `/var/lib/ingot/gate.json`. Of another boot, or damaged, it is none. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';

import { writeFileAtomically } from '../../store/store.ts';
import type { GateVerdict } from './gate.ts';

const GateRecord = z.object({
  name: z.string(),
  source: z.enum(['image', 'script', 'gpu']),
  required: z.boolean(),
  healthy: z.boolean(),
  seconds: z.number(),
  timedOut: z.boolean(),
  exitCode: z.number().optional(),
  output: z.string(),
});

const LastVerdict = z.object({
  /** ISO 8601, by this machine's clock. */
  at: z.string(),
  /** The deployment that it is of. */
  deployment: z.string(),
  /** Of the boot, by the kernel: `/proc/sys/kernel/random/boot_id`. */
  boot: z.string(),
  healthy: z.boolean(),
  checks: z.array(GateRecord),
});
export type LastVerdict = z.infer<typeof LastVerdict>;

const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id';

export async function writeVerdict(
  path: string,
  verdict: GateVerdict,
  { at, deployment }: Pick<LastVerdict, 'at' | 'deployment'>,
): Promise<LastVerdict> {
  const boot = (await readFile(BOOT_ID_FILE, 'utf8')).trim();
  const last = { at, deployment, boot, healthy: verdict.healthy, checks: [...verdict.checks] };
  await writeFileAtomically(path, `${JSON.stringify(last, null, 2)}\n`);
  return last;
}

/** Of this boot. */
export async function readVerdict(path: string): Promise<LastVerdict | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const last = LastVerdict.parse(JSON.parse(text));
    return last.boot === (await readFile(BOOT_ID_FILE, 'utf8')).trim() ? last : undefined;
  } catch {
    return undefined;
  }
}
