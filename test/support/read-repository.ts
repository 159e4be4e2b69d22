/** What a machine's own `ostree fsck` would say, from outside: emulated, it takes a minute. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { machineFiles } from '../../src/disk/vm/machine-state.ts';
import { MountNamespace } from '../../src/proc/mount-namespace.ts';
import { run } from '../../src/proc/run.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import { findPartitions } from './crash/judge-disk.ts';

/**
 * Reads every object of the repository on the disk of a machine that is off.
 *
 * @param machine its folder, with what it wrote
 * @param disk what it was started from
 * @throws {IngotError} COMMAND_FAILED when an object is missing or is not what its name says
 */
export async function readRepository(machine: string, disk: string, tools: ToolsRoot): Promise<void> {
  const folder = join(machine, 'repository');
  const raw = join(folder, 'disk.raw');
  const sysroot = join(folder, 'sysroot');
  await mkdir(sysroot, { recursive: true });
  // Ends with its mount and the loop device behind it.
  await using mounts = await MountNamespace.open();
  try {
    const { overlay } = machineFiles(machine);
    const binds = [{ path: machine }, { path: disk, readOnly: true }];
    await run(tools.argv(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', overlay, raw], binds));
    const { offset, size } = (await findPartitions(raw, tools)).root;
    // Its journal is replayed, which a loop device that is read-only would refuse.
    const options = `loop,offset=${offset},sizelimit=${size}`;
    await mounts.run(['mount', '-t', 'ext4', '-o', options, raw, sysroot]);
    const fsck = ['ostree', 'fsck', '--quiet', `--repo=${join(sysroot, 'ostree/repo')}`] as const;
    const bind = { path: sysroot, readOnly: true };
    await mounts.run(tools.argv(fsck, [bind], { capabilities: ['DAC_READ_SEARCH'] }));
  } finally {
    await rm(folder, { recursive: true });
  }
}
