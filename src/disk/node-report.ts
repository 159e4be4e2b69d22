/** What a booted node says of itself. Everything is asked of the node or tried on it; nothing is assumed. */
import { parseOstreeFeatures, parseOstreeStatus, type OstreeDeployment } from '../tools/ostree.ts';
import { parseBootTimes, parseUnitNames, type BootTimes } from '../tools/systemctl.ts';
import type { Vm } from './vm/machine.ts';

export interface FailedUnit {
  readonly name: string;
  /** Last lines of its journal. */
  readonly journal: string;
}

export interface WriteAttempt {
  readonly path: string;
  /** Whether a file could be made there. */
  readonly writable: boolean;
  /** The system's words when not. */
  readonly refusal: string;
}

export interface NodeReport {
  /** Of `systemctl is-system-running`: `running`, `degraded`, … */
  readonly state: string;
  readonly failedUnits: readonly FailedUnit[];
  /** `uname -r` */
  readonly kernel: string;
  /** `PRETTY_NAME` of os-release. */
  readonly system: string;
  /** `IMAGE_VERSION` of os-release. */
  readonly imageVersion?: string;
  /** Places that must not be writable. */
  readonly writes: readonly WriteAttempt[];
  readonly deployment?: OstreeDeployment;
  /** Whether the root is a composefs; undefined where the image's ostree makes none. */
  readonly isComposefs?: boolean;
  readonly bootTimes: BootTimes;
}

const PROTECTED = ['/', '/usr', '/usr/lib/modules', '/sysroot'] as const;
const QUESTION_MS = 60_000;
const SHOWN_FAILURES = 5;

/**
 * Waits until the node has finished starting, and asks it.
 *
 * @param settleMs how long starting may take from now on
 * @throws IngotError VM_FAILED
 */
export async function askNode(vm: Vm, settleMs: number): Promise<NodeReport> {
  const ask = async (script: string): Promise<string> => {
    const { stdout } = await vm.exec(script, { timeoutMs: QUESTION_MS });
    return stdout.trim();
  };
  const settled = await vm.exec('systemctl is-system-running --wait', { timeoutMs: settleMs });
  const state = settled.timedOut ? 'starting' : settled.stdout.trim();
  const failed = parseUnitNames(await ask('systemctl list-units --failed --plain --no-legend --no-pager'));
  const stuck =
    state === 'starting'
      ? parseUnitNames(await ask("systemctl list-jobs --plain --no-legend | awk '{print $2}'"))
      : [];
  const failedUnits: FailedUnit[] = [];
  for (const name of [...failed, ...stuck].slice(0, SHOWN_FAILURES)) {
    const journal = await ask(
      `journalctl --boot --no-pager --output=cat --lines=20 --unit='${name.replaceAll("'", '')}'`,
    );
    failedUnits.push({ name, journal });
  }
  const writes: WriteAttempt[] = [];
  for (const path of PROTECTED) {
    const file = `${path === '/' ? '' : path}/.ingot-write-test`;
    const attempt = await vm.exec(`touch ${file} && rm ${file}`, { timeoutMs: QUESTION_MS });
    writes.push({ path, writable: attempt.exitCode === 0, refusal: attempt.stderr.trim() });
  }
  const release = parseOsRelease(await ask('cat /etc/os-release'));
  const deployment = parseOstreeStatus(await ask('ostree admin status')).find(({ booted }) => booted);
  const hasComposefs = parseOstreeFeatures(await ask('ostree --version')).includes('composefs');
  const rootType = await ask('findmnt --noheadings --output FSTYPE --target /');
  const imageVersion = release.get('IMAGE_VERSION');
  return {
    state,
    failedUnits,
    kernel: await ask('uname -r'),
    system: release.get('PRETTY_NAME') ?? 'unknown',
    ...(imageVersion !== undefined && { imageVersion }),
    writes,
    ...(deployment !== undefined && { deployment }),
    // A composefs is mounted by way of overlayfs.
    ...(hasComposefs && { isComposefs: rootType === 'overlay' }),
    bootTimes: parseBootTimes(await ask('systemd-analyze time')),
  };
}

/** os-release(5): shell assignments, values optionally in quotes. */
export function parseOsRelease(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^([A-Z0-9_]+)=(?:"(.*)"|'(.*)'|(.*))$/.exec(line.trim());
    const value = match?.[2] ?? match?.[3] ?? match?.[4];
    if (match?.[1] !== undefined && value !== undefined) {
      values.set(match[1], value.replaceAll(/\\(["$`\\])/g, '$1'));
    }
  }
  return values;
}

/** What is wrong with a node, in sentences; empty when nothing is. */
export function judgeNode(report: NodeReport): string[] {
  const complaints: string[] = [];
  if (report.state !== 'running') complaints.push(`the system is ${report.state}, not running`);
  for (const { name } of report.failedUnits) {
    complaints.push(report.state === 'starting' ? `${name} has not finished` : `${name} has failed`);
  }
  for (const { path, writable } of report.writes) if (writable) complaints.push(`${path} can be written to`);
  if (report.deployment === undefined) complaints.push('it is not booted from an ostree deployment');
  if (report.isComposefs === false) complaints.push('the root is no composefs, though its ostree makes one');
  return complaints;
}
