/** What a GPU asks of the machine and of the driver. */
import type { NvidiaGpu } from '../../../catalog/facts/types.ts';
import {
  branchOf,
  rangeAdmits,
  type CudaVersion,
  type DriverVersion,
  type Range,
} from '../../../catalog/facts/versions.ts';
import type { AskedGpu, Problem } from '../problem.ts';
import { note, refuse, refuseSurely, warn, type Candidate, type Judgement, type Rule } from '../rule.ts';

const DRIVER_NAMES = { nvidia: 'nvidia', amd: 'amdgpu', intel: 'intel' } as const;

export const GPU_RULES: readonly Rule[] = [
  {
    id: 'gpu-cpu',
    statement: 'A GPU that is one piece with its CPU needs an image for that CPU.',
    stage: 'host',
    judge: gpuCpu,
  },
  {
    id: 'one-vendor',
    statement: 'An image carries one GPU driver, so all its GPUs are of one vendor.',
    stage: 'host',
    judge: oneVendor,
  },
  {
    id: 'driver-vendor',
    statement: 'A GPU needs its own vendor’s driver.',
    stage: 'driver',
    judge: driverVendor,
  },
  {
    id: 'driver-missing',
    statement: 'A GPU is of no use without a driver.',
    stage: 'host',
    judge: driverMissing,
  },
  {
    id: 'driver-architecture',
    statement: 'Each GPU architecture has a first driver branch, and may have a last one.',
    stage: 'driver',
    judge: (candidate, problem) => driverSupports(candidate, problem, 'architecture'),
  },
  {
    id: 'driver-lists-gpu',
    statement: 'A GPU works with the releases that list its PCI id; a higher branch number is no proof.',
    stage: 'driver',
    judge: (candidate, problem) => driverSupports(candidate, problem, 'list'),
  },
  {
    id: 'product-floor',
    statement: 'Some products really work only from a later driver or CUDA than the first that lists them.',
    stage: 'driver',
    judge: ({ driver }, problem) => floors(problem, driver?.version, 'driver'),
  },
];

function gpuCpu(_: Candidate, { nvidia, request: { architecture } }: Problem): Judgement[] {
  return nvidia.flatMap(({ element, gpu }) => {
    if (gpu.cpu === undefined || architecture === undefined || gpu.cpu === architecture) return [];
    const message = `${gpu.product} is one piece with an ${gpu.cpu} processor, and the image is for ${architecture}`;
    return [refuse(message, [gpu], [element, { kind: 'architecture' }])];
  });
}

function oneVendor(_: Candidate, { gpus, request }: Problem): Judgement[] {
  if (request.driver === undefined) return [];
  const firsts = gpus.filter(
    ({ element }, index) => gpus.findIndex((one) => one.element.index === element.index) === index,
  );
  return firsts.flatMap((one, index) =>
    firsts.slice(0, index).flatMap((other) => {
      if (one.gpu.vendor === other.gpu.vendor) return [];
      const message = `${other.gpu.product} and ${one.gpu.product} need the drivers of two vendors`;
      return [refuseSurely(message, [other.gpu, one.gpu], [one.element, other.element])];
    }),
  );
}

function driverVendor({ driver }: Candidate, { gpus, request }: Problem): Judgement[] {
  if (driver !== undefined && driver.vendor !== 'nvidia' && request.cuda !== undefined) {
    const about = [{ kind: 'cuda' }, { kind: 'driver' }] as const;
    return [refuse(`CUDA needs the driver nvidia, not ${DRIVER_NAMES[driver.vendor]}`, [], about)];
  }
  return gpus.flatMap(({ element, gpu }) => {
    if (driver === undefined || driver.vendor === gpu.vendor) return [];
    const message = `${gpu.product} needs the driver ${DRIVER_NAMES[gpu.vendor]}, not ${DRIVER_NAMES[driver.vendor]}`;
    return [refuseSurely(message, [gpu], [{ kind: 'driver' }, element])];
  });
}

