/** What a runtime's release and its artefact ask of GPUs, driver and CUDA. */
import { findWheels } from '../../../catalog/facts/lookup.ts';
import type { NvidiaGpu, WheelArchitectures, WheelSet } from '../../../catalog/facts/types.ts';
import {
  compareVersions,
  majorOf,
  rangeAdmits,
  type ComputeCapability,
} from '../../../catalog/facts/versions.ts';
import type { Problem } from '../problem.ts';
import type { Element } from '../request.ts';
import {
  note,
  refuse,
  warn,
  type Candidate,
  type Judgement,
  type Rule,
  type RuntimeCandidate,
} from '../rule.ts';
import { codeGeneration, runs } from './cuda-rules.ts';

export const RUNTIME_RULES: readonly Rule[] = [
  {
    id: 'runtime-archived',
    statement: 'An archived runtime gets no fixes; its successors do.',
    stage: 'runtime',
    judge: archived,
  },
  {
    id: 'runtime-cuda',
    statement: 'What shares the image’s CUDA must be built for its major version.',
    stage: 'runtime',
    judge: sameMajor,
  },
  {
    id: 'runtime-capability',
    statement: 'A release of a runtime has kernels from some compute capability on.',
    stage: 'runtime',
    judge: capability,
  },
  {
    id: 'runtime-architecture',
    statement: 'An artefact has no code for GPUs that its CUDA does not compile for.',
    stage: 'runtime',
    judge: artefactCode,
  },
  {
    id: 'runtime-wheels',
    statement: 'Wheels are a second gate: each has kernels for some GPUs, by CUDA and by CPU architecture.',
    stage: 'runtime',
    judge: wheels,
  },
  {
    id: 'runtime-vendor',
    statement: 'A runtime runs on the GPUs it has artefacts for.',
    stage: 'runtime',
    judge: vendor,
  },
  {
    id: 'runtime-cpu',
    statement: 'A runtime that is built for the CPU leaves GPUs idle.',
    stage: 'runtime',
    judge: cpuAlone,
  },
  {
    id: 'runtime-driver',
    statement: 'A runtime’s artefact runs when the driver runs the CUDA it is built for.',
    stage: 'driver-runtime',
    judge: artefactRuns,
  },
  {
    id: 'runtime-asks-driver',
    statement: 'A runtime may ask for a driver of its own.',
    stage: 'driver-runtime',
    judge: asksDriver,
  },
];

function elementOf({ index }: RuntimeCandidate): Element {
  return { kind: 'runtime', index };
}

export function nameOf({ name, version }: RuntimeCandidate): string {
  return version === undefined ? name : `${name} ${version}`;
}

function archived({ runtime: one }: Candidate): Judgement[] {
  const { runtime } = one ?? {};
  if (one === undefined || runtime === undefined || runtime.status === 'active') return [];
  const since = runtime.statusSince === undefined ? '' : ` since ${runtime.statusSince}`;
  const state = runtime.status === 'archived' ? 'archived' : 'in maintenance only';
  const instead = runtime.successors.length === 0 ? '' : `; take ${runtime.successors.join(' or ')}`;
  const message = `${runtime.title} is ${state}${since}${instead}`;
  return [warn(message, [runtime], [elementOf(one)], { successors: runtime.successors })];
}

function sameMajor({ runtime: one, cuda }: Candidate): Judgement[] {
  if (one?.cuda === undefined || cuda === undefined) return [];
  if (majorOf(one.cuda) === majorOf(cuda.version)) {
    if (one.isDefault) return [];
    return [
      note(`${nameOf(one)} is taken in its build for CUDA ${one.cuda}, not in its default one`, rowsOf(one), [
        elementOf(one),
      ]),
    ];
  }
  const message = `${nameOf(one)} is built for CUDA ${one.cuda}, and the image has CUDA ${cuda.version}`;
  const about = [elementOf(one), { kind: 'cuda' } as const];
  if (one.selfContained) return [note(`${message}; it brings its own`, rowsOf(one), about)];
  return [refuse(message, rowsOf(one), about)];
}

function rowsOf({
  release,
  runtime,
}: RuntimeCandidate): NonNullable<RuntimeCandidate['release'] | RuntimeCandidate['runtime']>[] {
  const row = release ?? runtime;
  return row === undefined ? [] : [row];
}

function capability({ runtime: one }: Candidate, { nvidia }: Problem): Judgement[] {
  const { release } = one ?? {};
  if (one === undefined || release === undefined) return [];
  return nvidia.flatMap(({ element, gpu }) => {
    const own = gpu.capability.capability;
    const about = [elementOf(one), element];
    if (release.minCapability !== undefined && compareVersions(own, release.minCapability) < 0) {
      const message = `${nameOf(one)} needs compute capability ${release.minCapability}, and ${gpu.product} has ${own}`;
      return [refuse(message, [release], about)];
    }
    if (release.capabilities === undefined || kernelsFor(own, release.capabilities) !== 'none') return [];
    const message = `${nameOf(one)} has kernels for ${release.capabilities.join(', ')}, and ${gpu.product} has ${own}`;
    return [refuse(message, [release], about)];
  });
}

function artefactCode({ runtime: one }: Candidate, { nvidia }: Problem): Judgement[] {
  const { cuda } = one ?? {};
  if (one === undefined || cuda === undefined) return [];
  return nvidia.flatMap(({ element, gpu }) =>
    codeGeneration(gpu, cuda, [elementOf(one), element]).map((judgement) => ({
      ...judgement,
      message: `${nameOf(one)} is built with CUDA ${cuda}: ${judgement.message}`,
    })),
  );
}

