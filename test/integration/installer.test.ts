/** Installers from a real image: what is in them, and what they do to a disk. Needs root and loop devices. */
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { findIsoFile, readIsoFile } from '../../src/disk/installer/iso-files.ts';
import type { Installed } from '../../src/disk/installer/install.ts';
import { MEDIUM_FILE, PAYLOAD_FILE } from '../../src/disk/installer/medium.ts';
import { MIB } from '../../src/disk/layout.ts';
import { IngotError } from '../../src/errors.ts';
import { DiskTools } from '../../src/ostree/disk-tools.ts';
import { run } from '../../src/proc/run.ts';
import { type Reporter, silentReporter } from '../../src/report/events.ts';
import { debugfsArgv, e2fsckArgv } from '../../src/tools/mke2fs.ts';
import { mtoolsListArgv, mtoolsTypeArgv, parseMtoolsList } from '../../src/tools/mtools.ts';
import { parseSfdiskJson, sfdiskReadArgv, type GptTable } from '../../src/tools/sfdisk.ts';
import { xorrisoReportArgv } from '../../src/tools/xorriso.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { testTools } from '../support/derived-image.ts';
import { DISK_BYTES, installFrom, type InstallFromOptions } from '../support/install-disk.ts';
import { leftBehind } from '../support/leftovers.ts';
import { addNextImage } from '../support/next-image.ts';
import { writeTree } from '../support/small-image.ts';
import { emptyLoopDevice } from '../support/loop-device.ts';

let base: BuiltImage;
let tools: DiskTools;
let scratch: string;
let iso: string;
let made: Record<string, unknown>;

