import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { TreeRepository } from '../../test/support/tree-repository.ts';
import { checkBootable } from './import-image.ts';

let scratch: string;
let tree: string;

async function bootable(): Promise<string> {
  return checkBootable(new TreeRepository(join(scratch, 'repo')).view(tree), 'x');
}

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-bootable-'));
  tree = join(scratch, 'tree');
  for (const folder of ['boot', 'etc', 'sysroot', 'usr/sbin', 'usr/lib/modules/6.12']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  await symlink('sysroot/ostree', join(tree, 'ostree'));
  for (const file of ['usr/sbin/grub-mkconfig', 'usr/lib/modules/6.12/vmlinuz']) {
    await writeFile(join(tree, file), '');
  }
  await writeFile(join(tree, 'usr/lib/modules/6.12/initramfs.img'), '');
});

afterEach(async () => {
  await rm(scratch, { recursive: true });
});

test('what boots is let through, what does not is said in one go', async () => {
  await expect(bootable()).resolves.toBe('6.12');
  await rm(join(tree, 'usr/lib/modules/6.12/initramfs.img'));
  await writeFile(join(tree, 'boot/vmlinuz'), '');
  await expect(bootable()).rejects.toMatchObject({
    code: 'DISK_FAILED',
    message: expect.stringMatching(/\/boot is not empty: vmlinuz; no initramfs at/) as string,
  });
});

test.each(['etc', 'usr'])('a link to this machine in the place of /%s is refused', async (folder) => {
  await mkdir(join(scratch, 'machine/sbin'), { recursive: true });
  await rm(join(tree, folder), { recursive: true });
  await symlink(join(scratch, 'machine'), join(tree, folder));
  await expect(bootable()).rejects.toMatchObject({
    code: 'DISK_FAILED',
    message: expect.stringContaining(`/${folder} is missing, or no directory`) as string,
  });
});

test('a kernel of this machine is not the image’s', async () => {
  await mkdir(join(scratch, 'modules'));
  await symlink(join(tree, 'usr/lib/modules/6.12'), join(scratch, 'modules/6.12'));
  await rm(join(tree, 'usr/lib/modules'), { recursive: true });
  await mkdir(join(scratch, 'modules/6.13'));
  await writeFile(join(scratch, 'modules/6.13/vmlinuz'), '');
  await symlink(join(scratch, 'modules'), join(tree, 'usr/lib/modules'));
  await expect(bootable()).rejects.toThrow(/no kernel at/);
});
