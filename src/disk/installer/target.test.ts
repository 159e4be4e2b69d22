import { describe, expect, test } from 'vitest';

import { chooseDisk, describeRule, type Disk, type TargetRule } from './target.ts';

const GIB = 1024 ** 3;

function disk(name: string, more: Partial<Disk> = {}): Disk {
  const paths = [`/dev/${name}`, `/dev/disk/by-id/test-${name}`];
  return { name, paths, size: 100 * GIB, sectorBytes: 512, isRemovable: false, isMedium: false, ...more };
}

const STICK = disk('sdz', { isRemovable: true, serial: 'STICK', size: 32 * GIB });
const MEDIUM = disk('sdy', { isRemovable: true, isMedium: true, serial: 'MEDIUM' });
const SMALL = disk('sda', { serial: 'A', size: 50 * GIB });
const LARGE = disk('nvme0n1', { serial: 'B', size: 2000 * GIB });

describe('a disk is chosen', () => {
  test.each<[string, readonly Disk[], TargetRule, string]>([
    ['as the only one', [SMALL, STICK, MEDIUM], { by: 'only' }, 'sda'],
    ['by its path', [SMALL, LARGE], { by: 'path', path: '/dev/disk/by-id/test-nvme0n1' }, 'nvme0n1'],
    ['by its serial number', [SMALL, LARGE], { by: 'serial', serial: 'A' }, 'sda'],
    ['by its size', [SMALL, LARGE, STICK], { by: 'size', from: 100 * GIB }, 'nvme0n1'],
    ['by a range of sizes', [SMALL, LARGE], { by: 'size', from: 1, to: 60 * GIB }, 'sda'],
    ['although it is a stick, when it is named', [SMALL, STICK], { by: 'serial', serial: 'STICK' }, 'sdz'],
  ])('%s', (_how, disks, rule, name) => {
    expect(chooseDisk(disks, rule).name).toBe(name);
  });
});

describe('no disk is chosen', () => {
  test.each<[string, readonly Disk[], TargetRule, RegExp]>([
    ['of several', [SMALL, LARGE], { by: 'only' }, /could be any of 2/],
    ['of several of that size', [SMALL, LARGE], { by: 'size', from: 1 }, /could be any of 2/],
    ['of several with one number', [SMALL, disk('sdb', { serial: 'A' })], { by: 'serial', serial: 'A' }, /2/],
    ['when there is none', [MEDIUM], { by: 'only' }, /not in this machine/],
    ['when there are sticks alone', [STICK], { by: 'only' }, /not in this machine/],
    ['that is not there', [SMALL], { by: 'serial', serial: 'X' }, /serial number X is not in this machine/],
    ['that is the medium', [SMALL, MEDIUM], { by: 'serial', serial: 'MEDIUM' }, /was started from/],
    ['that is too small', [SMALL], { by: 'size', from: 60 * GIB }, /of 60 GiB or more is not/],
  ])('%s', (_how, disks, rule, message) => {
    expect(() => chooseDisk(disks, rule)).toThrow(
      expect.objectContaining({ code: 'INSTALL_REFUSED', message: expect.stringMatching(message) as string }),
    );
  });
});

test('the hint names every disk that could have been meant, and not the medium', () => {
  expect(() => chooseDisk([SMALL, LARGE, MEDIUM], { by: 'only' })).toThrow(
    expect.objectContaining({
      hint: expect.stringMatching(/\/dev\/sda \(50 GiB, serial A\); \/dev\/nvme0n1 \(2\.0 TiB/) as string,
    }),
  );
  expect(describeRule({ by: 'size', from: GIB, to: 2 * GIB })).toBe('the disk of 1.0 GiB to 2.0 GiB');
});
