import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { RootFs } from '../root-fs.ts';
import { chunksByPath } from './package-files.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-owners-'));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

async function write(path: string, lines: readonly string[]): Promise<void> {
  const absolute = join(root, 'usr/lib/sysimage/dpkg', path);
  await mkdir(dirname(absolute), { recursive: true });
  await writeFile(absolute, lines.map((line) => `${line}\n`).join(''));
}

const CHUNKS = [
  { name: 'rest', packages: [] },
  { name: 'small', packages: ['bash', 'dash', 'libfoo-1.2', 'udev'] },
  { name: 'kernel', packages: ['linux-image-6'] },
  { name: 'initramfs', packages: [], paths: ['usr/lib/modules/6/initramfs.img'] },
];

async function chunksOf(paths: readonly string[]): Promise<Record<string, string[]>> {
  const find = await chunksByPath(new RootFs(root), CHUNKS);
  return Object.fromEntries(
    paths.map((path) => [path, find(path).map((index) => CHUNKS[index]?.name ?? '?')]),
  );
}

describe('chunksByPath', () => {
  it('follows the lists of the packages, wherever links and configuration have their files now', async () => {
    await write('info/bash.list', ['/.', '/bin', '/bin/bash', '/etc', '/etc/bash.bashrc', '/usr/share/doc']);
    await write('info/dash.list', ['/usr/lib/dash/__pycache__/own.pyc', '/usr/lib/dash/module.py']);
    await write('info/linux-image-6.list', ['/.', '/boot/vmlinuz-6', '/usr/lib/modules/6', '/usr/share/doc']);
    await write('info/other.list', ['/usr/bin/other']);
    expect(
      await chunksOf([
        'usr/bin/bash',
        'bin/bash',
        'etc/bash.bashrc',
        'etc/bash.bashrc.dpkg-new',
        'usr/lib/modules/6/vmlinuz',
        'usr/lib/modules/6/initramfs.img',
        'usr/share/doc',
        'usr/bin/other',
        'etc/shadow',
        'usr/lib/udev/hwdb.bin',
        'usr/lib/dash/__pycache__',
        'usr/lib/dash/__pycache__/own.pyc',
        'usr/lib/dash/__pycache__/module.cpython-313.pyc',
        'usr/lib/dash/__pycache__/other.cpython-313.pyc',
      ]),
    ).toEqual({
      'usr/bin/bash': ['small'],
      'bin/bash': ['small'],
      'etc/bash.bashrc': ['small'],
      'etc/bash.bashrc.dpkg-new': ['small'],
      'usr/lib/modules/6/vmlinuz': ['kernel'],
      'usr/lib/modules/6/initramfs.img': ['initramfs'],
      'usr/share/doc': ['small', 'kernel'],
      'usr/bin/other': [],
      'etc/shadow': [],
      'usr/lib/udev/hwdb.bin': ['small'],
      'usr/lib/dash/__pycache__': [],
      'usr/lib/dash/__pycache__/own.pyc': ['small'],
      'usr/lib/dash/__pycache__/module.cpython-313.pyc': ['small'],
      'usr/lib/dash/__pycache__/other.cpython-313.pyc': [],
    });
  });

  it('has large files of a package apart, but no links to them and no folder that holds none', async () => {
    const library = 'usr/lib/cuda/libcuda.so.1.2';
    await mkdir(join(root, dirname(library)), { recursive: true });
    await writeFile(join(root, library), Buffer.alloc(100));
    await writeFile(join(root, 'usr/lib/cuda/small'), Buffer.alloc(99));
    await symlink('libcuda.so.1.2', join(root, 'usr/lib/cuda/libcuda.so'));
    await write('info/libcuda1.list', [
      '/lib/cuda',
      '/lib/cuda/libcuda.so.1.2',
      '/usr/lib/cuda/small',
      '/usr/lib/cuda/libcuda.so',
      '/usr/share/gone',
    ]);
    const chunks = [
      { name: 'whole', packages: ['libcuda1'] },
      { name: 'files', packages: ['libcuda1'], filesFrom: 100 },
    ];
    const find = await chunksByPath(new RootFs(root), chunks);
    expect(find(library)).toEqual([1]);
    for (const path of ['usr/lib/cuda', 'usr/lib/cuda/small', 'usr/lib/cuda/libcuda.so', 'usr/share/gone']) {
      expect(find(path), path).toEqual([0]);
    }
    expect(find('usr/lib/sysimage/dpkg/info/libcuda1.md5sums')).toEqual([0]);
  });

  it('takes a package’s entries of the database with the package', async () => {
    await write('info/libfoo-1.2:amd64.list', ['/usr/lib/libfoo.so']);
    await write('info/format', ['1']);
    const info = 'usr/lib/sysimage/dpkg/info';
    expect(
      await chunksOf([
        `${info}/libfoo-1.2:amd64.list`,
        `${info}/libfoo-1.2:amd64.md5sums`,
        `${info}/linux-image-6.postinst`,
        `${info}/other.list`,
        `${info}/format`,
        info,
        'usr/lib/sysimage/dpkg/status',
      ]),
    ).toEqual({
      [`${info}/libfoo-1.2:amd64.list`]: ['small'],
      [`${info}/libfoo-1.2:amd64.md5sums`]: ['small'],
      [`${info}/linux-image-6.postinst`]: ['kernel'],
      [`${info}/other.list`]: [],
      [`${info}/format`]: [],
      [info]: [],
      'usr/lib/sysimage/dpkg/status': [],
    });
  });

  it('knows a diverted file by the package that brought it', async () => {
    await write('info/bash.list', ['/usr/bin/sh']);
    await write('info/linux-image-6.list', ['/usr/bin/sh']);
    await write('diversions', ['/usr/bin/sh', '/usr/bin/sh.distrib', 'linux-image-6', '/a', '/b', ':']);
    expect(await chunksOf(['usr/bin/sh', 'usr/bin/sh.distrib'])).toEqual({
      'usr/bin/sh': ['kernel'],
      'usr/bin/sh.distrib': ['small'],
    });
  });
});
