/**
 * What the gate said last: `/var/lib/ingot/gate.json`. Of another boot, or damaged, it is none. The last verdict of a
 * system that was not healthy is kept beside it: when that is over, the next one tells why.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';

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
  const text = `${JSON.stringify(last, null, 2)}\n`;
  if (!last.healthy) await writeFileAtomically(failurePath(path), text);
  await writeFileAtomically(path, text);
  return last;
}

/** Of this boot. */
export async function readVerdict(path: string): Promise<LastVerdict | undefined> {
  const last = await load(path);
  return last?.boot === (await readFile(BOOT_ID_FILE, 'utf8')).trim() ? last : undefined;
}

/** The last that was not good, of whichever boot. @param path of the last verdict */
export async function readFailure(path: string): Promise<LastVerdict | undefined> {
  return load(failurePath(path));
}

function failurePath(path: string): string {
  return join(dirname(path), 'gate-failed.json');
}

async function load(path: string): Promise<LastVerdict | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return LastVerdict.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
