/** A request with every name looked up: the GPUs it means, and the candidates of each kind, the preferred first. */
import type { Gpu, NvidiaGpu } from '../../catalog/facts/types.ts';
import { cudaCandidates } from './cuda-candidates.ts';
import { driverCandidates } from './driver-candidates.ts';
import { indexFacts, type FactsIndex } from './facts-index.ts';
import type { Found, Gap, Named } from './found.ts';
import { kernelCandidates } from './kernel-candidates.ts';
import type { FitContext, FitRequest, GpuElement } from './request.ts';
import type { CudaCandidate, DriverCandidate, KernelCandidate, RuntimeCandidate } from './rule.ts';
import { runtimeCandidates } from './runtime-candidates.ts';

/** One product that a name of the request means. */
export interface AskedGpu {
  readonly element: GpuElement;
  readonly gpu: Gpu;
}

export interface Problem {
  readonly request: FitRequest;
  readonly context: FitContext;
  readonly index: FactsIndex;
  readonly gpus: readonly AskedGpu[];
  /** The NVIDIA ones among them. */
  readonly nvidia: readonly (AskedGpu & { readonly gpu: NvidiaGpu })[];
  /** Undefined when no driver is asked for. */
  readonly drivers: readonly DriverCandidate[] | undefined;
  /** Empty when nothing is known of the kernel. */
  readonly kernels: readonly KernelCandidate[];
  /** Undefined when no CUDA is asked for. */
  readonly cudas: readonly CudaCandidate[] | undefined;
  /** For each runtime that is asked for. */
  readonly runtimes: readonly (readonly RuntimeCandidate[])[];
  /** Options of kernel modules as `module.option`, with `_` for `-`. */
  readonly moduleOptions: ReadonlyMap<string, string>;
  readonly gaps: readonly Gap[];
}

export function poseProblem(request: FitRequest, context: FitContext): Problem {
  const index = indexFacts(context.facts);
  const gaps: Gap[] = [];
  const keep = <T>(found: Found<T>): readonly T[] => {
    if (found.gap !== undefined) gaps.push(found.gap);
    return found.candidates;
  };
  const gpus = request.gpus.flatMap((_, position) => keep(findGpus(request, position, index)));
  const nvidia = gpus.flatMap(({ element, gpu }) => (gpu.vendor === 'nvidia' ? [{ element, gpu }] : []));
  const vendors = new Set(gpus.map(({ gpu }) => gpu.vendor));
  const isDataCenter = gpus.length > 0 && gpus.every(({ gpu }) => gpu.class === 'data-center');
  const named: Named = { request, context, index, vendors, isDataCenter };
  return {
    request,
    context,
    index,
    gpus,
    nvidia,
    drivers: request.driver === undefined ? undefined : keep(driverCandidates(request.driver, named)),
    kernels: keep(kernelCandidates(named)),
    cudas: request.cuda === undefined ? undefined : keep(cudaCandidates(request.cuda, named)),
    runtimes: request.runtimes.flatMap((ask, position) =>
      ask.use === '' ? [] : [keep(runtimeCandidates(ask, position, named))],
    ),
    moduleOptions: moduleOptionsOf(request.kernelArguments),
    gaps,
  };
}

/**
 * A name that stands for several products means those that the architecture can carry: `hopper` on amd64 is no
 * GH200, which an explicit `gh200` is.
 */
function findGpus({ gpus, architecture }: FitRequest, position: number, index: FactsIndex): Found<AskedGpu> {
  const asked = gpus[position] ?? '';
  if (asked === '') return { candidates: [] };
  const element: GpuElement = { kind: 'gpu', index: position };
  const match = index.findGpus(asked);
  const all = match.kind === 'unknown' ? [] : match.gpus;
  const fitting = all.filter((gpu) => fitsCpu(gpu, architecture));
  const meant = fitting.length > 0 ? fitting : all;
  if (meant.length > 0) return { candidates: meant.map((gpu) => ({ element, gpu })) };
  const near = match.kind === 'unknown' ? match.suggestions : [];
  const message =
    match.kind === 'unknown'
      ? `the facts know no GPU ${JSON.stringify(asked)}`
      : `the facts know no GPU of the architecture ${asked}`;
  return { candidates: [], gap: { rule: 'unknown', message, about: [element], near } };
}

function fitsCpu(gpu: Gpu, architecture: FitRequest['architecture']): boolean {
  return architecture === undefined || gpu.vendor !== 'nvidia' || (gpu.cpu ?? architecture) === architecture;
}

function moduleOptionsOf(kernelArguments: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    kernelArguments.flatMap((argument) => {
      const [, name, value] = /^([\w-]+\.[\w-]+)=(.*)$/.exec(argument) ?? [];
      return name === undefined || value === undefined ? [] : [[name.replaceAll('-', '_'), value] as const];
    }),
  );
}
