/** Why each choice was made, and what else was possible. */
import { compareImages } from '../../packages/kernels.ts';
import { ANY_KERNEL } from '../../spec/node-image.ts';
import type { DriverBranch, Gpu } from '../../catalog/facts/types.ts';
import { compareVersions, seriesOf } from '../../catalog/facts/versions.ts';
import {
  judgeAlternatives,
  otherCudas,
  otherDrivers,
  otherKernels,
  otherModules,
  otherReleases,
  type Alternative,
} from './alternatives.ts';
import { supportTier } from './driver-candidates.ts';
import { judgeFit, type Fit } from './fit.ts';
import { kernelsOn } from './kernel-candidates.ts';
import { poseProblem } from './problem.ts';
import type { Element, FitContext, FitRequest } from './request.ts';
import type { RuntimeCandidate } from './rule.ts';

export type Topic = 'gpus' | 'driver' | 'modules' | 'kernel' | 'cuda' | 'runtime';

export interface ChoiceExplanation {
  readonly topic: Topic;
  /** What it is called: a GPU as it was asked for, a runtime's name, else the topic. */
  readonly name: string;
  readonly value: string;
  readonly reasons: readonly string[];
  readonly alternatives: readonly Alternative[];
}

export interface Explanation {
  readonly fit: Fit;
  /** Empty when the request is refused. */
  readonly choices: readonly ChoiceExplanation[];
  /** For a refusal that only the sources are to blame for: what the facts alone would choose. */
  readonly byFacts?: string;
}

export function explainFit(request: FitRequest, context: FitContext): Explanation {
  const fit = judgeFit(request, context);
  if (fit.chosen === undefined) {
    const byFacts = context.offers === undefined ? undefined : choiceByFacts(request, context);
    return { fit, choices: [], ...(byFacts !== undefined && { byFacts }) };
  }
  const choices = [
    ...explainGpus(fit, context),
    ...explainDriver(fit, context),
    ...explainModules(fit, context),
    ...explainKernel(fit, context),
    ...explainCuda(fit, context),
    ...fit.chosen.runtimes.map((runtime) => explainRuntime(runtime, fit, context)),
  ];
  return { fit, choices };
}

function choiceByFacts(request: FitRequest, { facts, now }: FitContext): string | undefined {
  const { chosen } = judgeFit(request, { facts, now });
  if (chosen?.driver?.version === undefined) return undefined;
  return [
    `driver ${chosen.driver.version}`,
    ...(chosen.cuda === undefined ? [] : [`CUDA ${chosen.cuda.version}`]),
    ...chosen.runtimes.map(({ name, version }) => (version === undefined ? name : `${name} ${version}`)),
  ].join(', ');
}

function askedWords(version: string | undefined): string {
  return version === undefined ? 'left to the solver' : `declared as ${version}`;
}

function notesOn({ notes }: Fit, kind: Element['kind'], index?: number): string[] {
  const own = notes.filter(({ about }) =>
    about.some(
      (one) => one.kind === kind && (index === undefined || ('index' in one && one.index === index)),
    ),
  );
  return [...new Set(own.map(({ message }) => message))];
}

/** What the choice works with a limit for. */
function limitsOn({ findings }: Fit, kind: Element['kind']): string[] {
  return findings
    .filter(({ elements }) => elements.some((one) => one.kind === kind))
    .map(({ message }) => message);
}

const MAX_PRODUCTS = 12;

function explainGpus({ request }: Fit, context: FitContext): ChoiceExplanation[] {
  const { gpus } = poseProblem(request, context);
  return request.gpus.map((name, index) => {
    const meant = gpus.filter(({ element }) => element.index === index).map(({ gpu }) => gpu);
    const [first] = meant;
    const isOne = meant.length === 1 && first !== undefined;
    const value = isOne ? `${first.product}, ${propertiesOf(first)}` : `${meant.length} products`;
    const lines = isOne ? [] : meant.map((gpu) => `${gpu.product}: ${propertiesOf(gpu)}`);
    const more = lines.length > MAX_PRODUCTS ? [`and ${lines.length - MAX_PRODUCTS} more`] : [];
    return {
      topic: 'gpus',
      name,
      value,
      reasons: [...lines.slice(0, MAX_PRODUCTS), ...more, ...migWords(request, index, meant)],
      alternatives: [],
    };
  });
}

/** What it is to be split into, and what else it could be. */
function migWords({ mig }: FitRequest, index: number, meant: readonly Gpu[]): string[] {
  const asked = mig.filter(({ gpu, profile }) => gpu === index && profile !== '');
  const split = asked.map(({ profile, count }) => `${count} × ${profile}`).join(', ');
  const [first] = meant;
  const profiles = first?.vendor === 'nvidia' && meant.length === 1 ? first.mig : undefined;
  return [
    ...(split === '' ? [] : [`to be split by MIG into ${split}; the image says so and does not do it`]),
    ...(profiles === undefined || profiles.length === 0 ? [] : [`MIG profiles: ${profiles.join(', ')}`]),
  ];
}

function propertiesOf(gpu: Gpu): string {
  if (gpu.vendor !== 'nvidia') return `${gpu.architecture}, driven by ${gpu.kernelDriver}`;
  const modules = gpu.modules === 'either' ? 'open or proprietary modules' : `${gpu.modules} modules only`;
  return `${gpu.architecture.title}, compute capability ${gpu.capability.capability}, ${modules}`;
}

