/**
 * A node in a virtual machine that takes its images from a registry on this machine, as nodes in the field do. Each
 * image is the shared one with Ingot on it and a layer more, so none takes a build.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { createDisk } from '../../src/disk/create-disk.ts';
import { Vm } from '../../src/disk/vm/machine.ts';
import type { VmOptions } from '../../src/disk/vm/vm-options.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { installableImage } from '../../src/ostree/import-image.ts';
import { run } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { agentImage } from './agent-image.ts';
import type { BuiltImage } from './built-image.ts';
import { testTools } from './derived-image.ts';
import { addNextImage, type NextImage } from './next-image.ts';
import { writeTree } from './small-image.ts';

/** Emulated beside other work, a boot has been seen to take five minutes. */
export const BOOT_MS = 600_000;
/** What loopback of this machine is to the guest. */
export const GUEST_HOST = '10.0.2.2';

/** A check that holds, in the place of those of the image, which take their time on an emulated processor. */
export const WELL = { 'usr/lib/ingot/health.json': JSON.stringify([check('well', 'true')]) };

export function check(name: string, script: string): object {
  return { name, run: script, timeoutSeconds: 1 };
}

export class VmImages {
  readonly base: BuiltImage;
  readonly toolsRoot: ToolsRoot;
  readonly layout: string;
  readonly #folder: string;

  private constructor(base: BuiltImage, toolsRoot: ToolsRoot, folder: string) {
    this.base = base;
    this.toolsRoot = toolsRoot;
    this.#folder = folder;
    this.layout = join(folder, 'layout');
  }

  /** @param folder empty @param given with an agent; the shared one by default */
  static async open(folder: string, given?: BuiltImage): Promise<VmImages> {
    const base = given ?? (await agentImage());
    const { toolsRoot } = await testTools(base);
    const images = new VmImages(base, toolsRoot, folder);
    await run(['cp', '--archive', '--link', base.layout, images.layout]);
    await rm(join(images.layout, 'index.json'));
    await run(['cp', join(base.layout, 'index.json'), images.layout]);
    return images;
  }

  /** @param files of its layer, by path */
  async add(name: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<NextImage> {
    const { layout, base } = this;
    return addNextImage(layout, base.version, this.#folder, { name, fill: (tree) => writeTree(tree, files) });
  }

  /** A disk with one of them. */
  async install(name: string): Promise<string> {
    const output = join(this.#folder, `${name}.raw`);
    const { store } = await testTools(this.base);
    const image = installableImage(await resolveImage({ directory: this.layout, name }));
    const { toolsRoot } = this;
    await createDisk({ image, output, format: 'raw', store, toolsRoot, reporter: silentReporter });
    return output;
  }

  /** Folder of the machine that was started. */
  get machine(): string {
    return machineFolder(this.#folder);
  }

  async start(disk: string, options: Partial<VmOptions> = {}): Promise<VmNode> {
    return startNode(disk, this.#folder, this.toolsRoot, options);
  }
}

function machineFolder(folder: string): string {
  return join(folder, 'machine');
}

/** A machine that reaches registries on this one. @param folder has no `machine` yet */
export async function startNode(
  disk: string,
  folder: string,
  toolsRoot: ToolsRoot,
  options: Partial<VmOptions> = {},
): Promise<VmNode> {
  const scratch = machineFolder(folder);
  await mkdir(scratch);
  const consoleFile = join(folder, 'console.log');
  return new VmNode(await Vm.start({ disk, toolsRoot, scratch, consoleFile, network: 'host', ...options }));
}

export interface NodeStatus {
  readonly booted: { readonly version: string; readonly digest: string };
  readonly rollback?: { readonly version: string };
  readonly boot: { readonly id: string; readonly blessed: boolean; readonly good?: string };
  readonly gate?: { readonly healthy: boolean };
  readonly updates: readonly {
    readonly version?: string;
    readonly digest?: string;
    readonly outcome: string;
    readonly reason?: string;
  }[];
}

/** Ends when what started passed its gate and GRUB knows, or settled that it is what GRUB went back to. */
const UNTIL_SETTLED = `
until systemctl is-active --quiet ingot-bless.service; do
  if systemctl is-failed --quiet ingot-gate.service ingot-bless.service; then exit 1; fi
  sleep 1
done`;

export class VmNode implements AsyncDisposable {
  readonly vm: Vm;

  constructor(vm: Vm) {
    this.vm = vm;
  }

  async sh(script: string, timeoutMs = 120_000): Promise<string> {
    const { exitCode, stdout, stderr } = await this.vm.exec(script, { timeoutMs });
    if (exitCode !== 0) throw new Error(`${script}\nexited with ${exitCode}\n${stdout}${stderr}`);
    return stdout.trim();
  }

  async ingot(
    args: string,
  ): Promise<{ readonly exitCode: number; readonly stdout: string; readonly stderr: string }> {
    return this.vm.exec(`ingot ${args}`, { timeoutMs: BOOT_MS });
  }

  async ingotJson(args: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.sh(`ingot ${args} --json`, BOOT_MS)) as Record<string, unknown>;
  }

  async status(): Promise<NodeStatus> {
    return (await this.ingotJson('node status')) as unknown as NodeStatus;
  }

  /**
   * Waits until the node has settled, through as many restarts as that takes.
   *
   * @param after the boot that is over
   * @param upMs how long it may take until one is up
   * @returns the boot that settled
   */
  async settle(after?: string, upMs = BOOT_MS): Promise<string> {
    let boot = await this.vm.waitForBoot({ timeoutMs: upMs, after });
    for (;;) {
      try {
        const { exitCode } = await this.vm.exec(UNTIL_SETTLED, { timeoutMs: BOOT_MS });
        if (exitCode === 0) return boot;
      } catch (error) {
        // It restarted meanwhile.
        if (!String(error).includes('restarted')) throw error;
      }
      boot = await this.vm.waitForBoot({ timeoutMs: upMs, after: boot });
    }
  }

  /** Goes down in order, and settles. @returns how often it started for that */
  async restart(upMs = BOOT_MS): Promise<number> {
    const before = this.vm.restarts;
    const boot = this.vm.bootId;
    this.vm.tell('systemctl --no-block reboot');
    await this.settle(boot, upMs);
    return this.vm.restarts - before;
  }

  /** As `restart`, by a command of Ingot's that restarts the node itself. */
  async restartBy(args: string): Promise<number> {
    const before = this.vm.restarts;
    const boot = this.vm.bootId;
    const never = new Promise<never>(() => undefined);
    const refused = this.ingot(args).then(
      ({ exitCode, stderr }) => {
        if (exitCode !== 0) throw new Error(`ingot ${args} exited with ${exitCode}\n${stderr}`);
        return never;
      },
      // It went down before it answered.
      () => never,
    );
    await Promise.race([this.settle(boot), refused]);
    return this.vm.restarts - before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm[Symbol.asyncDispose]();
  }
}
