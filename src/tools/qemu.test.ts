import { expect, test } from 'vitest';

import { qemuMachineArgv, type VirtualMachine } from './qemu.ts';

const MACHINE: VirtualMachine = {
  accelerator: 'tcg',
  memoryMiB: 1024,
  firmware: { code: '/code.fd', variables: '/scratch/variables.fd' },
  secureBoot: false,
  disk: { path: '/a disk, with ü:comma.raw', format: 'raw' },
  overlay: '/scratch/overlay.qcow2',
  throwAway: true,
  extraDisks: [],
  network: 'isolated',
  hasWatchdog: true,
  awaitsMemory: false,
  port: 'dev.example',
  sockets: { qmp: 3, console: 4, port: 5 },
  credentials: { 'a.b': 'x,y\n' },
};

interface BlockNode {
  readonly 'node-name': string;
  readonly driver: string;
  readonly file: unknown;
  readonly backing?: unknown;
}

function blockNodes(argv: readonly string[]): BlockNode[] {
  return argv
    .filter((_word, index) => argv[index - 1] === '-blockdev')
    .map((word) => JSON.parse(word) as BlockNode);
}

test('the disk is only ever read', () => {
  const disk = blockNodes(qemuMachineArgv(MACHINE)).find((node) => node['node-name'] === 'disk');
  expect(disk?.file).toMatchObject({ filename: '/scratch/overlay.qcow2', 'read-only': false });
  expect(disk?.backing).toEqual({
    driver: 'raw',
    'read-only': true,
    file: { driver: 'file', filename: '/a disk, with ü:comma.raw', 'read-only': true },
  });
});

test('credentials cannot break out of their option', () => {
  const argv = qemuMachineArgv(MACHINE);
  expect(argv).toContain('type=11,value=io.systemd.credential.binary:a.b=eCx5Cg==');
});

test('the machine waits for us, and speaks over inherited sockets', () => {
  const text = qemuMachineArgv(MACHINE).join(' ');
  expect(text).toContain(' -S ');
  for (const [id, fd] of Object.entries(MACHINE.sockets)) expect(text).toContain(`socket,id=${id},fd=${fd}`);
  expect(text).toContain('-accel tcg,');
  expect(qemuMachineArgv({ ...MACHINE, accelerator: 'kvm' }).join(' ')).toContain('-accel kvm -cpu host');
});

function diskNode(machine: Partial<VirtualMachine>): BlockNode {
  const found = blockNodes(qemuMachineArgv({ ...MACHINE, ...machine })).find(
    (node) => node['node-name'] === 'disk',
  );
  if (found === undefined) throw new Error('no disk');
  return found;
}

test('flushes are left out only for a machine that is thrown away', () => {
  expect(JSON.stringify(diskNode({}))).toContain('no-flush');
  expect(JSON.stringify(diskNode({ throwAway: false }))).not.toContain('no-flush');
});

test('a write log stands between the guest and its overlay', () => {
  expect(diskNode({ throwAway: false, writeLog: '/log' })).toMatchObject({
    driver: 'blklogwrites',
    file: { driver: 'qcow2', file: { filename: '/scratch/overlay.qcow2' } },
    log: { driver: 'file', filename: '/log', 'read-only': false },
  });
});

test('extra disks have a serial number, and are only ever read', () => {
  const path = '/it,is=here';
  const argv = qemuMachineArgv({ ...MACHINE, extraDisks: [{ path, format: 'raw', serial: 'data-1' }] });
  expect(blockNodes(argv).find((node) => node['node-name'] === 'extra-0')).toMatchObject({
    'read-only': true,
    file: { filename: path, 'read-only': true },
  });
  expect(argv).toContain('{"driver":"virtio-blk-pci","drive":"extra-0","serial":"data-1"}');
});

test('a CD lies in a drive on SATA or on USB', () => {
  const disk = { path: '/install.iso', format: 'raw', serial: 'medium' } as const;
  const sata = qemuMachineArgv({ ...MACHINE, extraDisks: [{ ...disk, drive: 'sata-cd' }] });
  expect(sata).toContain('{"driver":"ide-cd","bus":"ide.0","drive":"extra-0","serial":"medium"}');
  const usb = qemuMachineArgv({ ...MACHINE, extraDisks: [{ ...disk, drive: 'usb-cd' }] }).join(' ');
  expect(usb).toContain('-device qemu-xhci,id=usb-0 -device usb-bot,id=usb-0-bot,bus=usb-0.0');
  expect(usb).toContain('{"driver":"scsi-cd","bus":"usb-0-bot.0","drive":"extra-0","serial":"medium"}');
});

test('the network leads nowhere unless it is the host’s', () => {
  expect(qemuMachineArgv(MACHINE)).toContain('user,id=net,restrict=on');
  expect(qemuMachineArgv({ ...MACHINE, network: 'host' })).toContain('user,id=net');
});

test('a machine may have no watchdog', () => {
  expect(qemuMachineArgv(MACHINE)).toContain('i6300esb');
  expect(qemuMachineArgv({ ...MACHINE, hasWatchdog: false })).not.toContain('i6300esb');
});

test('only system management mode writes the keys of Secure Boot', () => {
  const text = qemuMachineArgv({ ...MACHINE, secureBoot: true }).join(' ');
  expect(text).toContain('smm=on');
  expect(text).toContain('property=secure,value=on');
  expect(qemuMachineArgv(MACHINE).join(' ')).not.toContain('secure');
});

test('a machine that is resumed waits for its memory', () => {
  expect(qemuMachineArgv({ ...MACHINE, awaitsMemory: true }).join(' ')).toContain('-incoming defer');
  expect(qemuMachineArgv(MACHINE)).not.toContain('-incoming');
});
