/**
 * NVIDIA's package repositories in small: the packages that the layers ask for and those that these depend on, by the
 * names, versions and dependencies that NVIDIA documents, in the folders of the real addresses. As in the real ones,
 * several releases lie side by side, and some packages have the names of Debian's own in a newer version.
 */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { TinyArchive, type TestKey } from './mirror.ts';

interface VendorPackage {
  readonly name: string;
  readonly version: string;
  readonly depends?: readonly string[];
  readonly provides?: readonly string[];
  readonly conflicts?: readonly string[];
}

type Packages = readonly VendorPackage[];

function plain(names: readonly string[], version: string, depends: readonly string[] = []): Packages {
  return names.map((name) => ({ name, version, depends: ['libc6', ...depends] }));
}

/** Libraries of the driver, under Debian's names. Only some of them say that they go together. */
function driver(upstream: string): Packages {
  const version = `${upstream}-1`;
  const exactly = (names: readonly string[]): string[] => names.map((name) => `${name} (= ${version})`);
  return [
    {
      name: 'nvidia-driver-cuda',
      version,
      depends: [
        ...exactly(['libcuda1', 'libnvidia-cfg1', 'libnvidia-ml1', 'libnvidia-nvvm4', 'nvidia-persistenced']),
        'nvidia-modprobe',
      ],
      provides: [`nvidia-smi (= ${version})`],
    },
    {
      name: 'libcuda1',
      version,
      depends: ['libc6', ...exactly(['libnvidia-ptxjitcompiler1', 'libnvidia-pkcs11-openssl3'])],
      provides: ['libcuda.so.1'],
    },
    ...plain(
      [
        'libnvidia-cfg1',
        'libnvidia-ml1',
        'libnvidia-nvvm4',
        'libnvidia-pkcs11-openssl3',
        'libnvidia-ptxjitcompiler1',
        'nvidia-modprobe',
        'nvidia-persistenced',
      ],
      version,
    ),
    { name: 'firmware-nvidia-gsp', version },
    { name: 'nvidia-kernel-open-dkms', version, depends: ['dkms', 'firmware-nvidia-gsp'] },
  ];
}

function cudaLibraries(series: string, versions: Readonly<Record<string, string>>): Packages {
  const libraries = Object.entries(versions).map(([name, version]) => ({
    name: `${name}-${series}`,
    version,
  }));
  return [
    {
      name: `cuda-libraries-${series}`,
      version: `${series.replace('-', '.')}.3-1`,
      depends: libraries.map(({ name, version }) => `${name} (>= ${version.replace(/-1$/, '')})`),
    },
    ...libraries.map(({ name, version }) => ({
      name,
      version,
      depends: ['libc6', `cuda-toolkit-${series}-config-common`],
    })),
    {
      name: `cuda-toolkit-${series}-config-common`,
      version: '13.0.96-1',
      depends: ['cuda-toolkit-config-common'],
    },
  ];
}

function dcgm(core: string, plugins: string): Packages {
  return [
    { name: 'datacenter-gpu-manager-4-core', version: `1:${core}-1`, depends: ['libc6', 'lshw'] },
    { name: 'datacenter-gpu-manager-4-core', version: `1:${plugins}-1`, depends: ['libc6', 'lshw'] },
    ...['12', '13'].map((major) => ({
      name: `datacenter-gpu-manager-4-cuda${major}`,
      version: `1:${plugins}-1`,
      depends: [`datacenter-gpu-manager-4-core (= 1:${plugins}-1)`],
    })),
  ];
}

/** From R580 on without the branch in its name. */
function fabricManager(version: string): Packages {
  const branch = version.split('.')[0] ?? '';
  const [own, other] = ['nvidia-fabricmanager', `nvidia-fabricmanager-${branch}`];
  const isPlain = Number(branch) >= 580;
  return [
    {
      name: isPlain ? own : other,
      version: `${version}-1`,
      depends: ['libc6 (>= 2.2.1)'],
      provides: [isPlain ? other : own],
      conflicts: [isPlain ? other : own],
    },
  ];
}

