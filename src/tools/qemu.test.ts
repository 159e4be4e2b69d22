import { expect, test } from 'vitest';

import { qemuMachineArgv, type VirtualMachine } from './qemu.ts';

const MACHINE: VirtualMachine = {
  accelerator: 'tcg',
  memoryMiB: 1024,
  firmware: { code: '/code.fd', variables: '/scratch/variables.fd' },
  disk: { path: '/a disk, with ü:comma.raw', format: 'raw' },
  overlay: '/scratch/overlay.qcow2',
  port: 'dev.example',
  sockets: { qmp: 3, console: 4, port: 5 },
  credentials: { 'a.b': 'x,y\n' },
};

interface BlockNode {
  readonly 'node-name': string;
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
