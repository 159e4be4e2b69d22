/**
 * Proves the way from one image to the next in a virtual machine, before the next one is published: the old image is
 * booted and edited, updated, checked, rolled back, checked, and updated again. What a node does on its own (pull, merge,
 * restart, gate, tell the boot loader) it does here, by its own agent.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import type { ResolvedImage } from '../../oci/layout.ts';
import { formatSeconds } from '../../report/format.ts';
import type { Reporter } from '../../report/events.ts';
import type { Accelerator } from '../../tools/qemu.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import { askNode, judgeNode } from '../node-report.ts';
import { Vm } from '../vm/machine.ts';
import { renderGate, settle, type Settled, stageImage, type Upgraded } from './node-client.ts';
import {
  checkDefaults,
  type Edit,
  type EtcDefaults,
  findLostEdits,
  localChanges,
  makeEdits,
} from './node-edits.ts';
import { ATTACH_OFFER, makeOfferDisk, OFFER_REFERENCE } from './offer-disk.ts';

export interface UpgradeTestOptions {
  /** A disk with the old image. Not changed. */
  readonly disk: string;
  readonly from: { readonly digest: string; readonly version: string };
  readonly to: ResolvedImage;
  readonly toVersion: string;
  readonly toolsRoot: ToolsRoot;
  /** A folder of the caller's for what the machine leaves, and for the disk that brings the new image. */
  readonly workFolder: string;
  /** How long one start may take. */
  readonly timeoutMs: number;
  readonly memoryMiB?: number | undefined;
  readonly accelerator?: Accelerator | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export const UPGRADE_STEPS = [
  'boot the old image',
  'edit /etc and /var',
  'pull and stage',
  'restart into the new image',
  'check',
  'roll back',
  'check the old image',
  'update again',
  'check once more',
  'power off',
] as const;

export interface UpgradeStep {
  readonly name: (typeof UPGRADE_STEPS)[number];
  readonly seconds: number;
}

export interface UpgradeTest {
  readonly passed: boolean;
  /** Why not, in sentences. What was not reached is not in `steps`. */
  readonly complaints: readonly string[];
  readonly accelerator: Accelerator;
  readonly steps: readonly UpgradeStep[];
  readonly seconds: number;
  readonly edits: readonly Edit[];
  /** What the first update pulled. */
  readonly pulled?: Upgraded['pulled'];
  /** What the second one did: its layers are there already. */
  readonly pulledAgain?: Upgraded['pulled'];
  readonly restart?: {
    readonly kind: 'soft' | 'full';
    /** Why it is a full one. */
    readonly reasons: readonly string[];
    /** From the restart until everything was started, as the node says. */
    readonly seconds?: number;
  };
  readonly defaults?: EtcDefaults;
  /** The signature policy of the old image did not count: what is not published is not signed. */
  readonly isPolicySetAside: boolean;
  /** The console's last lines, when it did not pass. */
  readonly console: string;
}

const QUESTION_MS = 120_000;
const POWER_OFF_MS = 300_000;
const CONSOLE_LINES = 40;
/** Starts that an update may take: a soft one, three tries, and the way back. */
const STARTS = 5;

/** What stops the test, and is said in its result. */
class Complaint extends Error {}

/**
 * @throws IngotError NODE_UNSUITED for an old image without agent; VM_FAILED when the machine does not come up, or what
 *   it is asked fails; INTERRUPTED. An update that does not go well is an answer.
 */
export async function testUpgrade(options: UpgradeTestOptions): Promise<UpgradeTest> {
  const { workFolder, toolsRoot, reporter, signal, to } = options;
  await mkdir(workFolder, { recursive: true });
  const offer = await reporter.stage('Make the disk that brings the new image', async () => {
    const folder = join(workFolder, 'offer');
    await mkdir(folder);
    return await makeOfferDisk(to, folder, toolsRoot, signal);
  });
  await using vm = await Vm.start({
    disk: options.disk,
    toolsRoot,
    scratch: workFolder,
    memoryMiB: options.memoryMiB,
    accelerator: options.accelerator,
    extraDisks: [offer],
    consoleFile: join(workFolder, 'console.log'),
    onNotice: (message) => {
      reporter.info(message);
    },
    signal,
  });
  const path = new UpgradePath(vm, options);
  const complaints: string[] = [];
  try {
    await path.walk();
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    complaints.push(...error.message.split('\n'));
  }
  const console = complaints.length === 0 ? '' : vm.console.tail(CONSOLE_LINES);
  await path.step('power off', () => vm.powerOff({ timeoutMs: POWER_OFF_MS }));
  return {
    passed: complaints.length === 0,
    complaints,
    accelerator: vm.accelerator,
    steps: path.steps,
    seconds: vm.seconds,
    ...path.found,
    console,
  };
}

type Found = Pick<
  UpgradeTest,
  'edits' | 'pulled' | 'pulledAgain' | 'restart' | 'defaults' | 'isPolicySetAside'
>;

class UpgradePath {
  readonly steps: UpgradeStep[] = [];
  found: Found = { edits: [], isPolicySetAside: false };
  readonly #vm: Vm;
  readonly #options: UpgradeTestOptions;

  constructor(vm: Vm, options: UpgradeTestOptions) {
    this.#vm = vm;
    this.#options = options;
  }

