/**
 * NVIDIA images of the product, built for real: what is in them works as far as it can without a GPU, it is what
 * apt-get would have installed, and a second build from nothing gives the same digest. Gigabytes, and for each image
 * ten minutes of compiling on two cores.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { resolveImage } from '../../src/oci/layout.ts';
import { builtImage, TEST_STORE, type BuiltImage } from '../support/built-image.ts';
import type { Argv } from '../../src/proc/run.ts';
import { ingot } from '../support/cli.ts';
import { expectAsInSequence, expectPackagesWhole } from '../support/sound-image.ts';
import { planOf, unpackedRoot, type UnpackedRoot } from '../support/unpacked-root.ts';

const TIMEOUT = 7_200_000;
const MAX_CHUNKS = 100;
const CUDA = ['libcudart.so.12', 'libcublas.so.12', 'libcublasLt.so.12', 'libnccl.so.2', 'libcuda.so.1'];

/** What must run in each, and what it says. */
const PROGRAMS: Readonly<Record<string, readonly (readonly [program: Argv, says: RegExp])[]>> = {
  'debian-nvidia-cuda': [],
  'debian-nvidia-llama': [
    [['llama-cli', '--version'], /version: \d+/],
    [['llama-server', '--version'], /version: \d+/],
  ],
};

describe.each(Object.entries(PROGRAMS))('%s', (name, programs) => {
  let folder: string;
  let image: BuiltImage;
  let root: UnpackedRoot;

  beforeAll(async () => {
    mkdirSync(join(TEST_STORE, '../scratch'), { recursive: true });
    folder = mkdtempSync(join(TEST_STORE, `../scratch/${name}-`));
    image = await builtImage(name, { timeoutMs: TIMEOUT });
    root = await unpackedRoot(image, join(folder, 'image'));
  }, TIMEOUT);
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  test('its packages are whole, its libraries are found, nvidia-smi starts', async () => {
    await expectPackagesWhole(root);
    const cache = (await root.run(['ldconfig', '--print-cache'])).stdout;
    const found = [...cache.matchAll(/^\s*(\S+) \(/gm)].map(([, library]) => library);
    expect(found).toEqual(expect.arrayContaining(CUDA));
    // It runs and finds no driver: the machine's kernel is not the image's.
    expect((await root.run(['nvidia-smi'])).stdout).toContain("couldn't communicate with the NVIDIA driver");
    for (const [program, says] of programs) {
      const { exitCode, stdout, stderr } = await root.run(program);
      expect(exitCode, stderr).toBe(0);
      expect(`${stdout}${stderr}`).toMatch(says);
    }
  });

  test('modprobe finds its modules, and the initramfs does without them', async () => {
    const { kernelRelease } = await planOf(image);
    const { stdout } = await root.run([
      'modprobe',
      '--show-depends',
      '--set-version',
      kernelRelease,
      'nvidia',
    ]);
    expect(stdout.trim().split('\n').at(-1)?.trim()).toBe(
      `insmod /lib/modules/${kernelRelease}/updates/nvidia.ko`,
    );
    const { manifest } = await resolveImage({ directory: image.layout, name: image.version });
    expect(manifest.layers.length).toBeLessThanOrEqual(MAX_CHUNKS);
    const initramfs = manifest.layers.find(
      ({ annotations }) => annotations?.['dev.ingot.chunk'] === 'initramfs',
    );
    expect(initramfs?.size).toBeLessThan(50_000_000);
  });

  test('its files are those of a sequential install, but for what is documented', async () => {
    await expectAsInSequence(image, root, folder);
  });

  test(
    'built again from nothing it has the same digest',
    async () => {
      const args = ['--store', TEST_STORE, 'build', image.declaration, '--output', image.layout];
      const { exitCode, stdout, stderr } = await ingot([...args, '--verify', '--json'], {
        timeoutMs: TIMEOUT,
      });
      expect(exitCode, stderr).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        digest: image.digest,
        verification: { reproducible: true, digest: image.digest },
      });
    },
    TIMEOUT,
  );
});
