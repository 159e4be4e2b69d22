/** Argument vectors and parsers of the programs that make disks. */
import fc from 'fast-check';
import { expect, test } from 'vitest';

import { fatUuid, mkfsFatArgv } from './dosfstools.ts';
import { debugfsArgv, mke2fsArgv, parseDebugfsError, parseInodeFlags } from './mke2fs.ts';
import { mtoolsCopyInArgv, parseMtoolsList } from './mtools.ts';
import { parseImageInfo } from './qemu-img.ts';
import { parseSfdiskJson, renderSfdiskScript } from './sfdisk.ts';

test('mke2fs gets its offset, size in kibibytes and features', () => {
  const argv = mke2fsArgv({
    file: 'd',
    offset: 1048576,
    size: 8 * 1024 * 1024,
    label: 'root',
    uuid: 'u',
    features: ['verity', '^orphan_file'],
    reservedPercent: 1,
    directory: '/tree',
  }).join(' ');
  expect(argv).toContain('-O verity,^orphan_file -E offset=1048576,root_owner=0:0 -d /tree d 8192k');
});

test('debugfs tells of errors only on stderr', () => {
  expect(debugfsArgv('d', 4096, 'stat /x')).toEqual(['debugfs', '-R', 'stat /x', 'd?offset=4096']);
  expect(parseDebugfsError('debugfs 1.47.2 (1-Jan-2025)\n')).toBeUndefined();
  expect(parseDebugfsError('debugfs 1.47.2 (1-Jan-2025)\n/x: File not found by ext2_lookup \n')).toMatch(
    /not found/,
  );
});

test('inode flags are read from stat', () => {
  const stat =
    'Inode: 2001   Type: directory    Mode:  0755   Flags: 0x80000\nGeneration: 0    Version: 0x00000000\n';
  expect(parseInodeFlags(stat)).toBe(0x80000);
  expect(parseInodeFlags('nothing')).toBeUndefined();
});

test('FAT file systems are placed in sectors and named as fstab writes them', () => {
  const argv = mkfsFatArgv({
    file: 'd',
    offset: 1048576,
    size: 64 * 1024 * 1024,
    label: 'ESP',
    volumeId: '1a2b3c4d',
  });
  expect(argv.slice(-3)).toEqual(['--offset=2048', 'd', '65536']);
  expect(fatUuid('1a2b3c4d')).toBe('1A2B-3C4D');
});

test('mtools names files by drive', () => {
  expect(mtoolsCopyInArgv('d', 512, '/f', '/EFI/x').join(' ')).toBe('mcopy -D o -i d@@512 /f ::/EFI/x');
  expect(parseMtoolsList('::/EFI/\n::/EFI/BOOT/\n::/EFI/BOOT/BOOTX64.EFI\n')).toEqual([
    '/EFI/BOOT/BOOTX64.EFI',
  ]);
});

// As `sfdisk --json` of util-linux 2.41 printed it.
const SFDISK = `{
   "partitiontable": {
      "label": "gpt", "id": "6E5C3B0A-0A9E-4E1C-8F4A-0A3B5C7D9E1F", "device": "disk.raw", "unit": "sectors",
      "firstlba": 2048, "lastlba": 8388574, "sectorsize": 512,
      "partitions": [
         { "node": "disk.raw1", "start": 2048, "size": 131072, "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
           "uuid": "0B6C7F0E-0C44-4D3B-9D56-0B7B3F1E5A11", "name": "esp" }
      ]
   }
}`;

test('a partition table is read back in bytes', () => {
  expect(parseSfdiskJson(SFDISK)).toEqual({
    uuid: '6E5C3B0A-0A9E-4E1C-8F4A-0A3B5C7D9E1F',
    partitions: [
      {
        name: 'esp',
        type: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
        uuid: '0B6C7F0E-0C44-4D3B-9D56-0B7B3F1E5A11',
        offset: 1048576,
        size: 67108864,
      },
    ],
  });
  for (const text of ['', '{}', SFDISK.replace('"gpt"', '"dos"')]) {
    expect(() => parseSfdiskJson(text)).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }));
  }
});

test('a partition script has a line for each partition, in sectors', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 1, max: 1e9 }), (start, size) => {
      const script = renderSfdiskScript({
        uuid: 'u',
        partitions: [{ name: 'root', type: 't', uuid: 'p', offset: start * 512, size: size * 512 }],
      });
      expect(script).toContain(`start=${start}, size=${size}, type=T, uuid=P, name="root"\n`);
    }),
  );
});

test('only raw and qcow2 disks are taken', () => {
  expect(parseImageInfo('{"virtual-size": 4294967296, "format": "qcow2", "filename": "x"}')).toEqual({
    format: 'qcow2',
    size: 4294967296,
  });
  expect(() => parseImageInfo('{"virtual-size": 1, "format": "vmdk"}')).toThrow(
    expect.objectContaining({ code: 'DISK_FAILED' }),
  );
});
