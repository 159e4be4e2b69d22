/** The real image, as other people's programs see it, and its contents as a node will have them. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runInSandbox } from '../../src/build/sandbox.ts';
import { run } from '../../src/proc/run.ts';
import { verifyLayout } from '../../src/oci/layout.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { skopeoInspect, skopeoRecompress, umociReadsZstd, umociUnpack } from '../support/oci-tools.ts';

let image: BuiltImage;
let folder: string;
let rootfs: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/image-'));
  // Debian's umoci may not know zstd yet; skopeo then recompresses, and verifies every blob on the way.
  let [layout, name] = [image.layout, image.version];
  if (!(await umociReadsZstd())) {
    [layout, name] = [join(folder, 'gzip'), 'image'];
    await skopeoRecompress(image.ref, `oci:${layout}:${name}`, 'gzip');
  }
  rootfs = await umociUnpack(layout, name, join(folder, 'bundle'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const inImage = (
  program: [string, ...string[]],
): Promise<{ stdout: string; stderr: string; exitCode: number }> =>
  runInSandbox(program, { root: rootfs, epoch: 0 }, { okExitCodes: [0, 1, 2] });

describe('the image', () => {
  it('is one that skopeo reads, with what a bootable container must say', async () => {
    const seen = await skopeoInspect(image.ref);
    expect(seen.Digest).toBe(image.digest);
    expect(seen.Labels).toMatchObject({
      'containers.bootc': '1',
      'org.opencontainers.image.title': 'debian-minimal',
      'org.opencontainers.image.version': image.version,
    });
    // The chunks of four layers.
    expect(seen.Layers.length).toBeGreaterThan(4);
    expect(seen.Layers.length).toBeLessThanOrEqual(100);
    expect([seen.Os, seen.Architecture]).toEqual(['linux', 'amd64']);
  });

  it('holds what its digests say', async () => {
    expect((await verifyLayout(image.layout)).size).toBeGreaterThanOrEqual(6);
  });

  it('is one that umoci unpacks into a bootable layout', () => {
    const [kernel, ...others] = readdirSync(join(rootfs, 'usr/lib/modules'));
    expect(others).toEqual([]);
    for (const file of ['vmlinuz', 'initramfs.img', 'modules.dep.bin']) {
      expect(statSync(join(rootfs, 'usr/lib/modules', kernel ?? '', file)).size).toBeGreaterThan(10_000);
    }
    for (const empty of ['boot', 'var', 'run', 'tmp', 'sysroot'])
      expect(readdirSync(join(rootfs, empty))).toEqual([]);
    expect(readFileSync(join(rootfs, 'etc/machine-id'), 'utf8')).toBe('');
    expect(readFileSync(join(rootfs, 'usr/lib/os-release'), 'utf8')).toContain(
      `IMAGE_VERSION="${image.version}"`,
    );
  });

  it('has a package database that dpkg finds whole', async () => {
    const admindir = '--admindir=/usr/lib/sysimage/dpkg';
    const audit = await inImage(['dpkg', admindir, '--audit']);
    expect(audit.stdout).toBe('');
    const list = await inImage(['dpkg-query', admindir, '--show', '--showformat=${db:Status-Abbrev}\n']);
    expect(
      new Set(
        list.stdout
          .trim()
          .split('\n')
          .map((line) => line.trim()),
      ),
    ).toEqual(new Set(['ii']));
  });

  it('differs from its packages in documented places alone', async () => {
    const { stdout } = await inImage(['dpkg', '--admindir=/usr/lib/sysimage/dpkg', '--verify']);
    const paths = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.replace(/^\S+\s+(?:c )?/, ''));
    // The kernel is beside its modules, IMAGE_ID is in os-release, and the contents of /var are the node's.
    const documented = /^\/(?:boot\/|var\/|usr\/lib\/os-release$)/;
    expect(paths.filter((path) => !documented.test(path))).toEqual([]);
  });

  it('runs its own programs', async () => {
    expect((await inImage(['ostree', '--version'])).stdout).toContain('Version:');
    expect((await inImage(['sshd', '-T', '-f', '/dev/null', '-h', '/dev/null'])).exitCode).not.toBe(127);
    expect((await inImage(['ldconfig', '-p'])).stdout).toContain('libsystemd.so.0');
  });

  it('says nowhere which mirror its packages came from', async () => {
    const lock = readFileSync(image.declaration.replace('.yaml', '.lock.yaml'), 'utf8');
    expect(lock).not.toContain('://');
    expect(readdirSync(join(rootfs, 'etc/apt')).filter((name) => name.startsWith('sources'))).toEqual([]);
    // What Ingot itself writes; package documentation may well name Debian's own servers.
    const { stdout, exitCode } = await run(
      [
        'grep',
        '-rlE',
        'https?://',
        '--include=*ingot*',
        'usr/lib/ingot',
        'usr/lib/tmpfiles.d',
        'usr/lib/sysusers.d',
      ],
      { cwd: rootfs, okExitCodes: [0, 1] },
    );
    expect(stdout).toBe('');
    expect(exitCode).toBe(1);
  });
});
