/** What a whole system needs: NVSwitch fabrics, the container toolkit, compute stacks, and known troubles. */
import type { KnownIssue } from '../../../catalog/facts/types.ts';
import { rangeAdmits } from '../../../catalog/facts/versions.ts';
import type { Problem } from '../problem.ts';
import type { FitRequest } from '../request.ts';
import { note, refuse, warn, type Candidate, type Judgement, type Rule } from '../rule.ts';
import { meant } from './gpu-rules.ts';
import { isOf, layerWithout } from './kernel-rules.ts';

export const SYSTEM_RULES: readonly Rule[] = [
  {
    id: 'fabric-components',
    statement: 'GPUs behind NVSwitches need a fabric manager; from NVLink 5 on also nvlsm.',
    stage: 'host',
    judge: fabricComponents,
  },
  {
    id: 'fabric-version',
    statement: 'The fabric manager’s version is exactly the driver’s.',
    stage: 'driver',
    judge: fabricVersion,
  },
  {
    id: 'fabric-kernel-modules',
    statement: 'NVLink 5 fabrics are reached through InfiniBand modules of the kernel, such as ib_umad.',
    stage: 'host',
    judge: fabricKernelModules,
  },
  {
    id: 'container-toolkit',
    statement: 'A container reaches the GPU through NVIDIA’s container toolkit.',
    stage: 'runtime',
    judge: containerToolkit,
  },
  {
    id: 'compute-stack',
    statement: 'A vendor’s compute stack is released for some of its GPUs.',
    stage: 'runtime',
    judge: computeStack,
  },
  {
    id: 'known-issue',
    statement: 'Some combinations fit by their versions and still go wrong.',
    stage: 'whole',
    judge: knownIssues,
  },
];

function hasAddon({ addons, assumed = [] }: FitRequest, names: readonly string[]): boolean {
  return names.some((name) => addons.includes(name) || assumed.includes(name));
}

/** Names under which a declaration may ask for a component of the fabric. */
function addonNames(component: string): string[] {
  return [component, `nvidia-${component}`, component.replace('-', '')];
}

function fabricComponents(_: Candidate, { nvidia, request }: Problem): Judgement[] {
  if (request.driver === undefined) return [];
  return nvidia.flatMap(({ element, gpu }) => {
    const { fabric, product } = gpu;
    const missing = (fabric?.components ?? []).filter(({ name }) => !hasAddon(request, addonNames(name)));
    if (fabric === undefined || missing.length === 0) return [];
    const remedy = { addons: missing.map(({ name }) => addonNames(name)) };
    const sign =
      fabric.symptom === undefined ? '' : `; otherwise ${fabric.symptom.replace(/^without it, /, '')}`;
    const needs = `the addon${missing.length > 1 ? 's' : ''} ${missing.map(({ name }) => name).join(' and ')}`;
    if (fabric.always) {
      return [refuse(`${product} (${fabric.title}) needs ${needs}${sign}`, [fabric], [element], remedy)];
    }
    const message = `on a board with switches (${fabric.title}) ${product} needs ${needs}${sign}`;
    // Where even that there are switches is uncertain, it is worth no more than a note.
    if (fabric.confidence === 'low') return [note(message, [fabric], [element])];
    return [warn(message, [fabric], [element], remedy)];
  });
}

function fabricVersion({ driver }: Candidate, { nvidia, request, context }: Problem): Judgement[] {
  const version = driver?.version;
  if (version === undefined) return [];
  const names = new Set(
    nvidia.flatMap(({ gpu }) =>
      (gpu.fabric?.components ?? [])
        .filter((component) => component.version === 'driver')
        .map(({ name }) => name),
    ),
  );
  return [...names].flatMap((component) => {
    const index = request.addons.findIndex((addon) => addonNames(component).includes(addon));
    const addon = request.addons[index];
    const offered = (context.offers?.addons ?? []).flatMap(({ layer, version: own }) =>
      layer === addon && own !== undefined ? [own] : [],
    );
    if (addon === undefined || offered.length === 0 || offered.includes(version)) return [];
    const message = `${addon} must be ${version} as the driver is; offered: ${offered.join(', ')}`;
    return [
      refuse(message, rowsOfFabric(component, nvidia), [
        { kind: 'addon', index },
        { kind: 'driver-version' },
      ]),
    ];
  });
}

function rowsOfFabric(component: string, nvidia: Problem['nvidia']): Judgement['rows'] {
  const fabric = nvidia.find(({ gpu }) => gpu.fabric?.components.some(({ name }) => name === component))?.gpu
    .fabric;
  return fabric === undefined ? [] : [fabric];
}

function fabricKernelModules(_: Candidate, { nvidia, request, context }: Problem): Judgement[] {
  return nvidia.flatMap(({ element, gpu: { fabric, product } }) =>
    (fabric?.kernelModules ?? []).flatMap((name) => {
      const layer = layerWithout(name, request, context);
      if (fabric === undefined || layer === undefined) return [];
      const message = `${product} (${fabric.title}) needs the kernel module ${name}, which the layer kernel/${layer} lacks`;
      return [refuse(message, [fabric], [{ kind: 'kernel' }, element])];
    }),
  );
}