/**
 * CUDA binaries of one capability run on later ones of the same major version, so 8.6 serves 8.9. PTX serves all
 * that come later.
 */
function kernelsFor(
  own: ComputeCapability,
  capabilities: readonly ComputeCapability[],
  ptx?: ComputeCapability,
): 'own' | 'major' | 'ptx' | 'none' {
  if (capabilities.includes(own)) return 'own';
  if (capabilities.some((one) => majorOf(one) === majorOf(own) && compareVersions(one, own) < 0))
    return 'major';
  return ptx !== undefined && compareVersions(ptx, own) <= 0 ? 'ptx' : 'none';
}

function wheels({ runtime: one }: Candidate, problem: Problem): Judgement[] {
  const { architecture } = problem.request;
  const { cuda, release, version } = one ?? {};
  if (one === undefined || cuda === undefined || architecture === undefined) return [];
  const isTorch = one.name === 'pytorch';
  const torch = isTorch ? version : release?.torch;
  if (torch === undefined) return [];
  const set = findWheels(problem.index.facts, 'pytorch', torch, cuda);
  if (set === undefined) return [];
  const build = set.architectures.get(architecture);
  const of = `${isTorch ? nameOf(one) : `${nameOf(one)} on PyTorch ${torch}`} for CUDA ${cuda} on ${architecture}`;
  if (build === undefined)
    return [refuse(`there are no wheels of ${of}`, [set], [elementOf(one), { kind: 'architecture' }])];
  return problem.nvidia.flatMap(({ element, gpu }) =>
    wheelJudgement(gpu, build, set, of, [elementOf(one), element]),
  );
}

function wheelJudgement(
  gpu: NvidiaGpu,
  build: WheelArchitectures,
  set: WheelSet,
  of: string,
  about: readonly Element[],
): Judgement[] {
  const own = gpu.capability.capability;
  switch (kernelsFor(own, build.capabilities, build.ptx)) {
    case 'own':
      return [];
    case 'major': {
      // Where another CPU's wheel has kernels of its own, their absence here is worth a warning.
      const elsewhere = [...set.architectures.values()].some(({ capabilities }) =>
        capabilities.includes(own),
      );
      const message = `the wheels of ${of} have no kernels of their own for compute capability ${own} (${gpu.product}); those of an older one of its major version run on it`;
      return [elsewhere ? warn(message, [set], about) : note(message, [set], about)];
    }
    case 'ptx':
      return [
        warn(
          `the wheels of ${of} have only PTX for ${gpu.product}: its kernels are compiled at run time`,
          [set],
          about,
        ),
      ];
    case 'none': {
      const message = `the wheels of ${of} have kernels for ${build.capabilities.join(', ')}, none for ${gpu.product} (${own})`;
      return [refuse(message, [set], about)];
    }
  }
}

function vendor({ runtime: one }: Candidate, { gpus }: Problem): Judgement[] {
  const { release } = one ?? {};
  if (one === undefined || release === undefined) return [];
  const others = gpus.filter(({ gpu }) => gpu.vendor !== 'nvidia');
  return others.flatMap(({ element, gpu }) => {
    if (gpu.vendor === 'amd' && release.rocm.length > 0) return [];
    if (one.cuda === undefined) return [];
    return [
      refuse(
        `${nameOf(one)} is built for CUDA, which ${gpu.product} does not run`,
        [release],
        [elementOf(one), element],
      ),
    ];
  });
}

/** Where the same runtime could be had for GPUs, and the image has to do with them. */
function cpuAlone({ runtime: one }: Candidate, { request, nvidia, runtimes }: Problem): Judgement[] {
  if (one === undefined || one.cuda !== undefined) return [];
  if (nvidia.length === 0 && request.driver === undefined) return [];
  const others = runtimes.flat().some(({ index, cuda }) => index === one.index && cuda !== undefined);
  return others ? [warn(`${nameOf(one)} runs on the CPU alone here`, rowsOf(one), [elementOf(one)])] : [];
}

function artefactRuns(candidate: Candidate, problem: Problem): Judgement[] {
  const { runtime: one } = candidate;
  if (one?.cuda === undefined) return [];
  const what = `${nameOf(one)}, which is built for CUDA ${one.cuda},`;
  const about = [elementOf(one), { kind: 'driver-version' } as const];
  return runs(problem, candidate, one.cuda, what, about).map((judgement) => ({
    ...judgement,
    rows: [...judgement.rows, ...rowsOf(one)],
  }));
}

function asksDriver({ driver, runtime: one }: Candidate, { nvidia }: Problem): Judgement[] {
  const version = driver?.version;
  const { release } = one ?? {};
  if (one === undefined || version === undefined || release === undefined) return [];
  return release.drivers.flatMap(({ needs, capability: narrowed }) => {
    if (rangeAdmits(needs, version)) return [];
    const gpu = nvidia.find(
      (asked) => narrowed === undefined || rangeAdmits(narrowed, asked.gpu.capability.capability),
    );
    if (narrowed !== undefined && gpu === undefined) return [];
    const on = narrowed === undefined || gpu === undefined ? '' : ` on ${gpu.gpu.product}`;
    const about = [
      elementOf(one),
      { kind: 'driver-version' } as const,
      ...(on === '' || gpu === undefined ? [] : [gpu.element]),
    ];
    return [refuse(`${nameOf(one)} asks for driver ${needs.text}${on}, not ${version}`, [release], about)];
  });
}
