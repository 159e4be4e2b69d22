/**
 * A node without a machine: a deployment that a real import made, as the root of a namespace of its own, with the
 * physical root at /sysroot, /var and /run as they are on a node. libostree takes it for the running system, so
 * everything but the kernel and systemd is real: staging, the merge of /etc at shutdown, boot entries, GRUB's menu.
 * Needs root.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { deployImage } from '../../src/disk/deploy.ts';
import { newDiskIdentity } from '../../src/disk/layout.ts';
import { readEnvironment, writeEnvironment } from '../../src/node/boot/grub-environment.ts';
import { argumentValue } from '../../src/node/boot-entries.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { DiskTools } from '../../src/ostree/disk-tools.ts';
import { installableImage } from '../../src/ostree/import-image.ts';
import type { MountNamespace } from '../../src/proc/mount-namespace.ts';
import { type Argv, run } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { renderBootedMark } from './booted-mark.ts';
import { TEST_FOLDER } from './built-image.ts';
import { type CliResult, PRODUCT_ROOT } from './cli.ts';
import { startByMenu } from './grub-menu.ts';

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
/** Those of root on a node, without the one that lets ostree make files immutable: they must be removed again. */
const CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'SETFCAP'],
  ...['SETGID', 'SETUID', 'SYS_ADMIN', 'SYS_CHROOT', 'SYS_PTRACE'],
] as const;

/** Where the product and what a test gives lie inside. */
const PRODUCT = '/tmp/ingot';
export const GIVEN = '/tmp/given';
/** What the nodes of all tests have compiled. On their own, each would do so anew, for half a second a command. */
const CODE = { here: join(TEST_FOLDER, 'code'), there: '/tmp/code' };
/** Of a node on a disk, in its folder: what /proc/cmdline says. */
const COMMAND_LINE = 'cmdline';

export class BootedNode {
  readonly #folder: string;
  /** Of the running deployment, from the physical root. */
  #deployment: string;
  /** Read-only below `GIVEN`. */
  readonly #given: string;
  readonly #namespace: MountNamespace | undefined;

  private constructor(folder: string, deployment: string, given: string, namespace?: MountNamespace) {
    this.#folder = folder;
    this.#deployment = deployment;
    this.#given = given;
    this.#namespace = namespace;
    mkdirSync(CODE.here, { recursive: true });
  }

  /**
   * Starts what GRUB starts from a disk. Its file systems are mounted at `sysroot` and `boot` in `folder` of the
   * namespace, beside an empty `run`.
   */
  static async open(folder: string, given: string, namespace: MountNamespace): Promise<BootedNode> {
    const node = new BootedNode(folder, '', given, namespace);
    await node.#startByGrub();
    return node;
  }

  /** Installs an image as `ingot disk` does, in `folder`, which is empty. */
  static async install(
    reference: string,
    folder: string,
    given: string,
    root: ToolsRoot,
  ): Promise<BootedNode> {
    const image = installableImage(await resolveImage(reference));
    const tools = new DiskTools(root);
    const identity = newDiskIdentity(randomUUID);
    const { deploymentPath } = await deployImage(image, folder, identity, tools, silentReporter);
    await mkdir(join(folder, 'run'));
    const node = new BootedNode(folder, deploymentPath, given);
    await node.#start();
    return node;
  }

  /** Starts what `deployImage`, or ostree itself, has made in `folder`. */
  static async adopt(folder: string, given: string): Promise<BootedNode> {
    const node = new BootedNode(folder, '', given);
    await mkdir(join(folder, 'run'), { recursive: true });
    await node.powerCycle();
    return node;
  }

