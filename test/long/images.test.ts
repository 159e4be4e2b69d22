/**
 * Images of the product, built for real: what is in them works as far as it can without their hardware, it is what
 * apt-get would have installed, and a second build from nothing gives the same digest. Gigabytes, and for each image
 * with NVIDIA's modules ten minutes of compiling on two cores.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { readInitramfs } from '../../src/build/lints/cpio.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import type { Argv } from '../../src/proc/run.ts';
import { builtImage, TEST_STORE, type BuiltImage } from '../support/built-image.ts';
import { ingot, PRODUCT_ROOT } from '../support/cli.ts';
import { expectAsInSequence, expectPackagesWhole } from '../support/sound-image.ts';
import { planOf, unpackedRoot, type UnpackedRoot } from '../support/unpacked-root.ts';

const TIMEOUT = 7_200_000;
const MAX_CHUNKS = 100;
const MAX_INITRAMFS_BYTES = 50_000_000;

interface Contents {
  /** What must run, its exit status and what it says. */
  readonly programs: readonly (readonly [program: Argv, status: number, says: RegExp])[];
  /** Names of modules and identities of devices, as the kernel asks for them, and a file that modprobe loads. */
  readonly modules: readonly (readonly [asked: string, file: string])[];
  /** What the linker's cache must have. */
  readonly libraries: readonly string[];
}

