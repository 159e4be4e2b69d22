/** What a CUDA version asks of GPUs and driver. */
import type { NvidiaGpu, Row } from '../../../catalog/facts/types.ts';
import {
  branchOf,
  compareVersions,
  majorOf,
  seriesOf,
  type CudaVersion,
  type DriverVersion,
} from '../../../catalog/facts/versions.ts';
import type { Problem } from '../problem.ts';
import { note, refuse, refuseSurely, warn, type Candidate, type Judgement, type Rule } from '../rule.ts';
import type { Element } from '../request.ts';
import { floors } from './gpu-rules.ts';

const CUDA: Element = { kind: 'cuda' };
const VERSION: Element = { kind: 'driver-version' };

export const CUDA_RULES: readonly Rule[] = [
  {
    id: 'cuda-vendor',
    statement: 'CUDA runs on NVIDIA’s GPUs alone.',
    stage: 'host',
    judge: cudaVendor,
  },
  {
    id: 'cuda-architecture',
    statement: 'CUDA generates code for a GPU from its first series on, and up to its last major version.',
    stage: 'cuda',
    judge: ({ cuda }, { nvidia }) =>
      cuda === undefined
        ? []
        : nvidia.flatMap(({ element, gpu }) => codeGeneration(gpu, cuda.version, [CUDA, element])),
  },
  {
    id: 'cuda-floor',
    statement: 'Some products really work only from a later CUDA than the first that knows them.',
    stage: 'cuda',
    judge: ({ cuda }, problem) => floors(problem, cuda?.version, 'cuda'),
  },
  {
    id: 'cuda-preview',
    statement: 'A preview of CUDA is not meant for production.',
    stage: 'cuda',
    judge: cudaPreview,
  },
  {
    id: 'cuda-driver',
    statement:
      'CUDA needs a driver of its own age or newer, of its major version, or one that its compatibility package is for.',
    stage: 'driver-cuda',
    judge: ({ driver, cuda }, problem) =>
      cuda === undefined || driver?.version === undefined
        ? []
        : runs(problem, { driver, cuda }, cuda.version, `CUDA ${cuda.version}`, [CUDA, VERSION]),
  },
];

function cudaVendor(_: Candidate, { gpus, request }: Problem): Judgement[] {
  if (request.cuda === undefined) return [];
  return gpus.flatMap(({ element, gpu }) =>
    gpu.vendor === 'nvidia' ? [] : [refuseSurely(`${gpu.product} runs no CUDA`, [gpu], [CUDA, element])],
  );
}

/** Also of a runtime's artefact, which is compiled by some CUDA. */
export function codeGeneration(gpu: NvidiaGpu, cuda: CudaVersion, about: readonly Element[]): Judgement[] {
  const { capability, architecture, product } = gpu;
  if (compareVersions(seriesOf(cuda), capability.firstCuda) < 0) {
    const message = `${product} has compute capability ${capability.capability}, which CUDA knows from ${capability.firstCuda} on, not in ${cuda}`;
    return [refuse(message, [capability], about)];
  }
  const last = architecture.lastCudaMajor;
  if (last !== undefined && majorOf(cuda) > last) {
    const message = `${product} is ${architecture.title}, which CUDA ${last} is the last to support, not ${cuda}`;
    return [refuse(message, [architecture], about)];
  }
  return [];
}

function cudaPreview({ cuda }: Candidate): Judgement[] {
  const { toolkit } = cuda ?? {};
  return toolkit?.preview === true
    ? [warn(`CUDA ${toolkit.title ?? toolkit.version} is a preview`, [toolkit], [CUDA])]
    : [];
}