  /** A file of the node's, from here. */
  path(inside: string): string {
    if (inside.startsWith('/var/')) return join(this.sysroot, 'ostree/deploy/default', inside);
    if (inside.startsWith('/run/') || inside.startsWith('/boot/')) return join(this.#outside, inside);
    return join(this.sysroot, this.#deployment, inside);
  }

  get sysroot(): string {
    return join(this.#outside, 'sysroot');
  }

  /** Its folder, from here. */
  get #outside(): string {
    return this.#namespace?.outsidePath(this.#folder) ?? this.#folder;
  }

  /** Runs a program on the node, whatever its exit code. */
  async exec(argv: Argv, binds: readonly string[] = []): Promise<CliResult> {
    const { exitCode, stdout, stderr } = await run(this.outsideArgv(argv, binds), {
      okExitCodes: ANY_EXIT,
      timeoutMs: 600_000,
    });
    return { exitCode, stdout, stderr };
  }

  /** `ingot ARGS` on the node. @param binds further options of bubblewrap */
  async ingot(args: readonly string[], binds: readonly string[] = []): Promise<CliResult> {
    return this.exec(this.ingotArgv(args), binds);
  }

  /** `ingot` on the node, for others to run; arguments go behind it. */
  get ingotProgram(): Argv {
    return this.outsideArgv(this.ingotArgv([]), []);
  }

  ingotArgv(args: readonly string[]): Argv {
    return ['/tmp/node', `${PRODUCT}/src/main.ts`, ...args];
  }

  async ingotJson(args: readonly string[], binds: readonly string[] = []): Promise<Record<string, unknown>> {
    const { exitCode, stdout, stderr } = await this.ingot([...args, '--json'], binds);
    if (exitCode !== 0)
      throw new Error(`ingot ${args.join(' ')} exited with ${exitCode}\n${stderr}\n${stdout}`);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  /** Goes down in order, finalising what is staged, and starts what is first in the boot menu. */
  async reboot(): Promise<void> {
    await this.finalize();
    await this.powerCycle();
  }

  /** What happens to a staged deployment on the way down. */
  async finalize(): Promise<void> {
    const { exitCode, stderr } = await this.exec(['ostree', 'admin', 'finalize-staged']);
    if (exitCode !== 0) throw new Error(stderr);
  }

  /** Loses power, and starts what is first in the boot menu; on a disk, what GRUB starts. */
  async powerCycle(): Promise<void> {
    if (this.#namespace !== undefined) {
      await this.#startByGrub();
      return;
    }
    this.#deployment = await this.#first();
    await this.#start();
  }

  /** Has user space restarted in what is first; /run stays as it is. */
  async goOver(): Promise<void> {
    this.#deployment = await this.#first();
  }

  /** GRUB counts, and says on the kernel command line what it decided. */
  async #startByGrub(): Promise<void> {
    const menu = await readFile(join(this.#outside, 'boot/grub/grub.cfg'), 'utf8');
    const block = join(this.#outside, 'boot/grub/grubenv');
    const before = (await readEnvironment(block)) ?? new Map<string, string>();
    const environment = new Map(before);
    const start = startByMenu(menu, { environment, canSave: true, unloadable: new Set() });
    if (typeof start === 'string') throw new Error(`GRUB does not start anything: it ${start}`);
    if (!isDeepStrictEqual(environment, before)) await writeEnvironment(block, environment, []);
    this.#deployment = await this.#deploymentOf(start.words);
    await this.#start();
    await writeFile(join(this.#outside, COMMAND_LINE), `${start.words.join(' ')}\n`);
  }

  async #first(): Promise<string> {
    const entries = join(this.#outside, 'boot/loader/entries');
    const texts = await Promise.all(
      (await readdir(entries)).map((name) => readFile(join(entries, name), 'utf8')),
    );
    const versionOf = (text: string): number => Number(/^version (\d+)$/m.exec(text)?.[1]);
    const [first = ''] = texts.sort((one, other) => versionOf(other) - versionOf(one));
    return await this.#deploymentOf(first.split(/\s/));
  }

  /** @param words of a kernel command line */
  async #deploymentOf(words: readonly string[]): Promise<string> {
    const link = argumentValue(words, 'ostree') ?? 'none';
    const name = (await readlink(join(this.sysroot, link))).split('/').at(-1) ?? '';
    return join('ostree/deploy/default/deploy', name);
  }

  /** A program on the node, for others to run: bubblewrap's argument vector. */
  outsideArgv(argv: Argv, binds: readonly string[]): Argv {
    const sysroot = join(this.#folder, 'sysroot');
    // On a disk, ostree made deployments immutable, and has to undo that.
    const isDisk = this.#namespace !== undefined;
    const capabilities = [...CAPABILITIES, ...(isDisk ? ['LINUX_IMMUTABLE'] : [])];
    const bind = (source: string, target: string, flag = '--bind'): string[] => [flag, source, target];
    return [
      ...(this.#namespace?.enterArgv ?? (['env'] as const)),
      ...['bwrap', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--die-with-parent'],
      ...['--cap-drop', 'ALL', ...capabilities.flatMap((name) => ['--cap-add', `CAP_${name}`])],
      ...bind(join(sysroot, this.#deployment), '/'),
      ...bind(sysroot, '/sysroot', '--ro-bind'),
      ...bind(join(this.#folder, 'boot'), '/boot'),
      ...bind(join(sysroot, 'ostree/deploy/default/var'), '/var'),
      ...bind(join(this.#folder, 'run'), '/run'),
      ...['--tmpfs', '/tmp', '--dev', '/dev', '--proc', '/proc', '--ro-bind', '/sys', '/sys'],
      // Nothing runs that it could speak to, and libostree starts the unit that finalises.
      ...bind(join(sysroot, this.#deployment, 'usr/bin/true'), '/usr/bin/systemctl', '--ro-bind'),
      ...bind(PRODUCT_ROOT, PRODUCT, '--ro-bind'),
      ...bind(process.execPath, '/tmp/node', '--ro-bind'),
      ...bind(this.#given, GIVEN, '--ro-bind'),
      ...bind(CODE.here, CODE.there),
      ...(isDisk ? bind(join(this.#folder, COMMAND_LINE), '/proc/cmdline', '--ro-bind') : []),
      ...binds,
      ...['--clearenv', '--setenv', 'PATH', '/usr/sbin:/usr/bin', '--setenv', 'LC_ALL', 'C.UTF-8'],
      ...['--setenv', 'HOME', '/root', '--setenv', 'NODE_COMPILE_CACHE', CODE.there],
      ...['--setenv', 'NO_COLOR', '1', '--chdir', '/', '--', ...argv],
    ];
  }

  async #start(): Promise<void> {
    const folder = join(this.#outside, 'run');
    for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
    const deployment = await lstat(join(this.sysroot, this.#deployment), { bigint: true });
    await writeFile(join(folder, 'ostree-booted'), renderBootedMark(deployment));
  }
}