function containerToolkit(version: string): Packages {
  return [
    {
      name: 'nvidia-container-toolkit',
      version,
      depends: [
        `nvidia-container-toolkit-base (= ${version})`,
        `libnvidia-container-tools (= ${version})`,
        'libnvidia-container-tools (<< 2.0.0)',
      ],
    },
    { name: 'nvidia-container-toolkit-base', version },
    {
      name: 'libnvidia-container-tools',
      version,
      depends: ['libc6', `libnvidia-container1 (>= ${version})`],
    },
    { name: 'libnvidia-container1', version, depends: ['libc6', 'libcap2'] },
  ];
}

const CUDA = 'developer.download.nvidia.com/compute/cuda/repos';

/** By the address that its layers have, without `https://`. */
const REPOSITORIES: Readonly<Record<string, Packages>> = {
  [`${CUDA}/debian13/x86_64`]: [
    ...driver('580.95.05'),
    ...driver('580.178.04'),
    ...driver('610.43.02'),
    ...['580.95.05', '580.178.04', '610.43.02'].flatMap((version) => fabricManager(version)),
    ...cudaLibraries('13-0', {
      'cuda-cudart': '13.0.96-1',
      'cuda-nvrtc': '13.0.88-1',
      libcublas: '13.1.0.3-1',
      libcufft: '12.0.0.61-1',
      libcurand: '10.4.0.35-1',
      libcusolver: '12.0.4.66-1',
      libcusparse: '12.6.3.3-1',
      libnvjitlink: '13.0.88-1',
    }),
    { name: 'cuda-toolkit-config-common', version: '13.3.29-1' },
    ...plain(['libnccl2'], '2.27.7-1+cuda12.9'),
    ...plain(['libnccl2'], '2.27.7-1+cuda13.0'),
    { name: 'cuda-compat-13-0', version: '580.178.04-1', depends: ['libc6'] },
    ...dcgm('4.6.1', '4.4.2'),
  ],
  [`${CUDA}/debian12/x86_64`]: [
    ...driver('580.178.04'),
    ...['550.90.07', '550.163.01', '575.57.08'].flatMap((version) => fabricManager(version)),
    { name: 'nvlsm', version: '2025.10.14-1', depends: ['libc6', 'libibumad3'] },
  ],
  'nvidia.github.io/libnvidia-container/stable/deb/amd64': [
    ...containerToolkit('1.19.0-1'),
    ...containerToolkit('1.20.0-1'),
    ...containerToolkit('1.21.0-1'),
  ],
};

/**
 * Puts the repositories below a folder, signed.
 *
 * @param without packages that they lack
 */
export async function publishVendors(root: string, key: TestKey, without = new Set<string>()): Promise<void> {
  for (const [address, packages] of Object.entries(REPOSITORIES)) {
    const folder = join(root, address);
    await mkdir(folder, { recursive: true });
    const stanzas = packages.filter(({ name }) => !without.has(name)).map((item) => stanzaOf(item));
    await new TinyArchive(folder, key).publishIndex(stanzas.join('\n'));
  }
}

function stanzaOf({ name, version, depends = [], provides = [], conflicts = [] }: VendorPackage): string {
  const list = (field: string, values: readonly string[]): string =>
    values.length === 0 ? '' : `${field}: ${values.join(', ')}\n`;
  const sum = createHash('sha256').update(`${name} ${version}`).digest('hex');
  return `Package: ${name}
Version: ${version}
Architecture: amd64
Maintainer: cudatools <cudatools@nvidia.com>
${list('Depends', depends)}${list('Provides', provides)}${list('Conflicts', conflicts)}Filename: ./${name}_${version.replace(/^\d+:/, '')}_amd64.deb
Size: ${1000 + name.length}
SHA256: ${sum}
Description: ${name}, as far as an index tells
`;
}
