/**
 * Whether a disk that lost its power has a good system on it, seen twice: as GRUB sees it, which reads the disk as it
 * is, and as the kernel does, which replays the journals first, after what the initramfs mends. Whichever entry GRUB
 * chooses must be a whole system, the old or the new one, and the repository must be without fault.
 */
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { freemem } from 'node:os';
import { basename, join } from 'node:path';

import { MENU_PLACES } from '../../../src/disk/boot-loader.ts';
import { IngotError } from '../../../src/errors.ts';
import { parseEnvironment } from '../../../src/node/boot/grub-environment.ts';
import { argumentValue, parseEntryOptions } from '../../../src/node/boot-entries.ts';
import { MountNamespace } from '../../../src/proc/mount-namespace.ts';
import { type Argv, run, type RunResult } from '../../../src/proc/run.ts';
import { parseSfdiskJson, sfdiskReadArgv } from '../../../src/tools/sfdisk.ts';
import type { ToolsRoot } from '../../../src/tools/tools-root.ts';
import { startByMenu } from '../grub-menu.ts';
import type { Region } from './crash-image.ts';
import { mendSuperblocks } from './mend.ts';

export interface Judgement {
  /** Empty when all is well. */
  readonly complaints: readonly string[];
  /** The systems of the menu, first entry first. */
  readonly menu: readonly string[];
  /** What GRUB starts, when nothing that it starts is ever called good. */
  readonly starts: readonly string[];
  /** File systems whose superblock the node takes from its copy, by their partitions. */
  readonly mended: readonly string[];
}

export interface JudgeOptions {
  /** Says what GRUB can read of the boot partition; the same for two disks when that has the same bits. */
  readonly bootKey: string;
  /** The same for two disks when their root partitions have the same bits. */
  readonly rootKey: string;
  /** Reads every object of the repository, if no disk with this root was read before. */
  readonly readsAll: boolean;
}

export interface Partitions {
  readonly boot: Region;
  readonly root: Region;
}

interface GrubView {
  readonly complaints: readonly string[];
  readonly menu: string;
  readonly environment: string;
  /** `ostree=` of one start after the other. */
  readonly links: readonly string[];
}

/** Where GRUB and the kernel find the same file. */
const MENU = 'grub/grub.cfg';
const ENVIRONMENT = 'grub/grubenv';

export async function findPartitions(disk: string, tools: ToolsRoot): Promise<Partitions> {
  const { stdout } = await run(tools.argv(sfdiskReadArgv(disk), [{ path: disk, readOnly: true }]));
  const { partitions } = parseSfdiskJson(stdout);
  const named = (name: string): Region => {
    const found = partitions.find((one) => one.name === name);
    if (found === undefined) throw new Error(`${disk} has no partition ${name}`);
    return found;
  };
  return { boot: named('boot'), root: named('root') };
}

export class DiskJudge implements AsyncDisposable {
  readonly #tools: ToolsRoot;
  readonly #folder: string;
  readonly #partitions: Partitions;
  readonly #namespace: MountNamespace;
  /** By commit: what it is called, and what its /usr must hold. */
  readonly #systems = new Map<string, { readonly name: string; readonly listing: string }>();
  /** By path on the boot partition. */
  readonly #checksums = new Map<string, string>();
  readonly #grubViews = new Map<string, GrubView>();
  readonly #readRoots = new Set<string>();

  private constructor(tools: ToolsRoot, folder: string, partitions: Partitions, namespace: MountNamespace) {
    this.#tools = tools;
    this.#folder = folder;
    this.#partitions = partitions;
    this.#namespace = namespace;
  }

  /** @param folder empty, for mounts */
  static async open(folder: string, partitions: Partitions, tools: ToolsRoot): Promise<DiskJudge> {
    for (const name of ['sysroot', 'boot', 'disks']) await mkdir(join(folder, name), { recursive: true });
    const namespace = await MountNamespace.open();
    const judge = new DiskJudge(tools, folder, partitions, namespace);
    // Each disk is copied and thrown away: in memory where there is plenty of it.
    if (freemem() > PLENTY) await namespace.run(['mount', '-t', 'tmpfs', 'disks', join(folder, 'disks')]);
    return judge;
  }

  /** For disks, which `learn` and `judge` are told the names of. */
  get disks(): string {
    return this.#namespace.outsidePath(join(this.#folder, 'disks'));
  }

  /** How many disks had every object of their repository read. */
  get wholeReads(): number {
    return this.#readRoots.size;
  }