function driverMissing(_: Candidate, { gpus, request }: Problem): Judgement[] {
  const [first] = gpus;
  if (first === undefined || request.driver !== undefined) return [];
  return [
    warn(`${first.gpu.product} is named, but no driver: write driver: auto`, [first.gpu], [first.element]),
  ];
}

function driverSupports({ driver }: Candidate, problem: Problem, part: 'architecture' | 'list'): Judgement[] {
  const version = driver?.version;
  if (version === undefined) return [];
  return problem.nvidia.flatMap(({ element, gpu }) => {
    const { reason, first, row } = problem.index.driverSupport(gpu, version);
    const about = [element, { kind: 'driver-version' } as const];
    const { architecture, product } = gpu;
    switch (reason) {
      case 'before-its-architecture': {
        const message = `${product} is ${architecture.title}, which needs R${architecture.firstBranch} or later, not ${version}`;
        return part === 'architecture' ? [refuse(message, [row], about)] : [];
      }
      case 'after-its-architecture': {
        const last = architecture.lastBranch ?? 0;
        const message = `${product} is ${architecture.title}, which R${last} is the last branch to support, not ${version}`;
        return part === 'architecture' ? [refuse(message, [row], about)] : [];
      }
      case 'before-its-first-release': {
        const message = `R${branchOf(version)} supports ${product} from ${first ?? 'a later release'} on, not in ${version}`;
        return part === 'list' ? [refuse(message, [row], about)] : [];
      }
      case 'not-in-the-list': {
        const message = `driver ${version} does not list ${product}${elsewhere(gpu)}`;
        return part === 'list' ? [refuse(message, [row], about)] : [];
      }
      case 'list-not-read': {
        if (part === 'architecture') return [];
        const message = `that driver ${version} lists ${product} is likely, not certain`;
        // Of a whole family it is enough that some are certain.
        const family = problem.nvidia.filter((other) => other.element.index === element.index);
        const certain = family.some(
          (other) => problem.index.driverSupport(other.gpu, version).answer === 'yes',
        );
        return [certain ? note(message, [row], about) : warn(message, [row], about)];
      }
      case 'listed':
      case 'by-architecture':
      case 'in-every-branch-since':
        return [];
    }
  });
}

function elsewhere(gpu: NvidiaGpu): string {
  const first = [...gpu.since.values()];
  return first.length === 0 ? '' : `; these are the first that do, by branch: ${first.join(', ')}`;
}

/** Shared by the rules on drivers and on CUDA. */
export function floors(
  problem: Problem,
  version: DriverVersion | CudaVersion | undefined,
  part: 'driver' | 'cuda',
): Judgement[] {
  if (version === undefined) return [];
  const { floors: rows } = problem.index.facts.nvidia;
  return rows.flatMap((floor) => {
    const range: Range<DriverVersion | CudaVersion> | undefined = floor[part];
    if (floor.mig === true || range === undefined || rangeAdmits(range, version)) return [];
    const gpu = meant(problem, floor.gpus);
    if (gpu === undefined) return [];
    const message = `${floor.product} needs ${part === 'driver' ? 'driver' : 'CUDA'} ${range.text}, not ${version}`;
    const wish = part === 'driver' ? 'driver-version' : 'cuda';
    return [refuse(message, [floor], [gpu.element, { kind: wish }])];
  });
}

/** The first of the asked GPUs that one of the names means: an alias, a series or an architecture. */
export function meant({ gpus }: Pick<Problem, 'gpus'>, names: readonly string[]): AskedGpu | undefined {
  return gpus.find(({ gpu }) => {
    const architecture = gpu.vendor === 'nvidia' ? gpu.architecture.name : gpu.architecture;
    return names.some(
      (name) => gpu.aliases.includes(name) || gpu.series.includes(name) || architecture === name,
    );
  });
}
