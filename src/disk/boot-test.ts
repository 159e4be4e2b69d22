/** Boots a disk in a virtual machine, asks the node how it is, runs the image's health checks, switches it off. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { formatSeconds } from '../report/format.ts';
import type { Reporter } from '../report/events.ts';
import type { Accelerator } from '../tools/qemu.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import { runHealthChecks, type CheckResult } from './health.ts';
import { askNode, judgeNode, type NodeReport } from './node-report.ts';
import { Vm } from './vm/machine.ts';

export interface BootTestOptions {
  readonly disk: string;
  readonly toolsRoot: ToolsRoot;
  /** A folder of the caller's for what the machine leaves: `console.log`, `overlay.qcow2`. Made if missing. */
  readonly workFolder: string;
  /** Where the console is logged instead. */
  readonly consoleFile?: string | undefined;
  /** How long starting may take, from power-on to the end of the boot. */
  readonly timeoutMs: number;
  readonly memoryMiB?: number | undefined;
  readonly accelerator?: Accelerator | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/** One part of the machine's life, in order. */
export interface BootStage {
  readonly name: 'firmware and boot loader' | 'kernel' | 'initramfs' | 'services' | 'checks' | 'power off';
  readonly seconds: number;
}

export interface BootTest {
  readonly healthy: boolean;
  /** Why not, in sentences. */
  readonly complaints: readonly string[];
  readonly accelerator: Accelerator;
  readonly stages: readonly BootStage[];
  readonly seconds: number;
  readonly report: NodeReport;
  readonly checks: readonly CheckResult[];
  /** The console's last lines, when it is not healthy. */
  readonly console: string;
}

const POWER_OFF_MS = 180_000;
const CONSOLE_LINES = 40;

/**
 * @throws IngotError VM_FAILED with the console's last lines when the machine does not come up, answer, or switch
 *   itself off in time; INTERRUPTED. A node that is up but not healthy is an answer.
 */
export async function testBoot(options: BootTestOptions): Promise<BootTest> {
  const { disk, toolsRoot, workFolder, reporter, signal, memoryMiB, accelerator } = options;
  await mkdir(workFolder, { recursive: true });
  await using vm = await Vm.start({
    disk,
    toolsRoot,
    scratch: workFolder,
    memoryMiB,
    accelerator,
    consoleFile: options.consoleFile ?? join(workFolder, 'console.log'),
    onNotice: (message) => {
      reporter.info(message);
    },
    signal,
  });
  const how = vm.accelerator === 'kvm' ? 'with KVM' : 'emulated';
  const left = (): number => Math.max(1, options.timeoutMs - vm.seconds * 1000);
  const marks: { readonly name: BootStage['name']; readonly at: number }[] = [];

  const report = await reporter.stage('Boot', async (stage) => {
    stage.detail(how);
    await vm.waitForChannel({ timeoutMs: left() });
    const answer = await askNode(vm, left());
    // The console shows when the kernel began; how long its parts took, the node itself knows best.
    const begun = vm.console.find(/Linux version \d/)?.seconds;
    if (begun !== undefined) {
      const { kernel = 0, initrd = 0 } = answer.bootTimes;
      marks.push({ name: 'firmware and boot loader', at: begun });
      marks.push({ name: 'kernel', at: begun + kernel });
      marks.push({ name: 'initramfs', at: begun + kernel + initrd });
    }
    marks.push({ name: 'services', at: vm.seconds });
    stage.detail(`${how}, ${answer.state} after ${formatSeconds(vm.seconds)}`);
    return answer;
  });
  const checks = await reporter.stage('Check health', async (stage) => {
    const results = await runHealthChecks(vm, (done, total) => {
      stage.progress(done, total);
    });
    const healthy = results.filter((result) => result.healthy).length;
    stage.detail(`${healthy} of ${results.length} healthy`);
    marks.push({ name: 'checks', at: vm.seconds });
    return results;
  });
  const complaints = [...judgeNode(report), ...checks.filter(({ healthy }) => !healthy).map(describeFailure)];
  const console = complaints.length === 0 ? '' : vm.console.tail(CONSOLE_LINES);
  await reporter.stage('Power off', async () => {
    await vm.powerOff({ timeoutMs: POWER_OFF_MS });
    marks.push({ name: 'power off', at: vm.seconds });
  });

  return {
    healthy: complaints.length === 0,
    complaints,
    accelerator: vm.accelerator,
    stages: marks.map(({ name, at }, index) => ({ name, seconds: at - (marks[index - 1]?.at ?? 0) })),
    seconds: vm.seconds,
    report,
    checks,
    console,
  };
}

function describeFailure({ name, timedOut, exitCode }: CheckResult): string {
  return `check ${name} ${timedOut ? 'took too long' : `exited with ${exitCode}`}`;
}
