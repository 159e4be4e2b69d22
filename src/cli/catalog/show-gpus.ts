/** `ingot catalog gpus`: what is known of some hardware. */
import { allGpus } from '../../catalog/facts/find-gpus.ts';
import { driverSupport, releasesOf } from '../../catalog/facts/lookup.ts';
import type { Facts, Gpu, NvidiaGpu, OtherGpu } from '../../catalog/facts/types.ts';
import { formatCount, formatTable } from '../../report/format.ts';
import type { CommandResult } from '../context.ts';
import { paragraph, section, shownList } from './layout.ts';
import { describeStatus, DOUBT_LEGEND, doubt, sourceLines, statusOf } from './status.ts';

/** Up to this many are shown in full. */
const FEW = 2;

/** All that can be named, by generation. */
export function listGpus(facts: Facts): CommandResult {
  const groups = new Map<string, Gpu[]>();
  for (const gpu of allGpus(facts)) {
    const title = generationOf(gpu);
    const group = groups.get(title);
    if (group === undefined) groups.set(title, [gpu]);
    else group.push(gpu);
  }
  const oldest = (gpus: readonly Gpu[]): number => {
    const [first] = gpus;
    return first?.vendor === 'nvidia' ? first.architecture.order : Number.POSITIVE_INFINITY;
  };
  const sorted = [...groups].sort(([, left], [, right]) => oldest(left) - oldest(right));
  const mobile = allGpus(facts).filter((gpu) => isMobile(gpu)).length;
  return {
    json: { facts: facts.digest, gpus: allGpus(facts).map((gpu) => gpuToJson(facts, gpu)) },
    text: [
      ...sorted.flatMap(([title, gpus]) => [
        title,
        ...paragraph(
          gpus
            .filter((gpu) => !isMobile(gpu))
            .map(({ aliases }) => aliases[0] ?? '')
            .join(' '),
          2,
        ).filter((line) => line.trim() !== ''),
        '',
      ]),
      ...paragraph(
        `${formatCount(allGpus(facts).length, 'GPU')}; ${mobile} for laptops and embedded systems are left out here. One or several of them: ingot catalog gpus h100`,
      ),
      '',
    ].join('\n'),
  };
}

export function showGpus(facts: Facts, gpus: readonly Gpu[], today: Date): CommandResult {
  return {
    json: { facts: facts.digest, gpus: gpus.map((gpu) => gpuToJson(facts, gpu)) },
    text:
      gpus.length <= FEW ? gpus.flatMap((gpu) => [...card(facts, gpu, today), '']).join('\n') : tableOf(gpus),
  };
}

function tableOf(gpus: readonly Gpu[]): string {
  const columns = ['NAME', 'PRODUCT', 'PCI', 'GIB', 'CC', 'MODULES', 'DRIVERS'].map((title) => ({
    title,
    ...(title === 'GIB' && { align: 'right' as const }),
  }));
  const rows = gpus.map((gpu) => [
    `${gpu.aliases[0] ?? ''}${doubt(gpu)}`,
    gpu.product.replace(/^GeForce /, '').replace(/ Generation| Edition/g, ''),
    shownList(gpu.pci, 1).replace(' and ', ' +').replace(' more', ''),
    gpu.memory === undefined ? '' : String(gpu.memory),
    gpu.vendor === 'nvidia' ? gpu.capability.capability : gpu.architecture,
    gpu.vendor === 'nvidia' ? gpu.modules : gpu.kernelDriver,
    gpu.vendor === 'nvidia' ? describeSince(gpu, 2) : kernelOf(gpu),
  ]);
  const doubtful = gpus.some(({ confidence }) => confidence === 'low');
  return `${[formatTable(columns, rows), ...migLines(gpus)].join('\n')}\n\n${
    doubtful ? `${DOUBT_LEGEND}\n` : ''
  }More about one of them: ingot catalog gpus ${gpus[0]?.aliases[0] ?? ''}\n`;
}

