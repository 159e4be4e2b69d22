import { describe, expect, test } from 'vitest';

import { consolesOf, renderInstallerMenu } from './boot-files.ts';
import { parseClaim, renderClaim, type Claim } from './claim.ts';
import { askWhichDisk, type Questioner } from './consoles.ts';
import { parseBootEntry } from './create-installer.ts';
import { renderStarter } from './programs.ts';
import type { Disk } from './target.ts';

test('the menu starts the installer with the consoles of the image, and names nobody breaks it', () => {
  const menu = renderInstallerMenu({
    image: { name: "it's", version: '1\n2' },
    digest: 'sha256:0a',
    id: 'some-id',
    consoles: consolesOf(['console=tty0', 'quiet', 'console=ttyS0,115200', 'root=UUID=x']),
  });
  expect(menu).toContain('search --no-floppy --set=root --file /ingot/some-id\n');
  expect(menu).toContain("menuentry 'Install it'\\''s 1 2' {\n");
  expect(menu).toMatch(
    /linux \/ingot\/vmlinuz console=tty0 console=ttyS0,115200 rd\.systemd\.unit=ingot-install\.target .*ingot\.medium=sha256:0a\n/,
  );
  expect(menu).toMatch(/ingot\.medium=sha256:0a ingot\.again\n\tinitrd \S+ \S+\n/);
  expect(menu).not.toContain('root=UUID');
});

test('programs are started through their own loader', () => {
  expect(renderStarter('ld.so', 'bin/sfdisk')).toBe(
    '#!/bin/sh\nexec /usr/lib/ingot-installer/lib/ld.so --library-path /usr/lib/ingot-installer/lib /usr/lib/ingot-installer/bin/sfdisk "$@"\n',
  );
});

test('a boot entry gives kernel, initramfs and arguments', () => {
  const text = 'title X\nversion 1\noptions a=1  b\nlinux /ostree/k\ninitrd /ostree/i\n';
  expect(parseBootEntry(text)).toEqual({ linux: '/ostree/k', initrd: '/ostree/i', options: ['a=1', 'b'] });
  expect(() => parseBootEntry('linux /k\n')).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }));
});

describe('a claim', () => {
  const claim: Claim = { medium: 'sha256:1', image: 'sha256:2', state: 'installing' };

  test('is read as it was written', () => {
    expect(parseClaim(renderClaim(claim))).toEqual(claim);
  });

  test.each(['', 'ingot-installer {}\n', 'ingot-installer {"medium":', 'EFI PART'])('is not %j', (text) => {
    const bytes = Buffer.alloc(4096);
    bytes.write(text);
    expect(parseClaim(bytes)).toBeUndefined();
  });
});

test('a disk is asked for until one is named and confirmed', async () => {
  const disks = ['sda', 'sdb'].map((name): Disk => {
    const paths = [`/dev/${name}`];
    return { name, paths, size: 2 ** 30, sectorBytes: 512, isRemovable: false, isMedium: false };
  });
  const answers = ['', '3', 'sda', '1', 'no', '2', 'yes'];
  const said: string[] = [];
  const person: Questioner = {
    say: (text) => {
      said.push(text);
      return Promise.resolve();
    },
    ask: (question) => {
      said.push(question);
      return Promise.resolve(answers.shift() ?? '');
    },
  };
  const chosen = await askWhichDisk(person, disks, {
    image: { name: 'node', version: '1', digest: 'sha256:0' as never },
  });
  expect(chosen.name).toBe('sdb');
  expect(said.join('')).toMatch(
    /1 +\/dev\/sda +1\.0 GiB[^]*Nothing was changed\.[^]*Everything on \/dev\/sdb/,
  );
});
