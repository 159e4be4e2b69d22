/** Disks from a real image: what is in them, and that nothing is left when they cannot be made. Needs root. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { DiskTools } from '../../src/ostree/disk-tools.ts';
import { GIB, MIB } from '../../src/disk/layout.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { run } from '../../src/proc/run.ts';
import { debugfsArgv, e2fsckArgv, IMMUTABLE_FLAG, parseInodeFlags } from '../../src/tools/mke2fs.ts';
import { mtoolsListArgv, mtoolsTypeArgv, parseMtoolsList } from '../../src/tools/mtools.ts';
import { parseImageInfo, qemuImgInfoArgv } from '../../src/tools/qemu-img.ts';
import { parseSfdiskJson, sfdiskReadArgv, type GptPartition } from '../../src/tools/sfdisk.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson, startIngot } from '../support/cli.ts';
import { deriveImage, LARGE_UID, testTools } from '../support/derived-image.ts';
import { leftBehind } from '../support/leftovers.ts';

let base: BuiltImage;
let tools: DiskTools;
let scratch: string;
let reference: string;

beforeAll(async () => {
  base = await builtImage();
  tools = new DiskTools((await testTools(base)).toolsRoot);
  scratch = await mkdtemp(join(TEST_FOLDER, 'disk-'));
  reference = await deriveImage(base, join(scratch, 'layout'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

const disk = (...args: string[]): string[] => ['--store', base.store, 'disk', ...args];

/** Files beside an output and scratch folders that an earlier command left. */
async function leftovers(folder: string): Promise<string[]> {
  const unfinished = (await readdir(folder)).filter((name) => name.endsWith('.tmp'));
  return [...unfinished, ...leftBehind(base.store, 'disk')];
}

describe('a raw disk', () => {
  let file: string;
  let partitions: readonly GptPartition[];
  const read = async (argv: Parameters<DiskTools['run']>[0]): Promise<string> =>
    (await tools.run(argv, [{ path: file, target: '/run/disk', readOnly: true }])).stdout;
  const partition = (name: string): GptPartition => {
    const found = partitions.find((candidate) => candidate.name === name);
    if (found === undefined) throw new Error(`no partition ${name}`);
    return found;
  };
  const debugfs = (name: string, request: string): Promise<string> =>
    read(debugfsArgv('/run/disk', partition(name).offset, request));
  let deployment: string;

  beforeAll(async () => {
    const folder = join(scratch, 'mit Leerzeichen & ümlaut@@0');
    await mkdir(folder);
    file = join(folder, 'node?offset=1.raw');
    const made = await ingotJson(disk(reference, '--output', file, '--size', '3000M'));
    expect(made).toMatchObject({ path: file, format: 'raw', size: 3000 * MIB });
    expect(await leftovers(folder)).toEqual([]);
    partitions = parseSfdiskJson(await read(sfdiskReadArgv('/run/disk'))).partitions;
    const list = await debugfs('root', 'ls -p /ostree/deploy/default/deploy');
    deployment = `/ostree/deploy/default/deploy/${/\/([0-9a-f]{64}\.0)\//.exec(list)?.[1] ?? 'none'}`;
  });

  test('is sparse and for nobody else to read', async () => {
    const status = await stat(file);
    expect(status.size).toBe(3000 * MIB);
    expect(status.blocks * 512).toBeLessThan(1.2 * GIB);
    expect(status.mode & 0o777).toBe(0o600);
  });

  test('has three partitions and sound file systems', async () => {
    expect(partitions.map(({ name }) => name)).toEqual(['esp', 'boot', 'root']);
    for (const name of ['boot', 'root']) {
      expect(await read(e2fsckArgv('/run/disk', partition(name).offset))).toContain('Pass 5');
    }
  });

  test('starts shim, GRUB, and the menu of the boot partition', async () => {
    const { offset } = partition('esp');
    expect(parseMtoolsList(await read(mtoolsListArgv('/run/disk', offset))).sort()).toEqual([
      '/EFI/BOOT/BOOTX64.EFI',
      '/EFI/BOOT/grubx64.efi',
      '/EFI/BOOT/mmx64.efi',
      '/EFI/debian/grub.cfg',
    ]);
    const config = await read(mtoolsTypeArgv('/run/disk', offset, '/EFI/debian/grub.cfg'));
    const uuid = /--fs-uuid --set=root (\S+)/.exec(config)?.[1] ?? '';
    expect(await debugfs('boot', 'show_super_stats -h')).toContain(uuid);
    const loader = /"?\/?(loader\.\d)/.exec(await debugfs('boot', 'stat /loader'))?.[1] ?? '';
    const menu = await debugfs('boot', `cat /${loader}/grub.cfg`);
    expect(menu).toMatch(/menuentry .*Debian/);
    expect(menu).toMatch(/console=tty0.*console=ttyS0,115200.*derived=yes/);
    expect(await debugfs('boot', 'stat /grub/grubenv')).toContain('Size: 1024');
  });

  test('keeps links, capabilities, owners and modes of every layer', async () => {
    const stated = (path: string): Promise<string> => debugfs('root', `stat ${deployment}${path}`);
    const inode = async (path: string): Promise<string> =>
      /Inode: (\d+)/.exec(await stated(path))?.[1] ?? 'none';
    expect(await inode('/usr/lib/derived/one')).toBe(await inode('/usr/lib/derived/two'));
    expect(await stated('/usr/lib/derived/owned')).toMatch(new RegExp(`User:\\s+${LARGE_UID}\\b`));
    expect(await stated('/usr/bin/setuid')).toMatch(/Mode:\s+04755/);
    expect(await stated('/usr/share/common-licenses')).toMatch(/Mode:\s+0750/);
    expect(await debugfs('root', `ea_list ${deployment}/usr/bin/capable`)).toContain('security.capability');
    expect(await stated('/usr/bin/yes')).toBe('');
  });

  test('has the machine’s own mount table, and a root that nothing can be added to', async () => {
    expect(await debugfs('root', `cat ${deployment}/etc/fstab`)).toMatch(/^UUID=\S+ \/boot ext4/);
    const flags = parseInodeFlags(await debugfs('root', `stat ${deployment}`)) ?? 0;
    expect(flags & IMMUTABLE_FLAG).toBe(IMMUTABLE_FLAG);
  });
});