/** How a driver runs what is built for a CUDA version: `what`, such as `CUDA 13.0` or `vllm 0.20`. */
export function runs(
  problem: Problem,
  {
    driver: { version: driver } = {},
    cuda: image,
  }: Pick<Candidate, 'cuda'> & { readonly driver?: { readonly version?: DriverVersion } },
  cuda: CudaVersion,
  what: string,
  about: readonly Element[],
): Judgement[] {
  if (driver === undefined) return [];
  const { answer, row } = problem.index.cudaSupport(driver, cuda);
  const rows: readonly Row[] = row === undefined ? [] : [row];
  switch (answer) {
    case 'native':
      return [];
    case 'minor-version': {
      if (compatReaches(problem, driver, cuda, image?.version)) return [];
      const own = problem.index.facts.nvidia.branches.get(branchOf(driver))?.cuda;
      const message = `${what} runs on driver ${driver} by minor version compatibility: with the features of ${own === undefined ? 'the driver’s own CUDA' : `CUDA ${own}`}, and code that is compiled at run time (PTX, NVRTC, Triton) can fail`;
      return [warn(message, rows, about)];
    }
    case 'compat':
    case 'unknown':
      return forward(problem, {
        driver,
        cuda,
        image: image?.version,
        what,
        about,
        rows,
        isCertain: answer === 'compat',
      });
    case 'no': {
      const minimum = minimumWords(problem, cuda);
      return [refuse(`${what} needs ${minimum}, and driver ${driver} is older`, rows, about)];
    }
  }
}

function minimumWords(problem: Problem, cuda: CudaVersion): string {
  const { nvidia } = problem.index.facts;
  const range = nvidia.minorCompatibility.get(majorOf(cuda))?.driver;
  const toolkit = nvidia.toolkits.get(cuda)?.driver;
  return range === undefined
    ? toolkit === undefined
      ? 'a newer driver'
      : `driver >= ${toolkit}`
    : `driver ${range.text}`;
}

/** The compatibility package of the image's own CUDA series runs everything up to that series. */
function compatReaches(
  problem: Problem,
  driver: DriverVersion,
  cuda: CudaVersion,
  image: CudaVersion | undefined,
): boolean {
  if (problem.request.cuda?.compat !== true || image === undefined) return false;
  if (compareVersions(seriesOf(image), seriesOf(cuda)) < 0) return false;
  const row = problem.index.facts.nvidia.forwardCompatibility.get(seriesOf(image));
  return row?.branches.includes(branchOf(driver)) === true && outside(problem, row.classes).length === 0;
}

function outside({ nvidia }: Problem, classes: readonly string[]): Problem['nvidia'] {
  return nvidia.filter(({ gpu }) => !classes.includes(gpu.class));
}

interface Forward {
  readonly driver: DriverVersion;
  readonly cuda: CudaVersion;
  /** The image's own CUDA. */
  readonly image: CudaVersion | undefined;
  readonly what: string;
  readonly about: readonly Element[];
  readonly rows: readonly Row[];
  readonly isCertain: boolean;
}

function forward(
  problem: Problem,
  { driver, cuda, image, what, about, rows, isCertain }: Forward,
): Judgement[] {
  const { nvidia } = problem.index.facts;
  const row = nvidia.forwardCompatibility.get(seriesOf(cuda));
  if (row === undefined) return [];
  const minimum = minimumWords(problem, cuda);
  // The package is the exception; what refuses is the rule of the major version.
  const major = nvidia.minorCompatibility.get(majorOf(cuda));
  const grounds = major === undefined ? rows : [major, ...rows];
  const [excluded] = outside(problem, row.classes);
  if (excluded !== undefined) {
    const message = `${what} needs ${minimum} for ${excluded.gpu.product}: ${row.package}, which lifts driver ${driver}, is for ${row.classes.join(' and ')} GPUs`;
    return [refuse(message, grounds, [...about, excluded.element])];
  }
  if (problem.request.cuda?.compat !== true) {
    const message = `${what} needs ${minimum}, or ${row.package} in the image on driver ${driver}`;
    return [refuse(message, grounds, about, { compat: row.cuda })];
  }
  if (image === undefined || compareVersions(seriesOf(image), seriesOf(cuda)) < 0) {
    const message = `${what} needs ${minimum}, and the image’s compatibility package is for an older CUDA`;
    return [refuse(message, grounds, about)];
  }
  if (isCertain) return [note(`${what} runs on driver ${driver} through ${row.package}`, rows, about)];
  const message = `${row.package} may not be for driver ${driver}: only a part of its list of branches is known`;
  return [warn(message, rows, about)];
}