function card(facts: Facts, gpu: Gpu, today: Date): string[] {
  const rows: (readonly [string, string | undefined])[] =
    gpu.vendor === 'nvidia' ? nvidiaLines(facts, gpu, today) : otherLines(gpu);
  return [
    gpu.product,
    '',
    ...section([
      ['write', gpu.aliases.join(', ')],
      ['among', gpu.series.join(', ')],
      ['PCI', gpu.pci.join(', ')],
      ...rows,
      ['note', gpu.note],
      ['confidence', gpu.confidence === 'high' ? undefined : gpu.confidence],
    ]),
    '',
    '  sources',
    ...sourceLines([gpu]).flatMap((line) => paragraph(line, 4)),
  ];
}

function nvidiaLines(facts: Facts, gpu: NvidiaGpu, today: Date): (readonly [string, string | undefined])[] {
  const { architecture, capability, fabric } = gpu;
  const memory = gpu.memory === undefined ? [] : [`${gpu.memory} GiB`];
  const link = linkText(gpu);
  const components = fabric?.components.map(
    ({ name, version }) => `${name}${version === 'driver' ? ' of the driver’s version' : ''}`,
  );
  const floors = facts.nvidia.floors.filter(({ gpus }) =>
    gpus.some((name) => gpu.aliases.includes(name) || gpu.series.includes(name)),
  );
  const floor = floors
    .filter(({ mig }) => mig !== true)
    .map((row) => `${row.product} needs ${row.driver?.text ?? row.cuda?.text ?? ''}`);
  const migFloor = floors.find(({ mig }) => mig === true)?.driver?.text;
  return [
    [
      'hardware',
      [architecture.title, `compute capability ${capability.capability}`, ...memory, ...link].join(', '),
    ],
    ['CPU', gpu.cpu],
    ['modules', gpu.modules === 'either' ? 'open or proprietary' : `${gpu.modules} only`],
    ['drivers', [describeSince(gpu), ...floor].join('; ')],
    ['supported now', supportedNow(facts, gpu, today)],
    [
      'CUDA',
      `${capability.firstCuda} and later${architecture.lastCudaMajor === undefined ? '' : `, not after ${architecture.lastCudaMajor}`}`,
    ],
    [
      'fabric',
      fabric &&
        `${fabric.title}: ${[...(components ?? []), ...fabric.kernelModules.map((name) => `module ${name}`)].join(', ')}${fabric.always ? '' : ' (where there are switches)'}`,
    ],
    [
      'MIG',
      gpu.mig && `${profilesText(gpu.mig)}${migFloor === undefined ? '' : `; needs driver ${migFloor}`}`,
    ],
  ];
}

function profilesText(profiles: readonly string[]): string {
  return profiles.length === 0 ? 'yes, profiles not known' : profiles.join(' ');
}

/** Names of MIG profiles, products with the same ones together. */
function migLines(gpus: readonly Gpu[]): string[] {
  const products = Map.groupBy(
    gpus.flatMap((gpu) => (gpu.vendor === 'nvidia' && gpu.mig !== undefined ? [gpu] : [])),
    ({ mig = [] }) => profilesText(mig),
  );
  const rows = [...products].map(([profiles, all]) => [
    shownList(
      all.map(({ aliases }) => aliases[0] ?? ''),
      2,
    ),
    profiles,
  ]);
  const columns = [{ title: 'MIG' }, { title: 'PROFILES' }];
  return rows.length === 0 ? [] : ['', formatTable(columns, rows)];
}

function otherLines(gpu: OtherGpu): (readonly [string, string | undefined])[] {
  return [
    ['hardware', [gpu.architecture, ...(gpu.memory === undefined ? [] : [`${gpu.memory} GiB`])].join(', ')],
    ['driver', gpu.mainline ? gpu.kernelDriver : `${gpu.kernelDriver}, the vendor’s own build`],
    ['kernel', gpu.kernel === undefined ? undefined : `${gpu.kernel} and later`],
  ];
}