test('a qcow2 disk is what qemu-img says it is', async () => {
  const file = join(scratch, 'node.qcow2');
  await writeFile(file, 'replaced');
  await ingotJson(disk(base.ref, '--output', file, '--format', 'qcow2', '--size', '5GiB'));
  const { stdout } = await tools.run(qemuImgInfoArgv(file), [{ path: file, readOnly: true }]);
  expect(parseImageInfo(stdout)).toEqual({ format: 'qcow2', size: 5 * GIB });
  expect((await stat(file)).size).toBeLessThan(GIB);
  expect(await leftovers(scratch)).toEqual([]);
});

describe('no disk is made', () => {
  test.each([
    [
      'on too small a size',
      () => ['--output', join(scratch, 'x.raw'), '--size', '300MiB'],
      /too small.*\n.*--size \d+MiB/,
    ],
    ['in a folder that is not there', () => ['--output', join(scratch, 'none/x.raw')], /not a folder/],
    ['in place of a folder', () => ['--output', scratch], /not a regular file/],
    ['in place of a device', () => ['--output', '/dev/null'], /not a regular file/],
  ])('%s', async (_where, args, message) => {
    const result = await ingot(disk(base.ref, ...args()));
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toMatch(/error\[USAGE\]/);
    expect(result.stderr).toMatch(message);
    expect(await leftovers(scratch)).toEqual([]);
  });

  test('by somebody who is not root', async () => {
    const result = await ingot(['--store', base.store, 'disk', base.ref, '--output', 'x.raw'], {
      prefix: ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
    });
    expect(result.exitCode).not.toBe(0);
    expect(result.stderr).toMatch(/error\[(NOT_ROOT|ENVIRONMENT)\]/);
  });

  test('from a layer with other content than its digest', async () => {
    const layout = join(scratch, 'damaged');
    await run(['cp', '--archive', base.layout, layout]);
    const layer = (await resolveImage({ directory: layout, name: base.version })).manifest.layers[0];
    const blob = join(layout, 'blobs/sha256', (layer?.digest ?? '').slice(7));
    const bytes = await readFile(blob);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
    await chmod(blob, 0o644);
    await writeFile(blob, bytes);
    const damaged = `oci:${layout}:${base.version}`;
    const result = await ingot(disk(damaged, '--output', join(scratch, 'x.raw')));
    expect(result.stderr).toMatch(/error\[DIGEST_MISMATCH\]/);
    expect(result.exitCode).toBe(1);
    expect(await leftovers(scratch)).toEqual([]);
  });

  test('on a full file system', async () => {
    const full = join(scratch, 'full');
    await mkdir(full);
    // The mount is in a namespace of its own: it ends with the command.
    const script = 'mount -t tmpfs -o size=64m tmpfs "$0" && "$@"; code=$?; ls -A "$0" >&2; exit $code';
    const result = await ingot(disk(base.ref, '--output', join(full, 'x.raw')), {
      prefix: ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, full],
    });
    expect(result.stderr).toMatch(/error\[DISK_FULL\]/);
    expect(result.stderr).not.toContain('x.raw.');
    expect(result.exitCode).toBe(1);
  });

  test.each(['Import layers', 'Deploy', 'Write file systems'])('when %s is interrupted', async (stage) => {
    const started = startIngot(disk(base.ref, '--output', join(scratch, 'interrupted.raw')));
    await started.saying(new RegExp(`^${stage} …`));
    process.kill(started.pid, 'SIGINT');
    expect((await started.ended).exitCode).toBe(130);
    expect(await leftovers(scratch)).toEqual([]);
    expect(await readdir(scratch)).not.toContain('interrupted.raw');
  });
});