const CUDA = ['libcudart.so.12', 'libcublas.so.12', 'libcublasLt.so.12', 'libnccl.so.2', 'libcuda.so.1'];
// It runs and finds no driver: the machine's kernel is not the image's.
const NVIDIA_SMI = [['nvidia-smi'], 9, /couldn't communicate with the NVIDIA driver/] as const;
const NVIDIA_MODULES = [
  ...['nvidia', 'nvidia-uvm', 'nvidia-modeset', 'nvidia-drm', 'nvidia-peermem'].map(
    (name) => [name, `updates/${name}.ko`] as const,
  ),
  // An H100.
  ['pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00', 'updates/nvidia.ko'],
] as const;
const LLAMA = [
  [['llama-cli', '--version'], 0, /version: \d+/],
  [['llama-server', '--version'], 0, /version: \d+/],
] as const;
const SSH = [['sshd', '-V'], 0, /OpenSSH/] as const;

/** All of images/ but what the first test names. */
const IMAGES: Readonly<Record<string, Contents>> = {
  'debian-agent': {
    programs: [SSH, [['ingot', 'doctor'], 0, /debian-agent/]],
    modules: [['virtio_net', 'kernel/drivers/net/virtio_net.ko.xz']],
    libraries: [],
  },
  'debian-metal': {
    programs: [SSH, [['ingot', 'doctor'], 0, /debian-metal/]],
    modules: [
      ['usb_storage', 'kernel/drivers/usb/storage/usb-storage.ko.xz'],
      ['mlx5_core', 'kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.xz'],
    ],
    libraries: [],
  },
  'debian-amd': {
    programs: [
      [['rocminfo'], 1, /ROCk module is NOT loaded/],
      [['rocm-smi'], 0, /amdgpu not found in modules/],
    ],
    modules: [
      ['amdgpu', 'kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz'],
      // An MI300X: nothing but its identity loads the module.
      [
        'pci:v00001002d000074A1sv00001002sd000074A1bc12sc00i00',
        'kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz',
      ],
    ],
    libraries: ['libhsa-runtime64.so.1', 'librocm_smi64.so.1'],
  },
  'debian-cpu-llama': { programs: LLAMA, modules: [], libraries: ['libllama.so.0', 'libggml.so.0'] },
  'debian-intel': {
    programs: [SSH],
    modules: [
      ['xe', 'kernel/drivers/gpu/drm/xe/xe.ko.xz'],
      // A Data Center GPU Flex 170.
      ['pci:v00008086d000056C0sv00008086sd00004905bc03sc80i00', 'kernel/drivers/gpu/drm/i915/i915.ko.xz'],
    ],
    libraries: [],
  },
  'debian-nvidia-cuda': { programs: [NVIDIA_SMI], modules: NVIDIA_MODULES, libraries: CUDA },
  'debian-nvidia-llama': {
    programs: [NVIDIA_SMI, ...LLAMA],
    modules: NVIDIA_MODULES,
    libraries: [...CUDA, 'libllama.so.0'],
  },
  'edge-cpu': {
    programs: [
      [
        ['python3', '-c', 'import onnxruntime; print(onnxruntime.get_available_providers())'],
        0,
        /CPUExecution/,
      ],
      [['chronyd', '--version'], 0, /chrony/],
      [['prometheus-node-exporter', '--version'], 0, /node_exporter/],
    ],
    modules: [],
    libraries: ['libonnxruntime.so.1.21'],
  },
};

test('every image of the product is looked at', () => {
  const files = readdirSync(join(PRODUCT_ROOT, 'images')).filter((name) => !name.endsWith('.lock.yaml'));
  // The default tests look at debian-minimal; one wants a package of one's own, the last Fedora's registry.
  const elsewhere = ['debian-minimal', 'debian-nvidia-torch', 'fedora-web'];
  expect(files.map((name) => name.replace(/\.yaml$/, '')).sort()).toEqual(
    [...Object.keys(IMAGES), ...elsewhere].sort(),
  );
});

describe.each(Object.entries(IMAGES))('%s', (name, { programs, modules, libraries }) => {
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

  test('its packages are whole, its libraries are found, its programs start', async () => {
    await expectPackagesWhole(root);
    const cache = (await root.run(['ldconfig', '--print-cache'])).stdout;
    const found = [...cache.matchAll(/^\s*(\S+) \(/gm)].map(([, library]) => library);
    expect(found).toEqual(expect.arrayContaining([...libraries]));
    for (const [program, status, says] of programs) {
      const { exitCode, stdout, stderr } = await root.run(program);
      expect(`${stdout}${stderr}`, program.join(' ')).toMatch(says);
      expect(exitCode, program.join(' ')).toBe(status);
    }
  });

  test('modprobe finds its modules', async () => {
    const { kernelRelease } = await planOf(image);
    for (const [asked, file] of modules) {
      const { stdout, stderr } = await root.run([
        'modprobe',
        '--show-depends',
        '--set-version',
        kernelRelease,
        asked,
      ]);
      // Two may name a device: i915 and xe do, and the one that does not want it leaves it to the other.
      const loaded = stdout.split('\n').map((line) => line.trim());
      expect(loaded, stderr).toContain(`insmod /lib/modules/${kernelRelease}/${file}`);
    }
  });

  test('it has few chunks, and an initramfs without GPUs', async () => {
    const { kernelRelease } = await planOf(image);
    const { manifest } = await resolveImage({ directory: image.layout, name: image.version });
    expect(manifest.layers.length).toBeLessThanOrEqual(MAX_CHUNKS);
    const initramfs = manifest.layers.find(
      ({ annotations }) => annotations?.['dev.ingot.chunk'] === 'initramfs',
    );
    expect(initramfs?.size).toBeLessThan(MAX_INITRAMFS_BYTES);
    const paths: string[] = [];
    const file = join(root.path, 'usr/lib/modules', kernelRelease, 'initramfs.img');
    for await (const { path } of readInitramfs(file, () => false)) paths.push(path);
    expect(paths.length).toBeGreaterThan(100);
    const ofGpus =
      /\/(?:firmware\/(?:amdgpu|i915|nvidia|xe)|modules\/.*\/(?:amdgpu|i915|nvidia[^/]*|xe)\.ko)/;
    expect(paths.filter((path) => ofGpus.test(path))).toEqual([]);
  });

  test('its files are those of a sequential install, but for what is documented', async () => {
    await expectAsInSequence(image, root, folder);
  });

  test(
    'built again from nothing it has the same digest',
    async () => {
      // The second build takes as much room once more.
      rmSync(root.path, { recursive: true });
      const args = ['--store', TEST_STORE, 'build', image.declaration, '--output', image.layout];
      const { exitCode, stdout, stderr } = await ingot([...args, '--verify', '--json'], {
        timeoutMs: TIMEOUT,
      });
      expect(exitCode, stderr).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        digest: image.digest,
        verification: { reproducible: true, digest: image.digest, differences: [] },
      });
    },
    TIMEOUT,
  );
});
