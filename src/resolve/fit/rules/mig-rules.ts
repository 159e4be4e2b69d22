/** What it takes to split GPUs by MIG, and into what. */
import type { Gpu } from '../../../catalog/facts/types.ts';
import { rangeAdmits } from '../../../catalog/facts/versions.ts';
import type { AskedGpu, Problem } from '../problem.ts';
import type { Element } from '../request.ts';
import { refuse, refuseSurely, warn, type Candidate, type Judgement, type Rule } from '../rule.ts';
import { meant } from './gpu-rules.ts';

export const MIG_RULES: readonly Rule[] = [
  {
    id: 'mig-profile',
    statement: 'The names of MIG profiles depend on the device.',
    stage: 'host',
    judge: migProfile,
  },
  {
    id: 'mig-slices',
    statement: 'The MIG devices of a GPU share its slices of compute and of memory.',
    stage: 'host',
    judge: migSlices,
  },
  {
    id: 'mig-driver',
    statement: 'MIG needs a later driver on some products than they themselves do.',
    stage: 'driver',
    judge: migDriver,
  },
];

/** The profiles of a GPU; undefined for one that cannot be split, empty where they are not known. */
function profilesOf(gpu: Gpu): readonly string[] | undefined {
  return gpu.vendor === 'nvidia' ? gpu.mig : undefined;
}

function splits(
  { request }: Problem,
  { element }: AskedGpu,
): { ask: string; count: number; index: number }[] {
  return request.mig.flatMap(({ gpu, profile, count }, index) =>
    gpu === element.index && profile !== '' ? [{ ask: profile, count, index }] : [],
  );
}

function migProfile(_: Candidate, problem: Problem): Judgement[] {
  return problem.gpus.flatMap((asked) =>
    splits(problem, asked).flatMap(({ ask, index }) => {
      const { gpu, element } = asked;
      const about: readonly Element[] = [{ kind: 'mig', index }, element];
      const profiles = profilesOf(gpu);
      if (profiles === undefined) return [refuseSurely(`${gpu.product} has no MIG`, [gpu], about)];
      if (profiles.includes(ask)) return [];
      if (profiles.length === 0)
        return [warn(`which MIG profiles ${gpu.product} has is not known`, [gpu], about)];
      return [refuse(`${gpu.product} has no MIG profile ${ask}, but ${profiles.join(', ')}`, [gpu], about)];
    }),
  );
}

/** `3g.40gb`: slices of compute, and GiB of memory. */
function sizeOf(profile: string): { readonly compute: number; readonly memory: number } {
  const [, compute = '0', memory = '0'] = /^(\d+)g\.(\d+)gb$/.exec(profile) ?? [];
  return { compute: Number(compute), memory: Number(memory) };
}

/** Of memory, however many of compute: the names of profiles round it to GiB. */
const MEMORY_SLICES = 8;

/**
 * The largest profile is the whole GPU. What fits by its slices may still not fit by where on the chip each profile
 * can lie, which the facts do not hold: only what cannot be is refused.
 */
function migSlices(_: Candidate, problem: Problem): Judgement[] {
  if (problem.request.mig.length === 0) return [];
  return problem.gpus.flatMap((asked) => {
    const profiles = profilesOf(asked.gpu) ?? [];
    const parts = splits(problem, asked).filter(({ ask }) => profiles.includes(ask));
    const [whole] = profiles.toSorted((a, b) => sizeOf(b).compute - sizeOf(a).compute);
    if (whole === undefined || parts.length === 0) return [];
    const all = sizeOf(whole);
    const sum = (size: (profile: string) => number): number =>
      parts.reduce((total, { ask, count }) => total + count * size(ask), 0);
    const compute = sum((profile) => sizeOf(profile).compute);
    const memory = sum((profile) => Math.round((sizeOf(profile).memory / all.memory) * MEMORY_SLICES));
    const about: readonly Element[] = [
      ...parts.map(({ index }) => ({ kind: 'mig', index }) as const),
      asked.element,
    ];
    const { product } = asked.gpu;
    if (compute > all.compute) {
      const message = `the MIG devices take ${compute} slices of compute, and ${product} has ${all.compute} (${whole})`;
      return [refuse(message, [asked.gpu], about)];
    }
    if (memory <= MEMORY_SLICES) return [];
    const message = `the MIG devices take ${memory} eighths of the memory of ${product} (${whole})`;
    return [refuse(message, [asked.gpu], about)];
  });
}

function migDriver({ driver }: Candidate, problem: Problem): Judgement[] {
  const version = driver?.version;
  if (version === undefined || problem.request.mig.length === 0) return [];
  const split = problem.gpus.filter((asked) => splits(problem, asked).length > 0);
  return problem.index.facts.nvidia.floors.flatMap((floor) => {
    if (floor.mig !== true || floor.driver === undefined || rangeAdmits(floor.driver, version)) return [];
    const gpu = meant({ gpus: split }, floor.gpus);
    const [part] = gpu === undefined ? [] : splits(problem, gpu);
    if (gpu === undefined || part === undefined) return [];
    const message = `MIG on ${floor.product} needs driver ${floor.driver.text}, not ${version}`;
    return [
      refuse(message, [floor], [{ kind: 'mig', index: part.index }, gpu.element, { kind: 'driver-version' }]),
    ];
  });
}
