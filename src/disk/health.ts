/** An image's own health checks: `/usr/lib/ingot/health.json`, run on the node. */
import { z } from 'zod';

import { IngotError } from '../errors.ts';
import type { Vm } from './vm/machine.ts';

export const HEALTH_FILE = '/usr/lib/ingot/health.json';

const HealthFile = z.array(
  z.object({ name: z.string(), run: z.string(), timeoutSeconds: z.number().positive() }),
);
export type HealthChecks = z.infer<typeof HealthFile>;

export interface CheckResult {
  readonly name: string;
  readonly healthy: boolean;
  readonly seconds: number;
  readonly exitCode: number;
  readonly timedOut: boolean;
  /** What it printed, stdout and then stderr. */
  readonly output: string;
}

/** Emulated machines are this much slower than what the checks' limits are made for. */
const EMULATION_FACTOR = 10;

/** @throws IngotError HEALTH_FAILED when the file is not what it should be. */
export function parseHealthFile(text: string): HealthChecks {
  try {
    return HealthFile.parse(JSON.parse(text));
  } catch (cause) {
    throw new IngotError('HEALTH_FAILED', `${HEALTH_FILE} in the image cannot be read`, { cause });
  }
}

/** Runs every check, in order, whatever the others say. An image without the file has none. */
export async function runHealthChecks(
  vm: Vm,
  onCheck: (done: number, total: number) => void,
): Promise<CheckResult[]> {
  const file = await vm.exec(`cat ${HEALTH_FILE} || echo '[]'`, { timeoutMs: 60_000 });
  const checks = parseHealthFile(file.stdout);
  const results: CheckResult[] = [];
  for (const { name, run, timeoutSeconds } of checks) {
    onCheck(results.length, checks.length);
    const limit = timeoutSeconds * (vm.accelerator === 'tcg' ? EMULATION_FACTOR : 1);
    const started = vm.seconds;
    const { exitCode, stdout, stderr, timedOut } = await vm.exec(run, { timeoutMs: limit * 1000 });
    results.push({
      name,
      healthy: exitCode === 0,
      seconds: vm.seconds - started,
      exitCode,
      timedOut,
      output: [stdout, stderr].join('').trim(),
    });
  }
  onCheck(checks.length, checks.length);
  return results;
}
