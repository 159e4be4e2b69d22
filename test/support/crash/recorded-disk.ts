/**
 * A disk whose writes are recorded, without a machine: QEMU's storage daemon gives it to the kernel as a file (FUSE),
 * writes down every write and flush, and its file systems are mounted from there. All of it is in a mount namespace of
 * our own, so nothing of it outlives us. Needs root, and a kernel with FUSE and loop devices.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { type Companion, startCompanion } from '../../../src/proc/companion.ts';
import { MountNamespace } from '../../../src/proc/mount-namespace.ts';
import type { Argv } from '../../../src/proc/run.ts';
import type { ToolsRoot } from '../../../src/tools/tools-root.ts';
import type { Region } from './crash-image.ts';
import { countEntries } from './write-log.ts';

/** Where things lie in the namespace. */
const ROOT = '/mnt';
const WORK = '/work';
const EXPORT = `${WORK}/recorded`;
/** Parts of the tools root that the daemon needs. */
const PARTS = ['usr', 'bin', 'lib', 'lib64', 'sbin', 'etc'];
const START_MS = 60_000;

export class RecordedDisk implements AsyncDisposable {
  readonly namespace: MountNamespace;
  readonly log: string;
  readonly #daemon: Companion;

  private constructor(namespace: MountNamespace, daemon: Companion, log: string) {
    this.namespace = namespace;
    this.#daemon = daemon;
    this.log = log;
  }

  /** @param disk raw; it is written to @param folder gets the log */
  static async open(disk: string, folder: string, tools: ToolsRoot): Promise<RecordedDisk> {
    const namespace = await MountNamespace.open();
    try {
      const log = join(folder, 'writes.log');
      await mkdir(folder, { recursive: true });
      await writeFile(log, '');
      await writeFile(join(folder, 'recorded'), '');
      // The tools root must not be written to, so what is mounted in it is mounted in a view of it.
      await namespace.run(['mount', '-t', 'tmpfs', 'tools', ROOT]);
      for (const part of PARTS) await bindPart(namespace, join(tools.path, part), join(ROOT, part));
      for (const [source, target] of [
        ['/dev', '/dev'],
        [folder, WORK],
      ] as const) {
        await namespace.run(['mkdir', join(ROOT, target)]);
        await namespace.run(['mount', '--rbind', source, join(ROOT, target)]);
      }
      await namespace.run(['touch', join(ROOT, 'disk')]);
      await namespace.run(['mount', '--bind', disk, join(ROOT, 'disk')]);
      const daemon = await startCompanion([...namespace.enterArgv, ...recorderArgv()] as unknown as Argv, {
        channels: 0,
        label: 'qemu-storage-daemon',
      });
      const recorded = new RecordedDisk(namespace, daemon, log);
      await recorded.#waitForExport();
      return recorded;
    } catch (error) {
      await namespace[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Mounts a partition at a folder of the namespace. */
  async mount({ offset, size }: Region, target: string): Promise<void> {
    const options = `loop,offset=${offset},sizelimit=${size}`;
    await this.namespace.run(['mount', '-t', 'ext4', '-o', options, join(ROOT, EXPORT), target]);
  }

  /** How many entries the log has now. */
  async mark(): Promise<number> {
    return await countEntries(this.log);
  }

  async #waitForExport(): Promise<void> {
    const until = Date.now() + START_MS;
    for (;;) {
      const { exitCode } = await this.namespace.run(['mountpoint', '--quiet', join(ROOT, EXPORT)], {
        okExitCodes: [0, 1, 32],
      });
      if (exitCode === 0) return;
      const ended = await Promise.race([this.#daemon.exited, sleep(50)]);
      if (ended !== undefined) throw new Error(`the recorder has ended: ${ended.output}`);
      if (Date.now() > until) throw new Error('the recorder does not start');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
    await this.namespace[Symbol.asyncDispose]();
  }
}

function recorderArgv(): Argv {
  const node = {
    'node-name': 'recorded',
    driver: 'blklogwrites',
    file: { driver: 'raw', file: { driver: 'file', filename: '/disk' } },
    log: { driver: 'file', filename: `${WORK}/writes.log` },
    'log-sector-size': 512,
    'log-super-update-interval': 1,
  };
  return [
    ...(['chroot', ROOT, 'qemu-storage-daemon', '--blockdev', JSON.stringify(node)] as const),
    ...['--export', `type=fuse,id=export,node-name=recorded,mountpoint=${EXPORT},writable=on`],
  ];
}

async function bindPart(namespace: MountNamespace, source: string, target: string): Promise<void> {
  const { stdout } = await namespace.run(['readlink', source], { okExitCodes: [0, 1] });
  const link = stdout.trim();
  if (link !== '') {
    await namespace.run(['ln', '-s', link, target]);
    return;
  }
  await namespace.run(['mkdir', target]);
  await namespace.run(['mount', '--bind', '-o', 'ro', source, target]);
}
