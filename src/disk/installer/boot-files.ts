/**
 * How the installer starts: shim and GRUB as on a disk, then the image's kernel and initramfs, over which a second
 * archive puts the installer. It runs in place of what would start the system: nothing is mounted, and no root is sought.
 */
import type { InstallableImage } from '../../ostree/import-image.ts';
import { AGAIN_ARGUMENT, MEDIUM_ARGUMENT } from './medium.ts';

export const INSTALL_TARGET = 'ingot-install.target';

/** Where the installer leaves what becomes of the machine: `reboot` or `poweroff`. */
export const LAST_VERB_FILE = '/run/ingot-install-verb';

/** Names on the medium, as GRUB sees them. */
export const BOOT_FOLDER = '/ingot';

export interface InstallerMenu {
  readonly image: Pick<InstallableImage, 'name' | 'version'>;
  /** Digest of the medium's description. */
  readonly digest: string;
  /** Of the medium alone; also the name of an empty file by which GRUB finds it. */
  readonly id: string;
  /** Kernel arguments of the image that are about its console. */
  readonly consoles: readonly string[];
}

/** Arguments that say where the kernel's messages and questions go. */
export function consolesOf(kernelArguments: readonly string[]): string[] {
  return kernelArguments.filter((argument) => /^(?:console|earlycon)=/.test(argument));
}

export function renderInstallerMenu({ image, digest, id, consoles }: InstallerMenu): string {
  const kernelArguments = [
    ...consoles,
    `rd.systemd.unit=${INSTALL_TARGET}`,
    'systemd.gpt_auto=no', // a system on a disk here is not for us to look for
    'panic=30',
    'systemd.show_status=no', // it would be written over what the installer says
    `${MEDIUM_ARGUMENT}=${digest}`,
  ];
  const title = `${image.name} ${image.version}`;
  const entry = (name: string, ...more: readonly string[]): string[] => [
    `menuentry ${quote(name)} {`,
    `\tlinux ${BOOT_FOLDER}/vmlinuz ${[...kernelArguments, ...more].join(' ')}`,
    `\tinitrd ${BOOT_FOLDER}/initramfs.img ${BOOT_FOLDER}/installer.img`,
    '}',
  ];
  return [
    // Firmware starts GRUB from the boot image; kernel and disk lie in the file system around it.
    `search --no-floppy --set=root --file ${BOOT_FOLDER}/${id}`,
    'set default=0',
    'set timeout=5',
    'if serial --unit=0 --speed=115200; then',
    '\tterminal_input console serial',
    '\tterminal_output console serial',
    'fi',
    ...entry(`Install ${title}`),
    ...entry(`Install ${title} again, also where this medium has installed it before`, AGAIN_ARGUMENT),
    '',
  ].join('\n');
}

function quote(text: string): string {
  return `'${text.replaceAll(/\p{Cc}/gu, ' ').replaceAll("'", `'\\''`)}'`;
}

export function renderInstallTarget(): string {
  return [
    '[Unit]',
    'Description=Install this machine',
    'Requires=basic.target',
    'Wants=ingot-install.service',
    'After=basic.target',
    'AllowIsolate=yes',
    '',
  ].join('\n');
}

/** What it says goes through the kernel's log, which every console shows. */
export function renderInstallService(): string {
  return [
    '[Unit]',
    'Description=Ingot installer',
    'After=basic.target systemd-udev-trigger.service',
    '[Service]',
    'Type=oneshot',
    'Environment=NO_COLOR=1',
    'ExecStart=/usr/local/sbin/ingot node install --booted',
    // Not by the installer itself, which would be ended in the middle of its last words.
    `ExecStartPost=/bin/sh -c 'exec systemctl --no-block "$(cat ${LAST_VERB_FILE})"'`,
    'StandardOutput=kmsg',
    'StandardError=kmsg',
    // Shown on consoles whatever the kernel's own threshold there is.
    'SyslogLevel=warning',
    'SyslogIdentifier=ingot',
    '',
  ].join('\n');
}