/** The newest releases of branches that still get fixes and have the GPU. */
function supportedNow(facts: Facts, gpu: NvidiaGpu, today: Date): string {
  const branches = [...facts.nvidia.branches.values()].filter(
    (branch) => statusOf(branch, today) === 'supported',
  );
  const shown = branches.flatMap((branch) => {
    const newest = releasesOf(facts.nvidia, branch.branch).at(-1);
    if (newest === undefined) return [];
    const { answer } = driverSupport(facts.nvidia, gpu, newest.version);
    if (answer === 'no') return [];
    return [
      `${newest.version}${answer === 'unknown' ? ' (not known)' : ''} ${describeStatus(branch, today)}`,
    ];
  });
  return shown.length === 0 ? 'no branch' : shown.join('; ');
}

/** `525.85.05, 530+`, or what the architecture's gates say. Of more than `most`, the first and the last. */
function describeSince(gpu: NvidiaGpu, most = Number.POSITIVE_INFINITY): string {
  const { firstBranch, lastBranch } = gpu.architecture;
  if (gpu.byArchitecture)
    return lastBranch === undefined ? `${firstBranch}+` : `${firstBranch} – ${lastBranch}`;
  const single = [...gpu.since]
    .filter(([branch]) => gpu.sinceEvery === undefined || branch < gpu.sinceEvery)
    .map(([, version]) => version);
  const all = [...single, ...(gpu.sinceEvery === undefined ? [] : [`${gpu.sinceEvery}+`])];
  return all.length <= most ? all.join(', ') : `${all[0] ?? ''}, …, ${all.at(-1) ?? ''}`;
}

function linkText(gpu: NvidiaGpu): string[] {
  const generation = gpu.nvlinkGeneration === undefined ? '' : ` ${gpu.nvlinkGeneration}`;
  switch (gpu.link) {
    case 'nvlink':
      return [`NVLink${generation}`];
    case 'bridge':
      return ['NVLink bridge'];
    case 'c2c':
      return ['NVLink-C2C'];
    case 'none':
    case 'unknown':
      return [];
  }
}

function kernelOf(gpu: OtherGpu): string {
  return gpu.kernel === undefined ? '' : `kernel ${gpu.kernel}+`;
}

function isMobile(gpu: Gpu): boolean {
  return gpu.class === 'laptop' || (gpu.class === 'embedded' && gpu.vendor === 'nvidia');
}

function generationOf(gpu: Gpu): string {
  if (gpu.vendor === 'nvidia') return `NVIDIA ${gpu.architecture.title}`;
  return gpu.vendor === 'amd' ? 'AMD' : 'Intel';
}

function gpuToJson(facts: Facts, gpu: Gpu): Readonly<Record<string, unknown>> {
  const { vendor, product, aliases, series, pci, memory, confidence, note, sources } = gpu;
  const shared = { vendor, product, names: aliases, series, pci, class: gpu.class };
  const rest = {
    ...(memory !== undefined && { memoryGiB: memory }),
    confidence,
    ...(note !== undefined && { note }),
    sources,
  };
  if (gpu.vendor !== 'nvidia') {
    const { architecture, kernelDriver, kernel, mainline } = gpu;
    return {
      ...shared,
      architecture,
      kernelDriver,
      ...(kernel !== undefined && { kernel }),
      mainline,
      ...rest,
    };
  }
  const { lastBranch, lastCudaMajor, firstBranch } = gpu.architecture;
  return {
    ...shared,
    architecture: gpu.architecture.name,
    computeCapability: gpu.capability.capability,
    modules: gpu.modules,
    link: gpu.link,
    ...(gpu.fabric !== undefined && { fabric: gpu.fabric.name }),
    ...(gpu.mig !== undefined && { mig: gpu.mig }),
    ...(gpu.cpu !== undefined && { cpu: gpu.cpu }),
    driver: {
      firstBranch,
      ...(lastBranch !== undefined && { lastBranch }),
      since: Object.fromEntries(gpu.since),
    },
    cuda: {
      first: gpu.capability.firstCuda,
      ...(lastCudaMajor !== undefined && { lastMajor: lastCudaMajor }),
    },
    ...rest,
  };
}
