/**
 * Records what updates write to a node's disk: a disk that was installed as `ingot disk` does it, a node that runs from
 * it (booted-node.ts), and the log of every write.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { createDisk } from '../../../src/disk/create-disk.ts';
import { resolveImage } from '../../../src/oci/layout.ts';
import { installableImage } from '../../../src/ostree/import-image.ts';
import { run } from '../../../src/proc/run.ts';
import { silentReporter } from '../../../src/report/events.ts';
import type { Store } from '../../../src/store/store.ts';
import type { ToolsRoot } from '../../../src/tools/tools-root.ts';
import { BootedNode } from '../booted-node.ts';
import { findPartitions, type Partitions } from './judge-disk.ts';
import { RecordedDisk } from './recorded-disk.ts';

export interface Mark {
  /** What begins here. */
  readonly phase: string;
  /** Entries that the log had. */
  readonly at: number;
}

export interface RecordedNode {
  readonly node: BootedNode;
  /** What is written from now on belongs to `phase`. */
  readonly begin: (phase: string) => Promise<void>;
  /** Goes down in order, unmounting the disk, and starts what GRUB starts. @param name of what is staged, if anything */
  readonly reboot: (name: string) => Promise<void>;
}

export interface Recording {
  /** The disk before the log. */
  readonly before: string;
  /** The disk as it was between two starts, switched off in order. */
  readonly settled: readonly string[];
  /** Of what was new on each. */
  readonly names: readonly string[];
  readonly log: string;
  readonly partitions: Partitions;
  readonly marks: readonly Mark[];
}

export interface RecordOptions {
  /** The image that is on the disk at first. */
  readonly reference: string;
  readonly store: Store;
  readonly toolsRoot: ToolsRoot;
  /** Empty. */
  readonly folder: string;
  /** Shown to the node, read-only. */
  readonly given: string;
}

export async function recordUpdate(
  { reference, store, toolsRoot, folder, given }: RecordOptions,
  update: (recorded: RecordedNode) => Promise<void>,
): Promise<Recording> {
  const [before, current] = [join(folder, 'before.raw'), join(folder, 'current.raw')];
  const image = installableImage(await resolveImage(reference));
  await createDisk({ image, output: before, format: 'raw', store, toolsRoot, reporter: silentReporter });
  await run(['cp', '--sparse=always', before, current]);
  const partitions = await findPartitions(before, toolsRoot);
  const machine = join(folder, 'machine');
  for (const name of ['sysroot', 'boot', 'run']) await mkdir(join(machine, name), { recursive: true });

  await using disk = await RecordedDisk.open(current, join(folder, 'record'), toolsRoot);
  const marks: Mark[] = [];
  const start = async (): Promise<void> => {
    await disk.mount(partitions.root, join(machine, 'sysroot'));
    await disk.mount(partitions.boot, join(machine, 'boot'));
  };
  const settled: string[] = [];
  const names: string[] = [];
  const stop = async (): Promise<void> => {
    for (const name of ['boot', 'sysroot']) await disk.namespace.run(['umount', join(machine, name)]);
  };
  const keep = async (name: string): Promise<void> => {
    if (names.includes(name)) return;
    names.push(name);
    const copy = join(folder, `settled-${settled.length}.raw`);
    await run(['cp', '--sparse=always', current, copy]);
    settled.push(copy);
  };
  await start();
  const node = await BootedNode.open(machine, given, disk.namespace);
  await update({
    node,
    begin: async (phase) => {
      marks.push({ phase, at: await disk.mark() });
    },
    reboot: async (name) => {
      await node.finalize();
      await stop();
      await keep(name);
      await start();
      await node.powerCycle();
    },
  });
  await stop();
  marks.push({ phase: 'end', at: await disk.mark() });
  return { before, settled, names, log: disk.log, partitions, marks };
}

/** Lets the kernel of a layer's tree be another than the node's, so that an update brings files to /boot. */
export async function changeInitramfs(node: BootedNode, tree: string): Promise<void> {
  const modules = node.path('/usr/lib/modules');
  const [release = 'none'] = await readdir(modules);
  const folder = join(tree, 'usr/lib/modules', release);
  await mkdir(folder, { recursive: true });
  const bytes = await readFile(join(modules, release, 'initramfs.img'));
  // The kernel passes over zeros behind an archive.
  await writeFile(join(folder, 'initramfs.img'), Buffer.concat([bytes, Buffer.alloc(4096)]));
}
