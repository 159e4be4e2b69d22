/** An image's own health checks, run on a node that is a machine of ours. */
import { HEALTH_FILE, parseHealthFile } from '../ostree/health-file.ts';
import type { Vm } from './vm/machine.ts';

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
