/**
 * A deployment in a plain folder that becomes the root file system: what `ostree admin` makes on a mounted disk,
 * made without a disk. Nothing here mounts anything.
 */
import { chmod, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { RootFs } from '../build/root-fs.ts';
import { IngotError } from '../errors.ts';
import { BOOT_ID, bootIdOf } from '../ostree/boot-id.ts';
import type { Reporter } from '../report/events.ts';
import { fatUuid } from '../tools/dosfstools.ts';
import {
  ostreeConfigSetArgv,
  ostreeDeployArgv,
  ostreeInitFsArgv,
  ostreeListArgv,
  ostreeStaterootInitArgv,
} from '../tools/ostree.ts';
import { FILE_OWNER_CAPABILITIES } from '../tools/tools-root.ts';
import { writeBootMenu } from './boot-loader.ts';
import { makeComposefs } from './composefs.ts';
import { asDiskFailure, type DiskTools } from '../ostree/disk-tools.ts';
import { importImage, type InstallableImage } from '../ostree/import-image.ts';
import type { DiskIdentity } from './layout.ts';

/** Where all deployments and /var of the node live: `/ostree/deploy/<stateroot>`. The name bootc uses too. */
export const STATEROOT = 'default';

export interface DeployedSystem {
  /** Becomes the root file system; its `boot` is empty. */
  readonly sysroot: string;
  /** Becomes the boot file system. */
  readonly boot: string;
  /** The deployment, from the root of the root file system. */
  readonly deploymentPath: string;
  readonly identity: DiskIdentity;
}

/** What applies it: the agent's unit. */
const PROVISIONER = '/usr/lib/systemd/system/ingot-provision.service';

/** Where the first start of a node finds the provisioning data that came with its disk. */
export const SEED_FILE = '/var/lib/ingot/provision/seed';

/**
 * Imports and deploys `image` below `folder`, which is empty. Errors as `importImage`.
 *
 * @param seed provisioning data for the first start
 * @throws IngotError USAGE for an image that would not apply them
 */
export async function deployImage(
  image: InstallableImage,
  folder: string,
  identity: DiskIdentity,
  tools: DiskTools,
  reporter: Reporter,
  seed?: string,
): Promise<DeployedSystem> {
  const sysroot = join(folder, 'sysroot');
  const boot = join(folder, 'boot');
  const repo = join(sysroot, 'ostree', 'repo');
  const capabilities = { capabilities: FILE_OWNER_CAPABILITIES };
  const configure = async (settings: Readonly<Record<string, string>>): Promise<void> => {
    for (const [key, value] of Object.entries(settings)) {
      await tools.run(ostreeConfigSetArgv(repo, key, value), [{ path: sysroot }], capabilities);
    }
  };
  await mkdir(sysroot);
  await tools.run(ostreeInitFsArgv(sysroot), [{ path: sysroot }], capabilities);
  await tools.run(ostreeStaterootInitArgv(sysroot, STATEROOT), [{ path: sysroot }], capabilities);
  // There is no boot loader yet for libostree to find; `core.fsync` because a torn scratch folder is thrown away.
  await configure({
    'sysroot.bootloader': 'none',
    'sysroot.readonly': 'true',
    'sysroot.bootprefix': 'false',
    'core.fsync': 'false',
  });

  const { ref, kernelArguments } = await reporter.stage('Import layers', async (stage) => {
    stage.detail(`${image.layers.length} ${image.layers.length === 1 ? 'layer' : 'layers'}`);
    return await importImage(image, { folder, repo }, tools, { stage });
  });

  return await reporter.stage('Deploy', async () => {
    const all = [`root=UUID=${identity.rootUuid}`, 'rw', ...kernelArguments];
    if (await isBlessed(tools, repo, ref, sysroot)) {
      all.push(`${BOOT_ID}=${bootIdOf(image.digest, new Date())}`);
    }
    await tools.run(
      ostreeDeployArgv({ sysroot, stateroot: STATEROOT, ref, kernelArguments: all }),
      [{ path: sysroot }],
      capabilities,
    );
    const deploymentPath = await findDeployment(sysroot);
    const deployment = join(sysroot, deploymentPath);
    await makeComposefs({ sysroot, deployment, ref }, tools.signal);
    await asDiskFailure(writeMountTable(join(deployment, 'etc', 'fstab'), identity));
    if (seed !== undefined) {
      await requireProvisioner(deployment);
      await asDiskFailure(writeSeed(join(sysroot, 'ostree', 'deploy', STATEROOT), seed));
    }
    await writeBootMenu({ boot: join(sysroot, 'boot'), deployment }, tools);
    // From now on the running system makes the menu itself, each time it writes boot entries.
    await configure({ 'sysroot.bootloader': 'grub2', 'core.fsync': 'true' });
    await asDiskFailure(rename(join(sysroot, 'boot'), boot));
    await asDiskFailure(mkdir(join(sysroot, 'boot')));
    return { sysroot, boot, deploymentPath, identity };
  });
}

/**
 * Whether the image tells GRUB which start was good. Of one that does not, nobody would ever say so, and what was
 * deployed later by other means would inherit the id and be counted for nothing.
 */
async function isBlessed(tools: DiskTools, repo: string, ref: string, sysroot: string): Promise<boolean> {
  const list = ostreeListArgv(repo, ref, '/usr/lib/systemd/system/ingot-bless.service');
  const { exitCode } = await tools.run(list, [{ path: sysroot }], {}, { okExitCodes: [0, 1] });
  return exitCode === 0;
}

async function findDeployment(sysroot: string): Promise<string> {
  const folder = join('ostree', 'deploy', STATEROOT, 'deploy');
  const names = (await readdir(join(sysroot, folder))).filter((name) => /^[0-9a-f]{64}\.0$/.test(name));
  const [name] = names;
  if (name === undefined || names.length > 1) {
    throw new IngotError('DISK_FAILED', `expected one deployment after the first, found ${names.length}`);
  }
  return join(folder, name);
}

/** The machine's own mounts; the root itself is found by the kernel argument. */
export function renderMountTable(identity: DiskIdentity): string {
  return [
    // A device that is late ends in emergency mode, so it gets longer than the usual 90 s.
    `UUID=${identity.bootUuid} /boot ext4 defaults,nosuid,nodev,x-systemd.device-timeout=180s 0 2`,
    // Rarely needed, so mounted on use; a broken ESP must not keep the node from booting.
    `UUID=${fatUuid(identity.espVolumeId)} /boot/efi vfat ` +
      'umask=0077,nofail,x-systemd.automount,x-systemd.idle-timeout=60s 0 0',
    '',
  ].join('\n');
}

async function writeMountTable(path: string, identity: DiskIdentity): Promise<void> {
  // Not in place: the file may be a hard link into the repository.
  await rm(path, { force: true });
  await writeFile(path, renderMountTable(identity), { mode: 0o644, flag: 'wx' });
}

/** @throws IngotError USAGE for an image whose first start would pass over provisioning data */
async function requireProvisioner(deployment: string): Promise<void> {
  if (await new RootFs(deployment).exists(PROVISIONER)) return;
  throw new IngotError('USAGE', 'nothing in this image applies provisioning data', {
    hint: 'the agent does: declare `agent: true`, or leave --provision out',
  });
}

/** It may hold secrets: nobody but root reads it. */
async function writeSeed(stateroot: string, seed: string): Promise<void> {
  const path = join(stateroot, SEED_FILE);
  await mkdir(dirname(path), { recursive: true });
  await chmod(dirname(path), 0o700);
  await writeFile(path, seed, { mode: 0o600, flag: 'wx' });
}
