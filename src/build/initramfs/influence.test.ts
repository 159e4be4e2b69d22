import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { RootFs } from '../root-fs.ts';
import { findInfluence, NOTES, type InitramfsNotes } from './influence.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot influence-'));
  for (const name of ['image', 'layer', 'written']) await mkdir(join(folder, name));
  await write('image', NOTES, JSON.stringify(notes));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const notes: InitramfsNotes = {
  paths: [
    'etc/passwd',
    'usr/bin/less',
    'usr/lib/modprobe.d/systemd.conf',
    'usr/lib/modules/6/kernel/drivers/scsi/qla2xxx.ko.xz',
    'usr/lib/os-release',
    'usr/lib/systemd/system/initrd.target',
    'usr/lib/x86_64-linux-gnu/libcrypto.so.3',
  ],
  names: ['*.conf', '60-block.rules', 'fsck*', 'kexec', 'libdirs', 'libnss_*', 'libkmod.so*'],
  firmware: ['ql2500_fw.bin', 'cxgb4/t?fw.bin'],
  settings: ['usr/lib/dracut/dracut.conf.d/60-driver.conf'],
};

async function write(tree: string, path: string, text = ''): Promise<void> {
  const absolute = join(folder, tree, path);
  await mkdir(dirname(absolute), { recursive: true });
  await writeFile(absolute, text);
}

const find = (): ReturnType<typeof findInfluence> =>
  findInfluence(
    new RootFs(join(folder, 'image')),
    [{ name: 'addon-x', root: join(folder, 'layer') }],
    join(folder, 'written'),
  );

/** As a layer has it, and so the image. */
async function bring(path: string, text?: string): Promise<void> {
  await write('layer', path, text);
  await write('image', path, text);
}

test.each([
  ['an initramfs never sees', 'usr/lib/x86_64-linux-gnu/libcuda.so.1'],
  ['is a program that dracut does not name', 'usr/bin/nvidia-smi'],
  ['is a fragment like many', 'usr/lib/tmpfiles.d/x.conf'],
  ['belongs to other programs', 'usr/lib/nvidia/kexec'],
  ['is a rule by another name', 'usr/lib/udev/rules.d/60-nvidia.rules'],
  ['is a setting for the booted node', 'etc/sysctl.d/50-x.conf'],
  ['is firmware of modules that are not in it', 'usr/lib/firmware/nvidia/550/gsp_ga10x.bin'],
  ['it was made with', 'usr/lib/dracut/dracut.conf.d/60-driver.conf'],
  ['has a name that only begins like a word of dracut’s', 'usr/lib/x86_64-linux-gnu/libdirs.so.1'],
  ['packages note beside modules', 'usr/lib/modules/6/.fresh-install'],
  ['dracut writes by itself', 'etc/passwd'],
  ['names the image', 'usr/lib/os-release'],
])('what %s changes nothing: %s', async (_what, path) => {
  await bring(path);
  expect(await find()).toBeUndefined();
});

test.each([
  ['dracut’s own modules', 'usr/lib/dracut/modules.d/90x/module-setup.sh'],
  ['modules', 'usr/lib/modules/6/updates/x.ko.xz'],
  ['settings of the kernel', 'usr/lib/sysctl.d/50-x.conf'],
  ['a program that dracut names', 'usr/sbin/kexec'],
  ['a program that dracut names by a pattern', 'usr/sbin/fsck.xfs'],
  ['a library that dracut names', 'usr/lib/x86_64-linux-gnu/libnss_sss.so.2'],
  ['a library of its name for some processors', 'usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libcrypto.so.3'],
  ['a rule that dracut names', 'usr/lib/udev/rules.d/60-block.rules'],
  ['a unit of it, in another folder', 'usr/lib/systemd/system/initrd.target'],
  ['a file of it', 'usr/bin/less'],
  ['firmware of its modules', 'usr/lib/firmware/ql2500_fw.bin.xz'],
  ['firmware by a pattern', 'usr/lib/firmware/updates/cxgb4/t4fw.bin'],
  ['microcode', 'usr/lib/firmware/intel-ucode/06-55-04'],
])('%s changes it: %s', async (_what, path) => {
  await bring(path);
  expect(await find()).toEqual({ layer: 'addon-x', path });
});

test.each([
  ['blacklist nouveau\n', undefined],
  ['options qla2xxx ql2xextended_error_logging=1\n', 'etc/modprobe.d/x.conf'],
])('settings of modules count when the modules are in it: %j', async (text, path) => {
  await bring('etc/modprobe.d/x.conf', text);
  expect((await find())?.path).toBe(path);
});

test('settings are read where an alternative leads, in the image', async () => {
  await mkdir(join(folder, 'written/etc/modprobe.d'), { recursive: true });
  await mkdir(join(folder, 'image/etc/modprobe.d'), { recursive: true });
  for (const tree of ['written', 'image']) {
    await symlink('/etc/alternatives/x.conf', join(folder, tree, 'etc/modprobe.d/x.conf'));
  }
  expect(await find()).toBeUndefined();
  await write('image', 'etc/alternatives/x.conf', 'blacklist qla2xxx\n');
  expect(await find()).toEqual({ layer: 'the seal', path: 'etc/modprobe.d/x.conf' });
});

test('a folder for the linker counts when a library of its is in it', async () => {
  await bring('etc/ld.so.conf.d/cuda.conf', '/usr/local/cuda/lib64\n');
  await write('image', 'usr/local/cuda/lib64/libcudart.so.12');
  expect(await find()).toBeUndefined();
  await write('image', 'usr/local/cuda/lib64/libcrypto.so.3');
  expect((await find())?.path).toBe('etc/ld.so.conf.d/cuda.conf');
});

test('what was made known in a layer is not known when it is written anew', async () => {
  await write('written', 'usr/lib/dracut/dracut.conf.d/60-driver.conf', 'add_drivers+=" x "\n');
  expect((await find())?.layer).toBe('the seal');
});