const TOOLKITS: readonly string[] = ['container-toolkit', 'nvidia-container-toolkit'];

function containerToolkit({ runtime: one }: Candidate, { nvidia, request }: Problem): Judgement[] {
  if (one?.selfContained !== true || nvidia.length === 0) return [];
  if (hasAddon(request, TOOLKITS)) return [];
  const message = `${one.name} runs in a container, which reaches no GPU without the addon container-toolkit`;
  return [refuse(message, [], [{ kind: 'runtime', index: one.index }], { addons: [TOOLKITS] })];
}

function computeStack({ runtime: one }: Candidate, { gpus, index }: Problem): Judgement[] {
  const versions = one?.release?.rocm ?? [];
  if (one === undefined || versions.length === 0) return [];
  return gpus.flatMap(({ element, gpu }) => {
    if (gpu.vendor !== 'amd') return [];
    const stacks = index.facts.computeStacks.filter(
      (stack) => stack.name === 'rocm' && versions.some((version) => stack.version.startsWith(version)),
    );
    const known = stacks.filter(({ architectures }) => architectures !== undefined);
    if (known.length === 0 || known.some(({ architectures }) => architectures?.includes(gpu.architecture)))
      return [];
    const message = `ROCm ${versions.join(' or ')}, which ${one.name} is built for, is not released for ${gpu.product} (${gpu.architecture})`;
    return [refuse(message, known, [{ kind: 'runtime', index: one.index }, element])];
  });
}

/**
 * Conditions that the facts name and a request can show; undefined where it cannot. An issue that hangs on a
 * condition nobody can see is a note.
 */
const CONDITIONS = new Map<string, (problem: Problem) => boolean>([
  ['the kernel has KASLR and HMM', ({ request }) => !request.kernelArguments.includes('nokaslr')],
  ['code is compiled by it', ({ request }) => request.cuda?.toolkit === true],
  [
    'nvidia-container-cli and a cuda-compat package',
    ({ request }) =>
      request.cuda?.compat === true && request.addons.some((addon) => TOOLKITS.includes(addon)),
  ],
  // The rules on CUDA and runtimes judge this one, driver by driver.
  ['CUDA under minor-version compatibility', () => false],
]);

export function isKnownCondition(condition: string): boolean {
  return CONDITIONS.has(condition);
}

function knownIssues(candidate: Candidate, problem: Problem): Judgement[] {
  const { request } = problem;
  return problem.index.facts.nvidia.issues.flatMap((issue) => {
    const { when, moduleOption } = issue;
    if (!holds(issue, candidate, problem)) return [];
    const seen = when.condition === undefined ? true : CONDITIONS.get(when.condition)?.(problem);
    if (seen === false) return [];
    const name =
      moduleOption === undefined ? '' : `${moduleOption.module}.${moduleOption.option}`.replaceAll('-', '_');
    if (moduleOption !== undefined && problem.moduleOptions.get(name) === moduleOption.value) return [];
    const addon = request.addons.indexOf(when.addon ?? '');
    const gpu = when.gpus === undefined ? undefined : meant(problem, when.gpus)?.element;
    const about = [
      ...(gpu === undefined ? [] : [gpu]),
      ...(addon < 0 ? [] : [{ kind: 'addon', index: addon } as const]),
      ...(when.cuda === undefined ? [] : [{ kind: 'cuda' } as const]),
      { kind: 'driver' } as const,
    ];
    const message = `${issue.message}; ${issue.advice}`;
    if (seen === undefined) return [note(`${message} (where ${when.condition ?? ''})`, [issue], about)];
    if (moduleOption === undefined) return [warn(message, [issue], about)];
    return [warn(message, [issue], about, { kernelArgument: `${name}=${moduleOption.value}` })];
  });
}

/** Every condition on versions must hold. */
function holds({ when }: KnownIssue, { driver, kernel, cuda }: Candidate, problem: Problem): boolean {
  if (driver?.vendor !== 'nvidia') return false;
  if (
    when.driver !== undefined &&
    (driver.version === undefined || !rangeAdmits(when.driver, driver.version))
  )
    return false;
  if (when.cuda !== undefined && (cuda === undefined || !rangeAdmits(when.cuda, cuda.version))) return false;
  if (when.kernel !== undefined && (kernel === undefined || !rangeAdmits(when.kernel, kernel.version)))
    return false;
  if (when.gpus !== undefined && meant(problem, when.gpus) === undefined) return false;
  if (when.distribution !== undefined && !isOf(problem.request.distribution, when.distribution)) return false;
  if (when.mig === true && !problem.request.mig.some(({ profile }) => profile !== '')) return false;
  return when.addon === undefined || problem.request.addons.includes(when.addon);
}
