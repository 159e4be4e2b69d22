/**
 * QEMU 10, as one virtual PC: q35, UEFI, virtio. Manual: qemu(1).
 *
 * Block devices are given as JSON, which takes any file name; QEMU's own option syntax gives commas a meaning.
 */
import type { Argv } from '../proc/run.ts';
import type { DiskFormat } from './qemu-img.ts';

export type Accelerator = 'kvm' | 'tcg';

/**
 * `isolated` answers DHCP and leads nowhere. With `host` the guest has this machine's network, if QEMU has it, and
 * finds servers on this machine's loopback at 10.0.2.2.
 *
 * QEMU cannot open the loopback alone: `restrict=on` closes it too, and what leads past that, `guestfwd`, wants each
 * port before the start and either carries one connection at a time (a character device) or starts a program for each,
 * which QEMU's own sandbox forbids.
 */
export type GuestNetwork = 'isolated' | 'host';

/** A further disk, only ever read: `/dev/disk/by-id/virtio-SERIAL` in the guest. */
export interface ExtraDisk {
  readonly path: string;
  readonly format: DiskFormat;
  /** At most 20 letters, digits, `-` and `_`: virtio cuts what is longer. */
  readonly serial: string;
  /**
   * What the guest takes it for: a CD in a drive on SATA, or in one on USB, as management controllers emulate them.
   * Default: a disk of virtio.
   */
  readonly drive?: 'sata-cd' | 'usb-cd';
}

export interface VirtualMachine {
  readonly accelerator: Accelerator;
  readonly memoryMiB: number;
  /** Firmware code, and this machine's own copy of its variables. */
  readonly firmware: { readonly code: string; readonly variables: string };
  /** The firmware is one that checks signatures. It keeps its keys where only system management mode can write. */
  readonly secureBoot: boolean;
  /** Never written: all writes go to `overlay`, an empty qcow2 image of the same size. */
  readonly disk: { readonly path: string; readonly format: DiskFormat };
  readonly overlay: string;
  /** The overlay is thrown away after the machine, so the guest's flushes need not reach it. */
  readonly throwAway: boolean;
  /** Every write and flush of the guest's is written down here, in the format of Linux' dm-log-writes. */
  readonly writeLog?: string | undefined;
  readonly extraDisks: readonly ExtraDisk[];
  readonly network: GuestNetwork;
  /** One that resets the machine when the guest does not ask it not to. */
  readonly hasWatchdog: boolean;
  /** Its memory is brought by QMP's `migrate-incoming`, and only then can it run. */
  readonly awaitsMemory: boolean;
  /** Name of a virtio-serial port in the guest: `/dev/virtio-ports/NAME`. */
  readonly port: string;
  /** Open sockets that QEMU inherits. */
  readonly sockets: { readonly qmp: number; readonly console: number; readonly port: number };
  /** systemd credentials of the guest (systemd.system-credentials(7)), by name. */
  readonly credentials: Readonly<Record<string, string>>;
}

/** The machine is made but does not run until QMP's `cont`, so that nothing it says is missed. */
export function qemuMachineArgv(machine: VirtualMachine): Argv {
  const { accelerator, sockets } = machine;
  const argv: [string, ...string[]] = ['qemu-system-x86_64', '-S', '-nodefaults', '-no-user-config'];
  argv.push('-display', 'none', '-name', 'ingot-test');
  // It only has to serve the guest: no new programs, no other user, no obsolete system calls.
  argv.push('-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny');
  const management = machine.secureBoot ? 'on' : 'off';
  argv.push('-machine', `q35,smm=${management},pflash0=firmware,pflash1=variables`);
  if (machine.secureBoot) argv.push('-global', 'driver=cfi.pflash01,property=secure,value=on');
  argv.push('-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=512');
  argv.push('-cpu', accelerator === 'kvm' ? 'host' : 'max');
  // Two emulated CPUs have been seen to hang; one is about as fast.
  argv.push('-smp', '1', '-m', `${machine.memoryMiB}M`);
  if (machine.awaitsMemory) argv.push('-incoming', 'defer');
  for (const [id, fd] of Object.entries(sockets)) argv.push('-chardev', `socket,id=${id},fd=${fd}`);
  argv.push('-mon', 'chardev=qmp,mode=control', '-serial', 'chardev:console');
  for (const node of blockNodes(machine)) argv.push('-blockdev', JSON.stringify(node));
  argv.push('-device', 'virtio-blk-pci,drive=disk,bootindex=1', '-device', 'virtio-rng-pci');
  machine.extraDisks.forEach(({ serial, drive }, index) => {
    const from = { drive: `extra-${index}`, serial };
    if (drive === 'sata-cd') {
      argv.push('-device', JSON.stringify({ driver: 'ide-cd', bus: `ide.${index}`, ...from }));
    } else if (drive === 'usb-cd') {
      const id = `usb-${index}`;
      argv.push('-device', `qemu-xhci,id=${id}`, '-device', `usb-bot,id=${id}-bot,bus=${id}.0`);
      argv.push('-device', JSON.stringify({ driver: 'scsi-cd', bus: `${id}-bot.0`, ...from }));
    } else {
      argv.push('-device', JSON.stringify({ driver: 'virtio-blk-pci', ...from }));
    }
  });
  argv.push('-device', 'virtio-serial-pci', '-device', `virtserialport,chardev=port,name=${machine.port}`);
  argv.push('-netdev', `user,id=net${machine.network === 'isolated' ? ',restrict=on' : ''}`);
  argv.push('-device', 'virtio-net-pci,netdev=net,romfile=');
  if (machine.hasWatchdog) argv.push('-device', 'i6300esb', '-action', 'watchdog=reset');
  for (const [name, value] of Object.entries(machine.credentials)) {
    const base64 = Buffer.from(value).toString('base64');
    argv.push('-smbios', `type=11,value=io.systemd.credential.binary:${name}=${base64}`);
  }
  return argv;
}

type BlockNode = Readonly<Record<string, unknown>>;

/** Of the firmware and all disks. What the guest takes for its own disk is called `disk`. */
function blockNodes(machine: VirtualMachine): BlockNode[] {
  const { firmware, disk, overlay, writeLog } = machine;
  const cache = machine.throwAway ? { cache: { 'no-flush': true } } : {};
  const written = {
    driver: 'qcow2',
    ...cache,
    file: { ...fileNode(overlay, false), ...cache },
    backing: { driver: disk.format, 'read-only': true, file: fileNode(disk.path, true) },
  };
  return [
    { 'node-name': 'firmware', driver: 'raw', 'read-only': true, file: fileNode(firmware.code, true) },
    { 'node-name': 'variables', driver: 'raw', file: fileNode(firmware.variables, false) },
    writeLog === undefined
      ? { 'node-name': 'disk', ...written }
      : { 'node-name': 'disk', ...writeLogNode(written, writeLog) },
    ...machine.extraDisks.map(({ path, format }, index) => ({
      'node-name': `extra-${index}`,
      driver: format,
      'read-only': true,
      file: fileNode(path, true),
    })),
  ];
}

/** The log's header says how many entries there are; brought up to date with each, the log of a machine that was killed can be read. */
function writeLogNode(file: BlockNode, log: string): BlockNode {
  return {
    driver: 'blklogwrites',
    file,
    log: fileNode(log, false),
    'log-sector-size': 512,
    'log-super-update-interval': 1,
  };
}

function fileNode(filename: string, readOnly: boolean): BlockNode {
  return { driver: 'file', filename, 'read-only': readOnly };
}
