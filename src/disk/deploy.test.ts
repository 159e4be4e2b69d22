import { expect, test } from 'vitest';

import { renderEmptyGrubEnvironment, renderEspGrubConfig } from './boot-loader.ts';
import { renderMountTable } from './deploy.ts';

const IDENTITY = {
  table: '',
  partitions: { esp: '', boot: '', root: '' },
  espVolumeId: '1A2B3C4D',
  bootUuid: '5c0e0c9b-6a0f-4d0e-8f6e-0a7d3a6c1b11',
  rootUuid: '',
};

test('the mount table names file systems, six fields a line', () => {
  const lines = renderMountTable(IDENTITY).trim().split('\n');
  for (const line of lines) expect(line.split(/\s+/)).toHaveLength(6);
  expect(lines[0]).toMatch(/^UUID=5c0e0c9b-6a0f-4d0e-8f6e-0a7d3a6c1b11 \/boot ext4 /);
  expect(lines[1]).toMatch(/^UUID=1A2B-3C4D \/boot\/efi vfat .*nofail/);
});

test('GRUB finds the boot partition by its file system alone', () => {
  const config = renderEspGrubConfig(IDENTITY.bootUuid);
  expect(config).toContain(`--fs-uuid --set=root ${IDENTITY.bootUuid}\n`);
  // The link first; where it leads nowhere yet, one of the folders.
  expect([...config.matchAll(/configfile \(\$root\)\/(\S+)/g)].map(([, place]) => place)).toEqual([
    'grub/grub.cfg',
    'loader.1/grub.cfg',
    'loader.0/grub.cfg',
  ]);
});

test("GRUB's environment is exactly one block", () => {
  const block = renderEmptyGrubEnvironment();
  expect(block).toHaveLength(1024);
  expect(block).toMatch(/^# GRUB Environment Block\n#+$/);
});
