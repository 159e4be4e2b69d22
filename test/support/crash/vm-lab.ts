/**
 * A machine that updates itself from a registry, suspended when it was up: trials start from copies of it, so none pays
 * a boot before its power is cut.
 */
import { existsSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { createDisk } from '../../../src/disk/create-disk.ts';
import { Vm } from '../../../src/disk/vm/machine.ts';
import { machineFiles, type MachineState } from '../../../src/disk/vm/machine-state.ts';
import { resolveImage } from '../../../src/oci/layout.ts';
import { installableImage } from '../../../src/ostree/import-image.ts';
import { run } from '../../../src/proc/run.ts';
import { silentReporter } from '../../../src/report/events.ts';
import { writeFileAtomically } from '../../../src/store/store.ts';
import type { ToolsRoot } from '../../../src/tools/tools-root.ts';
import { agentImage } from '../agent-image.ts';
import { GIVEN } from '../booted-node.ts';
import type { BuiltImage } from '../built-image.ts';
import { ingotJson } from '../cli.ts';
import { testTools } from '../derived-image.ts';
import { addNextImage } from '../next-image.ts';
import { readRepository } from '../read-repository.ts';
import { startRegistry, type TestRegistry } from '../registry.ts';
import { writeTree } from '../small-image.ts';
import { goOn } from './go-on.ts';
import { findPartitions } from './judge-disk.ts';

/** Emulated beside other work, a boot has been seen to take five minutes. */
export const BOOT_MS = 1_200_000;
const POLL_MS = 1_000;
/** Of what differs little from one system to the next. */
const RELEASE_BYTES = 8 * 1024 * 1024;
/** What the registry on our loopback is to the guest. */
const GUEST_HOST = '10.0.2.2';

/** What a lab remembers of its images. */
const MADE = 'lab.json';

export type SystemName = 'old' | 'new' | 'last';

interface MadeSystem {
  readonly system: SystemName;
  /** In the layout, and its version. */
  readonly name: string;
  readonly digest: string;
}

interface Made {
  readonly base: BuiltImage;
  readonly systems: readonly MadeSystem[];
}

export class VmLab implements AsyncDisposable {
  readonly toolsRoot: ToolsRoot;
  readonly #folder: string;
  readonly #registry: TestRegistry;
  readonly #systems: readonly MadeSystem[];

  private constructor(
    toolsRoot: ToolsRoot,
    folder: string,
    registry: TestRegistry,
    systems: readonly MadeSystem[],
  ) {
    this.toolsRoot = toolsRoot;
    this.#folder = folder;
    this.#registry = registry;
    this.#systems = systems;
  }

  /** @param folder empty, or one that a lab has left: its images, disk and suspended machine serve again */
  static async open(folder: string): Promise<VmLab> {
    await mkdir(folder, { recursive: true });
    const made = await readMade(folder);
    const registry = await startRegistry({ folder });
    try {
      const { base, systems } = made ?? (await makeImages(folder));
      const { store, toolsRoot } = await testTools(base);
      const layout = join(folder, 'layout');
      for (const [index, { system, name }] of systems.entries()) {
        if (system === 'old') continue;
        const target = `${registry.host}/node:${system}`;
        // From wherever a machine may be.
        const deltas = systems
          .slice(0, index)
          .flatMap((earlier) => ['--delta-from', `oci:${layout}:${earlier.name}`]);
        await ingotJson(['push', `oci:${layout}:${name}`, target, ...deltas, '--insecure', registry.host]);
      }
      if (made === undefined) {
        const disk = join(folder, 'disk.raw');
        const [old] = systems;
        const image = installableImage(await resolveImage(`oci:${layout}:${old?.name ?? ''}`));
        await createDisk({ image, output: disk, format: 'raw', store, toolsRoot, reporter: silentReporter });
        await writeFileAtomically(join(folder, MADE), JSON.stringify({ base, systems }));
      }
      return new VmLab(toolsRoot, folder, registry, systems);
    } catch (error) {
      await registry[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As the machine was installed, before it ever started. */
  get disk(): string {
    return join(this.#folder, 'disk.raw');
  }

  /** Boots the machine, waits until it is known to be good, and suspends it. */
  async prepare(): Promise<void> {
    if (existsSync(machineFiles(this.#suspended).suspended)) return;
    await rm(this.#suspended, { recursive: true, force: true });
    await mkdir(this.#suspended);
    await using vm = await this.#start('keep', this.#suspended);
    await this.waitUntilGood(vm);
    await vm.suspend({ timeoutMs: BOOT_MS });
  }

  /** The suspended machine, in a folder of its own, running. */
  async resume(name: string, writeLog?: string): Promise<Vm> {
    const folder = this.#trial(name);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder);
    const [from, to] = [machineFiles(this.#suspended), machineFiles(folder)];
    await run(['cp', '--sparse=always', from.overlay, from.variables, from.suspended, folder]);
    // Only ever read.
    await link(from.memory, to.memory);
    return await this.#start('resume', folder, writeLog);
  }

  /** Switches a machine on whose power was cut. */
  async powerOn(name: string): Promise<Vm> {
    return await this.#start('keep', this.#trial(name));
  }

  async remove(name: string): Promise<void> {
    await rm(this.#trial(name), { recursive: true });
  }

  /** What is on a machine's disk, as a raw file. */
  async readDisk(name: string | undefined, raw: string): Promise<void> {
    const { overlay } = machineFiles(name === undefined ? this.#suspended : this.#trial(name));
    const program = ['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', overlay, raw] as const;
    await run(['truncate', '--size', '0', raw]);
    await run(this.toolsRoot.argv(program, [{ path: this.#folder }, { path: raw }]));
  }

  /** Reads every object on the disk of a machine whose power was cut. */
  async readRepository(name: string): Promise<void> {
    await readRepository(this.#trial(name), this.disk, this.toolsRoot);
  }

  /**
   * What a machine with this disk would start, and what comes of the next update, carried out by the node's own
   * programs.
   *
   * @param system the one it must start
   */
  async updateDisk(name: string, system: SystemName): Promise<void> {
    const folder = join(this.#trial(name), 'without-machine');
    await mkdir(folder);
    const disk = join(folder, 'disk.raw');
    await this.readDisk(name, disk);
    const { started, updated } = await goOn({
      disk,
      partitions: await findPartitions(disk, this.toolsRoot),
      folder,
      given: join(this.#folder, 'layout'),
      reference: `oci:${GIVEN}:${this.#version('last')}`,
    });
    if (started !== this.#version(system)) throw new Error(`${started} starts, not the ${system} system`);
    if (updated !== this.#version('last')) throw new Error(`the next update ended in ${updated}`);
  }

  #version(name: SystemName): string {
    const found = this.#systems.find(({ system }) => system === name);
    if (found === undefined) throw new TypeError(`there is no ${name} system`);
    return found.name;
  }

  /** The command that updates the node to a system. The console shows, line by line, how far it is. */
  updateCommand(system: SystemName): string {
    const host = this.#registry.host.replace('127.0.0.1', GUEST_HOST);
    const update = `ingot node switch ${host}/node:${system} --insecure ${host}`;
    return `(${update}; echo $? >/run/update-ended) 2>&1 | cat >/dev/console; (exit "$(cat /run/update-ended)")`;
  }

  /** Waits through as many starts as it takes until one is done with its checks. */
  async waitUntilGood(vm: Vm, after?: string): Promise<void> {
    let boot = after;
    const until = vm.seconds + (4 * BOOT_MS) / 1000;
    while (vm.seconds < until) {
      boot = await vm.waitForBoot({ timeoutMs: BOOT_MS, after: boot });
      while (vm.bootId === boot) {
        const asked = vm.exec('systemctl is-active --quiet ingot-bless.service', { timeoutMs: 60_000 });
        // A restart meanwhile is for the loop around this one.
        const answer = await asked.catch(() => undefined);
        if (answer?.exitCode === 0) return;
        await new Promise((resume) => setTimeout(resume, POLL_MS));
      }
    }
    throw new Error(`no start was good\n${vm.console.tail(40)}`);
  }

  /** What runs, by the images' own marks: an emulated machine takes ten seconds to ask Ingot. */
  async bootedSystem(vm: Vm): Promise<SystemName> {
    const { stdout } = await this.must(vm, 'cd /usr/share; find . -maxdepth 1 -name new -o -name last');
    const marks = stdout.trim().replaceAll('./', '');
    const found = this.#systems.find(({ system }) => system === (marks === '' ? 'old' : marks));
    if (found === undefined) throw new Error(`what came up has the marks ${marks.replace('\n', ' and ')}`);
    return found.system;
  }

  /** Runs what must succeed. */
  async must(vm: Vm, script: string): Promise<{ readonly stdout: string }> {
    const { exitCode, stdout, stderr } = await vm.exec(script, { timeoutMs: BOOT_MS });
    if (exitCode !== 0) throw new Error(`${script} exited with ${exitCode}\n${stderr}\n${stdout}`);
    return { stdout };
  }

  get #suspended(): string {
    return join(this.#folder, 'suspended');
  }

  #trial(name: string): string {
    return join(this.#folder, `trial-${name}`);
  }

  async #start(state: MachineState, scratch: string, writeLog?: string): Promise<Vm> {
    const { disk, toolsRoot } = this;
    const consoleFile = join(scratch, 'console.log');
    return await Vm.start({ disk, toolsRoot, scratch, state, network: 'host', consoleFile, writeLog });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry[Symbol.asyncDispose]();
  }
}

async function readMade(folder: string): Promise<Made | undefined> {
  const text = await readFile(join(folder, MADE), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Made);
}

/**
 * The image that the machine begins with, and two updates, in the folder's layout. Each has a layer of its own release
 * of something, which differs little from that of the others, so that it comes by a delta; the updates also have one
 * that is like no other.
 */
async function makeImages(folder: string): Promise<Made> {
  const base = await agentImage();
  const layout = join(folder, 'layout');
  await rm(layout, { recursive: true, force: true });
  await run(['cp', '--archive', '--link', base.layout, layout]);
  await rm(join(layout, 'index.json'));
  await run(['cp', join(base.layout, 'index.json'), layout]);
  const common = randomBytes(RELEASE_BYTES);
  const systems: MadeSystem[] = [];
  for (const [name, system] of [
    ['20991231.1', 'old'],
    ['20991231.2', 'new'],
    ['20991231.3', 'last'],
  ] as const) {
    const isUpdate = system !== 'old';
    const release = await addNextImage(layout, base.version, folder, {
      name: isUpdate ? `${name}.release` : name,
      fill: async (tree) => {
        // The tree's own mode becomes that of the root folder.
        await chmod(tree, 0o755);
        await mkdir(join(tree, 'usr/lib/release'), { recursive: true });
        const own = Buffer.concat([
          common.subarray(0, 100_000),
          Buffer.from(system),
          common.subarray(100_000),
        ]);
        await writeFile(join(tree, 'usr/lib/release', `lib.so.${name}`), own);
      },
    });
    const { digest } = isUpdate
      ? await addNextImage(layout, release.name, folder, {
          name,
          fill: async (tree) => {
            await chmod(tree, 0o755);
            // Enough that a download takes a while, and a kernel argument, so that entries differ.
            await writeTree(tree, {
              [`usr/share/${system}`]: `${system}\n`.repeat(4_000_000),
              [`usr/lib/bootc/kargs.d/90-${system}.toml`]: `kargs = ["system=${system}"]\n`,
            });
          },
        })
      : release;
    systems.push({ system, name, digest });
  }
  return { base, systems };
}
