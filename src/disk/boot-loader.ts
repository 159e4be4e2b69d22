/**
 * The boot path: firmware → shim → GRUB (both signed by Debian) → `grub.cfg` beside libostree's boot entries.
 *
 * The signed GRUB cannot read boot entries itself, so the image's own small `grub-mkconfig` turns them into a menu
 * each time libostree writes them. It lies behind the `loader` link, which libostree switches atomically.
 */
import { copyFile, lstat, mkdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../errors.ts';
import { run } from '../proc/run.ts';
import { bubblewrapArgv } from '../tools/bubblewrap.ts';
import { mkfsFatArgv } from '../tools/dosfstools.ts';
import { mtoolsCopyInArgv, mtoolsMakeDirectoriesArgv } from '../tools/mtools.ts';
import type { ToolBind } from '../tools/tools-root.ts';
import { asDiskFailure, type DiskTools } from '../ostree/disk-tools.ts';
import type { DiskIdentity, DiskLayout } from './layout.ts';

/** GRUB's environment: always exactly this long, and written in place, since GRUB does not replay the journal. */
const GRUBENV_BYTES = 1024;

/**
 * Where the menu is on the boot partition, by the link that libostree switches, and in the folders that it leads to.
 * The switch is one for the kernel, which replays the journal. GRUB does not: when the power goes while the kernel brings
 * the switch from the journal to its place, GRUB may find a link that leads nowhere yet. Both menus are whole then.
 */
export const MENU_PLACES = ['grub/grub.cfg', 'loader.1/grub.cfg', 'loader.0/grub.cfg'] as const;

/** What the signed GRUB reads first, from the EFI system partition. */
export function renderEspGrubConfig(bootUuid: string): string {
  const choices = MENU_PLACES.map((place, index) => [
    `${index === 0 ? 'if' : 'elif'} [ -s ($root)/${place} ]; then`,
    `  configfile ($root)/${place}`,
  ]);
  return [
    `search --no-floppy --fs-uuid --set=root ${bootUuid}`,
    'set prefix=($root)/grub',
    ...choices.flat(),
    'fi',
    '',
  ].join('\n');
}

export function renderEmptyGrubEnvironment(): string {
  return '# GRUB Environment Block\n'.padEnd(GRUBENV_BYTES, '#');
}

/** Where the boot loaders lie in the tools root, and where they go on the ESP. */
export const EFI_PROGRAMS = [
  // The name that firmware looks for on a disk it knows nothing about (UEFI 2.10, 3.5.1.1).
  { from: 'usr/lib/shim/shimx64.efi.signed', to: '/EFI/BOOT/BOOTX64.EFI' },
  { from: 'usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed', to: '/EFI/BOOT/grubx64.efi' },
  { from: 'usr/lib/shim/mmx64.efi.signed', to: '/EFI/BOOT/mmx64.efi' },
] as const;

/** Makes `/boot/grub` and the first menu, with the deployment's own menu generator. */
export async function writeBootMenu(
  options: { readonly boot: string; readonly deployment: string },
  tools: DiskTools,
): Promise<void> {
  const { boot, deployment } = options;
  await asDiskFailure(
    (async () => {
      await mkdir(join(boot, 'grub'));
      await mkdir(join(boot, 'efi'));
      await symlink('../loader/grub.cfg', join(boot, 'grub', 'grub.cfg'));
      await writeFile(join(boot, 'grub', 'grubenv'), renderEmptyGrubEnvironment());
    })(),
  );
  const loader = await readlink(join(boot, 'loader'));
  const program = ['/usr/sbin/grub-mkconfig', '-o', `/boot/${loader}/grub.cfg`] as const;
  // The image's program, so it sees the image and /boot alone and can do nothing but write files there.
  const argv = bubblewrapArgv(program, {
    root: deployment,
    rootReadOnly: true,
    binds: [{ source: boot, target: '/boot' }],
    tmpfs: ['/tmp', '/run'],
    environment: {
      PATH: '/usr/sbin:/usr/bin',
      LC_ALL: 'C.UTF-8',
      _OSTREE_GRUB2_BOOTVERSION: loader.replace('loader.', ''), // as libostree's GRUB backend sets it
    },
  });
  await asDiskFailure(run(argv, { label: 'grub-mkconfig', shown: program, signal: tools.signal }));
  const menu = await readMenu(join(boot, loader, 'grub.cfg'));
  if (!/^\s*menuentry /m.test(menu)) {
    throw new IngotError('DISK_FAILED', 'the image’s /usr/sbin/grub-mkconfig wrote no menu entry', {
      hint: 'it must turn the boot entries beside its -o FILE into menu entries',
      output: menu,
    });
  }
}

/** Empty when there is none. A link or a pipe that the image's program left in its place is none. */
async function readMenu(path: string): Promise<string> {
  const status = await lstat(path).catch(() => undefined);
  return status?.isFile() === true ? await readFile(path, 'utf8') : '';
}

/** Makes the EFI system partition inside the disk image `disk`. `scratch` is an empty folder of ours. */
export async function writeEfiSystemPartition(
  disk: ToolBind & { readonly inside: string },
  layout: DiskLayout,
  identity: DiskIdentity,
  scratch: string,
  tools: DiskTools,
): Promise<void> {
  const { offset, size } = layout.esp;
  const { inside, ...bind } = disk;
  const files = join(scratch, 'esp');
  await mkdir(files);
  await writeFile(join(files, 'grub.cfg'), renderEspGrubConfig(identity.bootUuid));
  for (const program of EFI_PROGRAMS) {
    await asDiskFailure(
      copyFile(join(tools.root.path, program.from), join(files, program.to.replace(/^.*\//, ''))),
    );
  }
  const binds = [bind, { path: files, readOnly: true }];
  await tools.run(
    mkfsFatArgv({ file: inside, offset, size, label: 'ESP', volumeId: identity.espVolumeId }),
    binds,
  );
  await tools.run(mtoolsMakeDirectoriesArgv(inside, offset, ['/EFI', '/EFI/BOOT', '/EFI/debian']), binds);
  const targets = [...EFI_PROGRAMS.map((program) => program.to), '/EFI/debian/grub.cfg'];
  for (const target of targets) {
    const source = join(files, target.replace(/^.*\//, ''));
    await tools.run(mtoolsCopyInArgv(inside, offset, source, target), binds);
  }
}