function explainDriver(fit: Fit, context: FitContext): ChoiceExplanation[] {
  const { driver } = fit.chosen ?? {};
  if (driver === undefined) return [];
  const { version, branch, offer, vendor } = driver;
  const base = { topic: 'driver', name: 'driver' } as const;
  if (version === undefined) {
    const reasons = ['it comes with the kernel'];
    return [{ ...base, value: offer?.layer ?? vendor, reasons, alternatives: [] }];
  }
  const from = offer === undefined ? '' : `, from the layer ${offer.layer}`;
  const known = context.offers?.drivers === undefined ? 'known' : 'offered';
  return [
    {
      ...base,
      value: `${version}${from}`,
      reasons: [
        askedWords(fit.request.driver?.version),
        branchWords(branch, context.now),
        `the newest release of its branch that is ${known} and that nothing refuses`,
        ...notesOn(fit, 'driver-version'),
      ],
      alternatives: judgeAlternatives(otherDrivers(fit, context), fit, context),
    },
  ];
}

function branchWords(branch: DriverBranch | undefined, now: string): string {
  if (branch === undefined) return 'nothing is known of its branch';
  const until = branch.endOfLife === undefined ? '' : ` until ${branch.endOfLife}`;
  const name = `R${branch.branch}`;
  switch (supportTier(branch, now)) {
    case 'long-term':
      return `${name} is a long-term branch, supported${until}: such a branch is preferred`;
    case 'supported':
      return `${name} is supported${until}`;
    case 'unstated':
      return `whether ${name} is supported is not stated`;
    case 'over':
      return `${name} is past its end of life`;
    case 'preview':
      return `${name} is a preview`;
  }
}

function explainModules(fit: Fit, context: FitContext): ChoiceExplanation[] {
  const flavour = fit.chosen?.driver?.flavour;
  if (flavour === undefined) return [];
  const asked = fit.request.driver?.modules;
  return [
    {
      topic: 'modules',
      name: 'modules',
      value: flavour,
      reasons: [askedWords(asked === 'auto' ? undefined : asked), ...notesOn(fit, 'modules')],
      alternatives: judgeAlternatives(otherModules(fit), fit, context),
    },
  ];
}

function explainKernel(fit: Fit, context: FitContext): ChoiceExplanation[] {
  const { kernel } = fit.chosen ?? {};
  if (kernel === undefined) return [];
  const { image, isLocked, layer } = kernel;
  const from =
    fit.request.kernel?.flavour === ANY_KERNEL && layer !== undefined ? `, from the layer ${layer}` : '';
  const known = kernelsOn(context.offers?.kernels ?? [], fit.request.kernel);
  const [newest] = known.toSorted((a, b) => compareImages(a.image, b.image));
  const which =
    isLocked === true
      ? 'the kernel of the lock, which stays while it is offered and nothing refuses it'
      : newest?.image?.name === image?.name
        ? `the newest of ${known.length} that the package indexes offer`
        : `the newest of ${known.length} in the package indexes that works without a limit, or with a patch that Ingot has`;
  return [
    {
      topic: 'kernel',
      name: 'kernel',
      value: image === undefined ? kernel.version : `${image.version}, the package ${image.name}${from}`,
      reasons: [
        askedWords(fit.request.kernel?.version),
        ...(image === undefined ? [] : [which]),
        ...limitsOn(fit, 'kernel'),
        ...notesOn(fit, 'kernel'),
      ],
      alternatives: judgeAlternatives(otherKernels(fit, context), fit, context),
    },
  ];
}

function explainCuda(fit: Fit, context: FitContext): ChoiceExplanation[] {
  const { cuda, driver } = fit.chosen ?? {};
  if (cuda === undefined) return [];
  const native = driver?.branch?.cuda;
  const isNative = native !== undefined && compareVersions(seriesOf(cuda.version), native) <= 0;
  const own = isNative
    ? [`R${driver?.branch?.branch ?? ''} runs everything up to CUDA ${native} without a limit`]
    : [];
  return [
    {
      topic: 'cuda',
      name: 'cuda',
      value: cuda.version,
      reasons: [askedWords(fit.request.cuda?.version), ...own, ...notesOn(fit, 'cuda')],
      alternatives: judgeAlternatives(otherCudas(fit, context), fit, context),
    },
  ];
}

function explainRuntime(runtime: RuntimeCandidate, fit: Fit, context: FitContext): ChoiceExplanation {
  const { name, version = 'of any version', layer, index } = runtime;
  return {
    topic: 'runtime',
    name,
    value: layer === undefined ? version : `${version}, from the layer ${layer}`,
    reasons: [
      askedWords(fit.request.runtimes[index]?.version),
      ...builtFor(runtime, fit, context),
      ...notesOn(fit, 'runtime', index),
    ],
    alternatives: judgeAlternatives(otherReleases(runtime, fit, context), fit, context),
  };
}

/** What a release comes built for, as far as the GPUs of the image run it. */
function builtFor(
  { cuda, release }: RuntimeCandidate,
  { request }: Fit,
  context: FitContext,
): readonly string[] {
  const { gpus } = poseProblem(request, context);
  const rocm = release?.rocm ?? [];
  if (rocm.length > 0 && gpus.length > 0 && gpus.every(({ gpu }) => gpu.vendor === 'amd')) {
    return [`built for ROCm ${rocm.join(', ')}`];
  }
  return cuda === undefined ? [] : [`built for CUDA ${cuda}`];
}