beforeAll(async () => {
  base = await builtImage();
  tools = new DiskTools((await testTools(base)).toolsRoot);
  scratch = await mkdtemp(join(TEST_FOLDER, 'installer-'));
  iso = join(scratch, 'mit Leerzeichen & ümlaut=.iso');
  await writeFile(join(scratch, 'provision.yaml'), 'instance: one\nhostname: installed\n');
  const layout = join(scratch, 'layout');
  await run(['cp', '--archive', base.layout, layout]);
  const { name } = await addNextImage(layout, base.version, scratch, {
    name: '20991231.1',
    fill: (tree) => writeTree(tree, { 'usr/lib/systemd/system/ingot-provision.service': '[Unit]\n' }),
  });
  made = await ingotJson([
    ...['--store', base.store, 'disk', `oci:${layout}:${name}`, '--output', iso, '--format', 'iso'],
    ...['--install-to', 'only', '--provision', join(scratch, 'provision.yaml')],
  ]);
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

describe('the medium', () => {
  test('starts from CDs and from sticks', async () => {
    // It is of the kernel for clouds.
    expect(made).toMatchObject({
      path: iso,
      format: 'iso',
      usb: false,
      wipe: false,
      installTo: { by: 'only' },
    });
    const { stdout } = await run(xorrisoReportArgv(iso));
    expect(stdout).toMatch(/El Torito boot img : +1 +UEFI +y +none/);
    const block = Number(/El Torito boot img :.* (\d+)$/m.exec(stdout)?.[1]);
    expect(stdout).toMatch(/GPT partition name : +2 /);
    // One and the same image: blocks of a CD have 2048 bytes, of a disk 512.
    expect(stdout).toMatch(new RegExp(`GPT start and size : +2 +${block * 4} +16384`));
    expect(stdout).toMatch(/GPT type GUID +: +2 +28732ac11ff8d211ba4b00a0c93ec93b/);
    const offset = block * 2048;
    const bind = [{ path: iso, target: '/run/iso', readOnly: true }];
    const list = await tools.run(mtoolsListArgv('/run/iso', offset), bind);
    expect(parseMtoolsList(list.stdout).sort()).toEqual([
      '/EFI/BOOT/BOOTX64.EFI',
      '/EFI/BOOT/grubx64.efi',
      '/EFI/BOOT/mmx64.efi',
      '/boot/grub/grub.cfg',
    ]);
    const { stdout: menu } = await tools.run(mtoolsTypeArgv('/run/iso', offset, '/boot/grub/grub.cfg'), bind);
    expect(menu).toContain(`ingot.medium=${String(made['medium'])}`);
    expect(menu).toMatch(/linux \/ingot\/vmlinuz console=tty0 console=ttyS0,115200 rd\.systemd\.unit=/);
  });

  test('is read by our own reader as xorriso reads it', async () => {
    const target = join(scratch, 'extracted');
    await run(['xorriso', '-no_rc', '-osirrox', 'on', '-indev', iso, '-extract', '/ingot', target]);
    const handle = await open(iso);
    try {
      for (const [path, name] of [
        [MEDIUM_FILE, 'medium.json'],
        [PAYLOAD_FILE, 'disk.zst'],
      ] as const) {
        const file = await findIsoFile(handle, path);
        if (file === undefined) throw new Error(`no ${path}`);
        const bytes = Buffer.concat(await Array.fromAsync(readIsoFile(handle, file)));
        expect(bytes.equals(await readFile(join(target, name)))).toBe(true);
      }
      expect(await findIsoFile(handle, '/INGOT/NONE')).toBeUndefined();
      expect(await findIsoFile(handle, '/NONE/FILE')).toBeUndefined();
    } finally {
      await handle.close();
    }
    expect(leftBehind(base.store, 'installer')).toEqual([]);
  });
});

const install = (
  path: string,
  { from = iso, ...options }: Partial<InstallFromOptions> & { readonly from?: string } = {},
): Promise<Installed> => installFrom(from, path, { tools, ...options });

/** Interrupts an installation when it has written so many pieces. */
function stoppingAt(pieces: number, stop: AbortController): Reporter {
  let written = 0;
  return {
    ...silentReporter,
    stage: (title, work) =>
      silentReporter.stage(title, (stage) =>
        work({
          ...stage,
          progress: () => {
            if (title === 'Write disk' && ++written === pieces) stop.abort();
          },
        }),
      ),
  };
}

async function tableOf(path: string): Promise<GptTable | undefined> {
  try {
    return parseSfdiskJson((await tools.run(sfdiskReadArgv(path), [{ path, device: true }])).stdout);
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    return undefined;
  }
}

test('a disk becomes the machine’s own, and is not installed over', async () => {
  await using loop = await emptyLoopDevice(join(scratch, 'disk.raw'), DISK_BYTES);
  const { path } = loop;
  const installed = await install(path);
  if (installed.state !== 'installed') throw new Error(installed.state);
  const { identity } = installed;
  const read = async (argv: Parameters<DiskTools['run']>[0]): Promise<string> =>
    (await tools.run(argv, [{ path, device: true }])).stdout;

  const table = await tableOf(path);
  const [esp, boot, root] = table?.partitions ?? [];
  if (esp === undefined || boot === undefined || root === undefined) throw new Error('three partitions');
  expect(table?.uuid.toLowerCase()).toBe(identity.table);
  expect(root.offset + root.size).toBe(DISK_BYTES - MIB);
  for (const { offset } of [boot, root]) expect(await read(e2fsckArgv(path, offset))).toContain('Pass 5');

  // Everything that names a file system names this disk's.
  const debugfs = (offset: number, request: string): Promise<string> =>
    read(debugfsArgv(path, offset, request));
  const deployments = await debugfs(root.offset, 'ls -p /ostree/deploy/default/deploy');
  const deployment = `/ostree/deploy/default/deploy/${/\/([0-9a-f]{64}\.0)\//.exec(deployments)?.[1] ?? 'none'}`;
  const fstab = await debugfs(root.offset, `cat ${deployment}/etc/fstab`);
  const espId = `${identity.espVolumeId.slice(0, 4)}-${identity.espVolumeId.slice(4)}`;
  expect(fstab).toContain(`UUID=${identity.bootUuid} /boot ext4`);
  expect(fstab).toContain(`UUID=${espId} /boot/efi`);
  const loader = /"?\/?(loader\.\d)/.exec(await debugfs(boot.offset, 'stat /loader'))?.[1] ?? '';
  expect(await debugfs(boot.offset, `cat /${loader}/grub.cfg`)).toContain(`root=UUID=${identity.rootUuid}`);
  expect(await debugfs(boot.offset, 'show_super_stats -h')).toContain(identity.bootUuid);
  expect(await debugfs(root.offset, 'show_super_stats -h')).toContain(identity.rootUuid);
  expect(await read(mtoolsTypeArgv(path, esp.offset, '/EFI/debian/grub.cfg'))).toContain(identity.bootUuid);
  expect(await read(['minfo', '-i', `${path}@@${esp.offset}`, '::'])).toMatch(
    new RegExp(`serial number: ${identity.espVolumeId}`, 'i'),
  );
  expect(await debugfs(root.offset, 'cat /ostree/deploy/default/var/lib/ingot/provision/seed')).toBe(
    'instance: one\nhostname: installed',
  );
  expect(await debugfs(root.offset, 'stat /ostree/deploy/default/var/lib/ingot/provision/seed')).toMatch(
    /Mode: +0600/,
  );

  // Started from the medium once more, also where it may wipe.
  expect(await install(path, { wipe: true })).toMatchObject({ state: 'already' });
  expect((await tableOf(path))?.uuid.toLowerCase()).toBe(identity.table);
  // Asked to, it begins anew.
  const stop = new AbortController();
  const again = install(path, {
    again: true,
    wipe: true,
    signal: stop.signal,
    reporter: stoppingAt(1, stop),
  });
  await expect(again).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(await tableOf(path)).toBeUndefined();
});

describe('nothing is written to a disk that', () => {
  test.each<[string, RegExp, Parameters<typeof install>[1]]>([
    ['has data', /is not empty/, {}],
    ['is too small', /too small/, { wipe: true, disk: { size: 300 * MIB } }],
    ['has large sectors', /4096 bytes/, { wipe: true, disk: { sectorBytes: 4096 } }],
    ['is not meant', /not in this machine/, { rule: { by: 'serial', serial: 'X' } }],
    ['is the medium', /not in this machine/, { disk: { isMedium: true } }],
  ])('%s', async (_what, message, options) => {
    await using loop = await emptyLoopDevice(join(scratch, 'refused.raw'), DISK_BYTES);
    const before = Buffer.alloc(MIB);
    before.write('some data', 1080);
    const disk = await open(loop.path, 'r+');
    await disk.write(before, 0, MIB, 0);
    await disk.sync();
    await expect(install(loop.path, options)).rejects.toMatchObject({
      code: 'INSTALL_REFUSED',
      message: expect.stringMatching(message) as string,
    });
    const after = Buffer.alloc(MIB);
    await disk.read(after, 0, MIB, 0);
    await disk.close();
    expect(after.equals(before)).toBe(true);
  });
});

test('cut short anywhere, a disk starts nothing, and the next run makes it whole', async () => {
  await using loop = await emptyLoopDevice(join(scratch, 'cut.raw'), DISK_BYTES);
  const stop = new AbortController();
  const stopped = install(loop.path, { signal: stop.signal, reporter: stoppingAt(100, stop) });
  await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(await tableOf(loop.path)).toBeUndefined();
  // It is not empty, and this medium's own unfinished work.
  expect(await install(loop.path)).toMatchObject({ state: 'installed' });
  expect((await tableOf(loop.path))?.partitions).toHaveLength(3);
});

test('a damaged medium makes no disk that starts', async () => {
  const damaged = join(scratch, 'damaged.iso');
  await run(['cp', iso, damaged]);
  const handle = await open(damaged, 'r+');
  const payload = await findIsoFile(handle, PAYLOAD_FILE);
  const [extent] = payload?.extents ?? [];
  if (extent === undefined) throw new Error('no payload');
  await handle.write(Buffer.from('damaged'), 0, 7, extent.offset + Math.floor(extent.size / 2));
  await handle.close();
  await using loop = await emptyLoopDevice(join(scratch, 'from-damaged.raw'), DISK_BYTES);
  await expect(install(loop.path, { from: damaged })).rejects.toThrow();
  expect(await tableOf(loop.path)).toBeUndefined();
});

test('a disk that fails starts nothing', async () => {
  // It says that it is larger than it is.
  await using loop = await emptyLoopDevice(join(scratch, 'failing.raw'), 600 * MIB);
  await expect(install(loop.path)).rejects.toMatchObject({ code: 'DISK_FAILED' });
  expect(await tableOf(loop.path)).toBeUndefined();
});

test('options that do not belong together are refused before anything is built', async () => {
  const disk = ['--store', base.store, 'disk', base.ref, '--output', join(scratch, 'none')];
  for (const [args, message] of [
    [['--wipe'], /--wipe: for installers alone/],
    [['--install-to', 'only', '--then', 'power-off'], /--install-to, --then: for installers alone/],
    [['--format', 'iso', '--size', '3GiB'], /--size is for disks/],
    [['--format', 'iso', '--install-to', 'any'], /It is `only`/],
  ] as const) {
    const { exitCode, stderr } = await ingot([...disk, ...args]);
    expect(stderr).toMatch(message);
    expect(exitCode).toBe(2);
  }
  const unheard = await ingot([...disk, '--provision', join(scratch, 'provision.yaml')]);
  expect(unheard.stderr).toMatch(/error\[USAGE\]: nothing in this image applies.*\n.*agent: true/);
  expect(unheard.exitCode).toBe(2);
  await writeFile(join(scratch, 'wrong.yaml'), 'hostname: A_B\n');
  const { exitCode, stderr } = await ingot([...disk, '--provision', join(scratch, 'wrong.yaml')]);
  expect(stderr).toMatch(/error\[PROVISION_INVALID\].*\n +--> .*wrong\.yaml:1:11/);
  expect(exitCode).toBe(2);
});