  /** @throws Complaint */
  async walk(): Promise<void> {
    const vm = this.#vm;
    const { from, to } = this.#options;
    const first = await this.step('boot the old image', async (detail) => {
      const boot = await vm.waitForBoot({ timeoutMs: this.#options.timeoutMs });
      await this.#requireAgent();
      const settled = await settle(vm, undefined, STARTS * this.#options.timeoutMs);
      await this.#requireHealthy(settled, from, 'the old image');
      detail(`${vm.accelerator === 'kvm' ? 'with KVM' : 'emulated'}, up after ${formatSeconds(vm.seconds)}`);
      return { ...settled, boot };
    });
    const local = await this.step('edit /etc and /var', async () => {
      const edits = await makeEdits(vm);
      this.found = { ...this.found, edits };
      return await localChanges(vm);
    });
    const staged = await this.step('pull and stage', () => this.#stage());
    this.found = { ...this.found, pulled: staged.pulled };
    const updated = await this.step('restart into the new image', () => this.#restart(first.boot, to.digest));
    this.found = {
      ...this.found,
      restart: {
        kind: updated.status.restart?.kind ?? 'full',
        reasons: staged.restart?.reasons ?? [],
        ...(updated.status.restart?.seconds !== undefined && { seconds: updated.status.restart.seconds }),
      },
    };
    await this.step('check', async () => {
      await this.#requireHealthy(updated, to, 'the new image');
      await this.#requireEdits();
      const folder = `/sysroot/ostree/deploy/default/deploy/${first.status.booted?.id ?? ''}`;
      const defaults = await checkDefaults(vm, folder, local);
      this.found = { ...this.found, defaults };
      complain(defaults.stale);
    });
    const back = await this.step('roll back', async () => {
      await this.#mustRun('ingot node rollback');
      return await this.#leave(updated.boot, 'systemctl --no-block reboot', from.digest);
    });
    await this.step('check the old image', async () => {
      await this.#requireHealthy(back, from, 'the old image, after the way back');
      await this.#requireEdits();
    });
    const again = await this.step('update again', async () => {
      const { pulled } = await this.#stage();
      this.found = { ...this.found, pulledAgain: pulled };
      return await this.#restart(back.boot, to.digest);
    });
    await this.step('check once more', async () => {
      await this.#requireHealthy(again, to, 'the new image, the second time');
      await this.#requireEdits();
    });
  }

  async step<T>(name: UpgradeStep['name'], work: (detail: (text: string) => void) => Promise<T>): Promise<T> {
    const begun = this.#vm.seconds;
    const title = `${name[0]?.toUpperCase() ?? ''}${name.slice(1)}`;
    return await this.#options.reporter.stage(title, async (stage) => {
      try {
        return await work((text) => {
          stage.detail(text);
        });
      } finally {
        this.steps.push({ name, seconds: this.#vm.seconds - begun });
      }
    });
  }

  async #requireAgent(): Promise<void> {
    const { exitCode } = await this.#vm.exec('command -v ingot', { timeoutMs: QUESTION_MS });
    if (exitCode === 0) return;
    throw new IngotError('NODE_UNSUITED', 'the old image has no agent, so it cannot update itself', {
      hint: 'build it with `agent: true` in its declaration',
    });
  }

  async #stage(): Promise<Upgraded> {
    const attached = await this.#mustRun(ATTACH_OFFER);
    if (attached.includes('set aside')) this.found = { ...this.found, isPolicySetAside: true };
    try {
      return await stageImage(this.#vm, OFFER_REFERENCE, this.#options.timeoutMs);
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'VM_FAILED') throw error;
      throw new Complaint(`the node does not take the new image: ${error.output ?? error.message}`);
    }
  }

  /** As the node restarts on its own: softly where that does. */
  async #restart(boot: string, digest: string): Promise<Settled> {
    return await this.#leave(boot, 'ingot node upgrade --apply', digest);
  }

  async #leave(boot: string, command: string, digest: string): Promise<Settled> {
    await this.#mustRun(command, boot);
    const settled = await settle(this.#vm, boot, STARTS * this.#options.timeoutMs);
    const { booted, gate, updates } = settled.status;
    if (booted?.digest === digest) return settled;
    const last = updates.find(({ reason }) => reason !== undefined);
    throw new Complaint(
      [
        `the node runs ${booted?.version ?? 'something else'}, after ${settled.starts} starts`,
        ...(last?.reason === undefined
          ? []
          : [`${last.version ?? 'the update'} ${last.outcome}: ${last.reason}`]),
        ...(gate?.healthy === false ? [renderGate(gate)] : []),
      ].join('\n'),
    );
  }

  async #requireHealthy(
    { status }: Settled,
    { digest }: { readonly digest: string },
    subject: string,
  ): Promise<void> {
    const complaints = judgeNode(await askNode(this.#vm, this.#options.timeoutMs));
    if (status.booted?.digest !== digest) complaints.push(`it runs ${status.booted?.digest ?? 'no image'}`);
    complain(complaints.map((complaint) => `${subject}: ${complaint}`));
  }

  async #requireEdits(): Promise<void> {
    complain(await findLostEdits(this.#vm, this.found.edits));
  }

  /** @param leaving the boot that the command ends, so that no answer is fine */
  async #mustRun(script: string, leaving?: string): Promise<string> {
    try {
      const { exitCode, stdout, stderr } = await this.#vm.exec(script, {
        timeoutMs: this.#options.timeoutMs,
      });
      if (exitCode === 0) return stdout;
      throw new Complaint(
        `\`${script.split('\n')[0] ?? ''}\` on the node exited with ${exitCode}: ${stderr.trim()}`,
      );
    } catch (error) {
      const isGone = error instanceof IngotError && error.code === 'VM_FAILED' && this.#vm.bootId !== leaving;
      if (leaving === undefined || !isGone) throw error;
      return '';
    }
  }
}

function complain(complaints: readonly string[]): void {
  if (complaints.length > 0) throw new Complaint(complaints.join('\n'));
}
