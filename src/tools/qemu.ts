/**
 * QEMU 10, as one virtual PC: q35, UEFI, virtio. Manual: qemu(1).
 *
 * Block devices are given as JSON, which takes any file name; QEMU's own option syntax gives commas a meaning.
 */
import type { Argv } from '../proc/run.ts';
import type { DiskFormat } from './qemu-img.ts';

export type Accelerator = 'kvm' | 'tcg';

export interface VirtualMachine {
  readonly accelerator: Accelerator;
  readonly memoryMiB: number;
  /** Firmware code, and this machine's own copy of its variables. */
  readonly firmware: { readonly code: string; readonly variables: string };
  /** Never written: all writes go to `overlay`, an empty qcow2 image of the same size. */
  readonly disk: { readonly path: string; readonly format: DiskFormat };
  readonly overlay: string;
  /** Name of a virtio-serial port in the guest: `/dev/virtio-ports/NAME`. */
  readonly port: string;
  /** Open sockets that QEMU inherits. */
  readonly sockets: { readonly qmp: number; readonly console: number; readonly port: number };
  /** systemd credentials of the guest (systemd.system-credentials(7)), by name. */
  readonly credentials: Readonly<Record<string, string>>;
}

/** The machine is made but does not run until QMP's `cont`, so that nothing it says is missed. */
export function qemuMachineArgv(machine: VirtualMachine): Argv {
  const { accelerator, firmware, disk, overlay, sockets } = machine;
  const argv: [string, ...string[]] = ['qemu-system-x86_64', '-S', '-nodefaults', '-no-user-config'];
  argv.push('-display', 'none', '-name', 'ingot-test');
  // It only has to serve the guest: no new programs, no other user, no obsolete system calls.
  argv.push('-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny');
  argv.push('-machine', 'q35,smm=off,pflash0=firmware,pflash1=variables');
  argv.push('-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=512');
  argv.push('-cpu', accelerator === 'kvm' ? 'host' : 'max');
  // Two emulated CPUs have been seen to hang; one is about as fast.
  argv.push('-smp', '1', '-m', `${machine.memoryMiB}M`);
  for (const [id, fd] of Object.entries(sockets)) argv.push('-chardev', `socket,id=${id},fd=${fd}`);
  argv.push('-mon', 'chardev=qmp,mode=control', '-serial', 'chardev:console');
  for (const node of [
    { 'node-name': 'firmware', driver: 'raw', 'read-only': true, file: fileNode(firmware.code, true) },
    { 'node-name': 'variables', driver: 'raw', file: fileNode(firmware.variables, false) },
    {
      'node-name': 'disk',
      driver: 'qcow2',
      // The overlay is thrown away after the machine, so the guest's flushes need not reach the medium.
      cache: { 'no-flush': true },
      file: { ...fileNode(overlay, false), cache: { 'no-flush': true } },
      backing: { driver: disk.format, 'read-only': true, file: fileNode(disk.path, true) },
    },
  ]) {
    argv.push('-blockdev', JSON.stringify(node));
  }
  argv.push('-device', 'virtio-blk-pci,drive=disk,bootindex=1', '-device', 'virtio-rng-pci');
  argv.push('-device', 'virtio-serial-pci', '-device', `virtserialport,chardev=port,name=${machine.port}`);
  // A network that answers DHCP and leads nowhere.
  argv.push('-netdev', 'user,id=net,restrict=on', '-device', 'virtio-net-pci,netdev=net,romfile=');
  argv.push('-device', 'i6300esb', '-action', 'watchdog=reset');
  for (const [name, value] of Object.entries(machine.credentials)) {
    const base64 = Buffer.from(value).toString('base64');
    argv.push('-smbios', `type=11,value=io.systemd.credential.binary:${name}=${base64}`);
  }
  return argv;
}

function fileNode(filename: string, readOnly: boolean): Readonly<Record<string, unknown>> {
  return { driver: 'file', filename, 'read-only': readOnly };
}