  /** Takes what is on a disk for whole, and what it did not know yet for `name`. @param file is written to */
  async learn(file: string, name: string): Promise<void> {
    const disk = join(this.#folder, 'disks', file);
    const menu = await this.#grub(disk, 'cat', MENU);
    for (const { files } of parseMenuEntries(menu.stdout)) {
      for (const file of files) this.#checksums.set(file, (await this.#grub(disk, 'crc', file)).stdout);
    }
    await this.#mounted(disk, async (inside) => {
      const deployments = join(inside, 'sysroot/ostree/deploy/default/deploy');
      for (const deployment of await readdir(deployments)) {
        const [commit = ''] = deployment.split('.');
        if (deployment.endsWith('.origin') || this.#systems.has(commit)) continue;
        const listing = await this.#list(join('ostree/deploy/default/deploy', deployment));
        this.#systems.set(commit, { name, listing });
      }
    });
  }

  /** @param file is written to: the kernel replays its journals */
  async judge(file: string, { bootKey, rootKey, readsAll }: JudgeOptions): Promise<Judgement> {
    const disk = join(this.#folder, 'disks', file);
    const view = this.#grubViews.get(bootKey) ?? (await this.#seeAsGrub(disk));
    this.#grubViews.set(bootKey, view);
    const complaints = [...view.complaints];
    const menu: string[] = [];
    const starts: string[] = [];
    const mended: string[] = [];
    const names = new Map<string, string>();
    const look = async (inside: string): Promise<void> => {
      const environment = await readFile(join(inside, 'boot', ENVIRONMENT), 'latin1').catch(String);
      if (environment !== view.environment) complaints.push('GRUB and the kernel read another grubenv');
      for (const { words } of parseMenuEntries(view.menu)) {
        const link = argumentValue(words, 'ostree') ?? 'none';
        const system = await this.#judgeSystem(inside, link);
        menu.push(system.name);
        names.set(link, system.name);
        if (system.complaint !== undefined) complaints.push(`entry ${menu.length}: ${system.complaint}`);
      }
      if (menu.length === 0) complaints.push('the menu has no entry');
      starts.push(...view.links.map((link) => names.get(link) ?? 'nothing'));
      const sysroot = join(this.#folder, 'sysroot');
      const repository = join(sysroot, 'ostree/repo');
      const asked: Argv[] = [['ostree', 'admin', 'status', `--sysroot=${sysroot}`]];
      if (readsAll && !this.#readRoots.has(rootKey)) {
        asked.push(['ostree', 'fsck', '--quiet', `--repo=${repository}`]);
        this.#readRoots.add(rootKey);
      }
      for (const program of asked) {
        const argv = this.#tools.argv(program, [{ path: sysroot }], { capabilities: ['DAC_READ_SEARCH'] });
        const { exitCode, stdout, stderr } = await this.#namespace.run(argv, { okExitCodes: ANY_EXIT });
        if (exitCode !== 0)
          complaints.push(`${program.slice(0, 2).join(' ')}: ${(stderr || stdout).slice(-300)}`);
      }
    };
    try {
      mended.push(...(await mendSuperblocks(disk, this.#partitions, this.#namespace)));
      await this.#mounted(disk, look);
    } catch (error) {
      const output = error instanceof IngotError ? (error.output ?? '') : '';
      complaints.push(`the kernel does not mount it: ${String(error)}\n${output}`);
    }
    if (starts.length === 0 || starts.includes('nothing')) complaints.push('GRUB does not start anything');
    return { complaints, menu, starts, mended };
  }

  async #seeAsGrub(disk: string): Promise<GrubView> {
    const complaints: string[] = [];
    const read = async (command: string, file: string): Promise<string> => {
      const { exitCode, stdout, stderr } = await this.#grub(disk, command, file);
      if (exitCode !== 0) complaints.push(`GRUB does not read ${file}: ${stderr.slice(0, 200)}`);
      return stdout;
    };
    // As it does by its first file, on the EFI system partition.
    const menu = await read('cat', (await this.#firstMenu(disk)) ?? MENU);
    // The block has no newline at its end, and what it is padded with matters.
    const environment = await read('cat', ENVIRONMENT);
    for (const file of new Set(parseMenuEntries(menu).flatMap(({ files }) => files))) {
      const checksum = await read('crc', file);
      if (checksum !== this.#checksums.get(file)) complaints.push(`GRUB reads something else in ${file}`);
    }
    try {
      return { complaints, menu, environment, links: startAgainAndAgain(menu, environment) };
    } catch (error) {
      complaints.push(`GRUB does not take the menu: ${String(error)}`);
      return { complaints, menu, environment, links: [] };
    }
  }

  async #firstMenu(disk: string): Promise<string | undefined> {
    for (const place of MENU_PLACES) {
      const { exitCode, stdout } = await this.#grub(disk, 'cat', place);
      if (exitCode === 0 && stdout !== '') return place;
    }
    return undefined;
  }

  async #grub(disk: string, command: string, file: string): Promise<RunResult> {
    const program = ['grub-fstest', disk, command, `(loop0,gpt2)/${file}`] as const;
    const argv = this.#tools.argv(program, [{ path: disk, readOnly: true }]);
    return await this.#namespace.run(argv, { okExitCodes: ANY_EXIT });
  }

  /** @param link from the root, as on the kernel command line */
  async #judgeSystem(inside: string, link: string): Promise<{ name: string; complaint?: string }> {
    const sysroot = join(inside, 'sysroot');
    const target = await readlink(join(sysroot, link)).catch(() => undefined);
    if (target === undefined) return { name: 'nothing', complaint: `${link} leads nowhere` };
    const deployment = basename(target);
    const [commit = ''] = deployment.split('.');
    const known = this.#systems.get(commit);
    if (known === undefined) return { name: 'unknown', complaint: `nobody knows ${deployment}` };
    const folder = join('ostree/deploy/default/deploy', deployment);
    const { name } = known;
    if ((await this.#list(folder)) !== known.listing) return { name, complaint: `${name} is not whole` };
    for (const file of ['fstab', 'passwd', 'machine-id']) {
      const text = await readFile(join(sysroot, folder, 'etc', file), 'utf8').catch(() => undefined);
      if (text === undefined || (file !== 'machine-id' && !text.endsWith('\n'))) {
        return { name, complaint: `${name} has no whole /etc/${file}` };
      }
    }
    return { name };
  }

  /** Every file below /usr of a deployment, by type, mode, owner, size and target. */
  async #list(deployment: string): Promise<string> {
    const usr = join(this.#folder, 'sysroot', deployment, 'usr');
    const script = `find "$1" -printf '%P %y %m %U %G %s %l\\n' | sed 's/^\\([^ ]* d [^ ]* [^ ]* [^ ]*\\) .*/\\1/' | sort | sha256sum`;
    const { stdout } = await this.#namespace.run(['sh', '-c', script, 'sh', usr]);
    return stdout;
  }

  async #mounted(disk: string, work: (inside: string) => Promise<void>): Promise<void> {
    const { boot, root } = this.#partitions;
    const places = [
      [root, join(this.#folder, 'sysroot')],
      [boot, join(this.#folder, 'boot')],
    ] as const;
    const mounted: string[] = [];
    try {
      for (const [{ offset, size }, target] of places) {
        const options = `loop,offset=${offset},sizelimit=${size}`;
        await this.#namespace.run(['mount', '-t', 'ext4', '-o', options, disk, target]);
        mounted.push(target);
      }
      await work(this.#namespace.outsidePath(this.#folder));
    } finally {
      for (const target of mounted.reverse()) await this.#namespace.run(['umount', target]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
  }
}

/** Of free memory. */
const PLENTY = 6 * 1024 ** 3;
/** As often as it takes to run out of tries, and once more. */
const STARTS = 6;

function startAgainAndAgain(menu: string, block: string): string[] {
  const environment = new Map(parseEnvironment(Buffer.from(block, 'latin1')));
  const canSave = parseEnvironment(Buffer.from(block, 'latin1')) !== undefined;
  return Array.from({ length: STARTS }, () => {
    const start = startByMenu(menu, { environment, canSave, unloadable: new Set() });
    return typeof start === 'string' ? start : (argumentValue(start.words, 'ostree') ?? 'none');
  });
}

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);

interface MenuEntry {
  /** Kernel and initramfs, as paths on the boot partition. */
  readonly files: readonly string[];
  /** Of the kernel command line. */
  readonly words: readonly string[];
}

/** Each kernel that a menu can start, in order, once for each system that it starts. */
export function parseMenuEntries(menu: string): MenuEntry[] {
  const entries = new Map<string, MenuEntry>();
  let linux: { readonly kernel: string; readonly words: readonly string[] } | undefined;
  for (const line of menu.split('\n')) {
    const [command = '', ...args] = parseEntryOptions(`options ${line.trim()}`).map((word) =>
      word.replaceAll(/^'|'$/g, ''),
    );
    if (command === 'linux') linux = { kernel: args[0] ?? '', words: args.slice(1) };
    if (command !== 'initrd' || linux === undefined) continue;
    const { kernel, words } = linux;
    const key = argumentValue(words, 'ostree') ?? kernel;
    if (!entries.has(key)) entries.set(key, { files: [kernel, ...args], words });
  }
  return [...entries.values()];
}
