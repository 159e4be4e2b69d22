/** Starts a node from a disk that lost its power, and updates it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { MountNamespace } from '../../../src/proc/mount-namespace.ts';
import { BootedNode } from '../booted-node.ts';
import type { Partitions } from './judge-disk.ts';
import { mendSuperblocks } from './mend.ts';

export interface GoOnOptions {
  /** Written to. */
  readonly disk: string;
  readonly partitions: Partitions;
  /** For mounts. */
  readonly folder: string;
  /** Shown to the node, read-only. */
  readonly given: string;
  /** What it updates to. */
  readonly reference: string;
}

export interface WentOn {
  /** Version that came up after the power loss. */
  readonly started: string;
  /** And after the update. */
  readonly updated: string;
}

/** @throws Error when anything of it fails, or `ostree fsck` finds something before or after */
export async function goOn({ disk, partitions, folder, given, reference }: GoOnOptions): Promise<WentOn> {
  const mounts = [
    [partitions.root, join(folder, 'sysroot')],
    [partitions.boot, join(folder, 'boot')],
  ] as const;
  for (const name of ['sysroot', 'boot', 'run']) await mkdir(join(folder, name), { recursive: true });
  await using namespace = await MountNamespace.open();
  const mount = async (): Promise<void> => {
    await mendSuperblocks(disk, partitions, namespace);
    for (const [{ offset, size }, target] of mounts) {
      const options = `loop,offset=${offset},sizelimit=${size}`;
      await namespace.run(['mount', '-t', 'ext4', '-o', options, disk, target]);
    }
  };
  await mount();
  const node = await BootedNode.open(folder, given, namespace);
  const booted = async (): Promise<string> => {
    const fsck = await node.exec(['ostree', 'fsck', '--quiet']);
    if (fsck.exitCode !== 0) throw new Error(`ostree fsck: ${fsck.stderr}`);
    const status = (await node.ingotJson(['node', 'status'])) as {
      readonly booted: { readonly version: string };
    };
    return status.booted.version;
  };
  const started = await booted();
  await node.ingotJson(['node', 'bless']);
  await node.ingotJson(['node', 'switch', reference]);
  await node.finalize();
  for (const [, target] of mounts.toReversed()) await namespace.run(['umount', target]);
  await mount();
  await node.powerCycle();
  return { started, updated: await booted() };
}
