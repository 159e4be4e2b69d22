/** Changes to a request that might make it fit: what to write, and the request as it would be then. */
import { runtimeRelease } from '../../catalog/facts/lookup.ts';
import { branchOf, compareVersions, isSoftwareVersion, seriesOf } from '../../catalog/facts/versions.ts';
import type { Conflict } from './conflict.ts';
import { rankOf } from './driver-candidates.ts';
import { poseProblem, type Problem } from './problem.ts';
import type { DriverAsk, Element, FitContext, FitRequest, RuntimeAsk } from './request.ts';
import type { Remedy, RuledJudgement } from './rule.ts';

export interface Change {
  /** What to write, as in `driver: nvidia@580`. */
  readonly text: string;
  /** Changes of one kind are alternatives; the first that is accepted is shown. */
  readonly kind: string;
  /** The least that is changed comes first. */
  readonly cost: number;
  readonly elements: readonly Element[];
  readonly apply: (request: FitRequest) => FitRequest;
}

const COST = {
  name: 0,
  add: 1,
  modules: 2,
  version: 3,
  compat: 4,
  cuda: 5,
  runtime: 6,
  kernel: 7,
  other: 8,
  leave: 9,
};

/** From this cost on something is given up. */
export const LAST_RESORT = COST.leave;

/** Everything worth trying against a conflict, the nearest first. */
export function changesFor(
  { elements, judgements, gap }: Conflict,
  request: FitRequest,
  context: FitContext,
): Change[] {
  const problem = poseProblem(request, context);
  const changes = [
    ...(gap === undefined ? [] : gap.near.flatMap((name) => rename(gap.about[0], name, request))),
    ...judgements.flatMap((judgement) => remedies(judgement, problem)),
    ...elements.flatMap((element) => replacements(element, problem)),
  ];
  return changes
    .map((change, order) => ({ change, order }))
    .sort((a, b) => a.change.cost - b.change.cost || a.order - b.order)
    .map(({ change }) => change);
}

function change(
  kind: keyof typeof COST,
  text: string,
  elements: readonly Element[],
  apply: Change['apply'],
  variety = '',
): Change {
  return { kind: `${kind} ${variety}`, cost: COST[kind], text, elements, apply };
}

function rename(element: Element | undefined, name: string, request: FitRequest): Change[] {
  switch (element?.kind) {
    case 'gpu':
      return [
        change(
          'name',
          `gpus: ${name} for ${request.gpus[element.index] ?? ''}`,
          [element],
          withGpu(element.index, name),
          name,
        ),
      ];
    case 'runtime': {
      const asked = request.runtimes[element.index];
      if (asked === undefined) return [];
      const next = isSoftwareVersion(name) ? { ...asked, version: name } : { ...asked, use: name };
      return [
        change(
          'name',
          `runtimes: ${nameOfRuntime(next)} for ${nameOfRuntime(asked)}`,
          [element],
          withRuntime(element.index, next),
          name,
        ),
      ];
    }
    case 'driver':
      return [change('name', `driver: ${name}`, [element], withDriver({ use: name }), name)];
    case 'driver-version':
      return [driverVersion(request, name)];
    case 'cuda':
      return [cudaVersion(name)];
    case undefined:
    case 'addon':
    case 'mig':
    case 'architecture':
    case 'kernel':
    case 'modules':
      return [];
  }
}

/** What the judgement itself says would avoid it. */
export function remedies({ remedy, about }: RuledJudgement, { request, context }: Problem): Change[] {
  if (remedy === undefined) return [];
  if ('addons' in remedy) {
    const names = remedy.addons.map((known) => nameInCatalogue(known, context));
    if (names.includes(undefined)) return [];
    const added = names.flatMap((name) => name ?? []).filter((name) => !request.addons.includes(name));
    return [
      change('add', `addons: add ${added.join(' and ')}`, about, (one) => ({
        ...one,
        addons: [...one.addons, ...added],
      })),
    ];
  }
  return otherRemedies(remedy, about, request);
}

function otherRemedies(remedy: Remedy, about: readonly Element[], request: FitRequest): Change[] {
  if ('kernelArgument' in remedy) {
    const { kernelArgument } = remedy;
    const text = `kernelArguments: add ${kernelArgument}`;
    return [
      change('add', text, about, (one) => ({
        ...one,
        kernelArguments: [...one.kernelArguments, kernelArgument],
      })),
    ];
  }
  if ('compat' in remedy) {
    const version = request.cuda?.version ?? remedy.compat;
    const apply: Change['apply'] = (one) => ({ ...one, cuda: { ...one.cuda, version, compat: true } });
    return [change('compat', `cuda: {version: "${version}", compat: true}`, about, apply)];
  }
  if ('successors' in remedy) {
    const element = about.find((one) => one.kind === 'runtime');
    if (element?.kind !== 'runtime') return [];
    const asked = request.runtimes[element.index]?.use ?? '';
    return remedy.successors
      .filter((name) => !request.runtimes.some(({ use }) => use === name))
      .map((name) =>
        change(
          'runtime',
          `runtimes: ${name} for ${asked}`,
          [element],
          withRuntime(element.index, { use: name }),
          name,
        ),
      );
  }
  return [];
}

/** Undefined when the catalogue is known and has it under none of its names. */
function nameInCatalogue(names: readonly string[], { offers }: FitContext): string | undefined {
  const { addons } = offers ?? {};
  return addons === undefined ? names[0] : names.find((name) => addons.some(({ layer }) => layer === name));
}

function replacements(element: Element, problem: Problem): Change[] {
  const { request } = problem;
  switch (element.kind) {
    case 'driver':
    case 'driver-version':
      return driverChanges(problem, element);
    case 'modules':
      return [change('modules', 'driver: {modules: auto}', [element], withDriver({ modules: 'auto' }))];
    case 'cuda':
      return cudaChanges(problem);
    case 'kernel':
      return kernelChanges(problem);
    case 'runtime':
      return runtimeChanges(problem, element.index);
    case 'architecture':
      return (['amd64', 'arm64'] as const)
        .filter((one) => one !== request.architecture)
        .map((one) => change('other', `arch: ${one}`, [element], (old) => ({ ...old, architecture: one })));
    case 'gpu': {
      const name = request.gpus[element.index] ?? '';
      return [change('leave', `gpus: without ${name}`, [element], withGpu(element.index, ''), name)];
    }
    case 'addon': {
      const name = request.addons[element.index] ?? '';
      const apply: Change['apply'] = (one) => ({ ...one, addons: one.addons.with(element.index, '') });
      return [change('leave', `addons: without ${name}`, [element], apply, name)];
    }
    case 'mig': {
      const profiles = new Set(problem.nvidia.flatMap(({ gpu }) => gpu.mig ?? []));
      return [...profiles].map((profile) =>
        change('other', `mig: ${profile}`, [element], (one) => ({
          ...one,
          mig: one.mig.with(element.index, profile),
        })),
      );
    }
  }
}

/** Where a driver's age is the limit: the branches that somebody still mends. */
export function newerDrivers({ rule, about }: RuledJudgement, problem: Problem): Change[] {
  const isOfAge =
    rule.id === 'driver-end-of-life' || rule.id === 'cuda-driver' || rule.id === 'runtime-driver';
  const element = about.find(({ kind }) => kind === 'driver-version');
  if (!isOfAge || element === undefined || problem.request.driver?.version === undefined) return [];
  return driverChanges(problem, element).slice(0, MAX_BRANCHES);
}

const MAX_BRANCHES = 4;

/** Supported branches first, the newest of them first; then, for old hardware, those that are not. */
function driverChanges({ request, context, index }: Problem, element: Element): Change[] {
  if (request.driver === undefined) return [];
  const { use, version } = request.driver;
  const changes: Change[] = [];
  if (version !== undefined) {
    const versions =
      context.offers?.drivers?.flatMap((offer) => offer.version ?? []) ??
      index.drivers.map((one) => one.version);
    const branches = [...new Set(versions.map(branchOf))].map(
      (number) => index.facts.nvidia.branches.get(number) ?? { branch: number },
    );
    const tier = (branch: (typeof branches)[number]): number =>
      rankOf('status' in branch ? branch : undefined, context.now);
    branches.sort((a, b) => tier(a) - tier(b) || b.branch - a.branch);
    changes.push(...branches.map(({ branch }) => driverVersion(request, String(branch))));
  }
  if (element.kind === 'driver' && version === undefined) {
    // What `auto` passes over: branches that are past their end of life.
    const old = index.drivers.map((one) => branchOf(one.version));
    changes.push(...[...new Set(old)].map((branch) => driverVersion(request, String(branch))));
  }
  if (use !== 'auto')
    changes.push(change('other', 'driver: auto', [element], withDriver({ use: 'auto' }, ['version'])));
  return changes;
}

function driverVersion(request: FitRequest, version: string): Change {
  const { use = 'nvidia', modules = 'auto' } = request.driver ?? {};
  const name = use === 'auto' || use === 'any' ? 'nvidia' : use;
  const text =
    modules === 'auto'
      ? `driver: ${name}@${version}`
      : `driver: {use: ${name}, version: "${version}", modules: ${modules}}`;
  return change('version', text, [{ kind: 'driver-version' }], withDriver({ use: name, version }));
}

/** The nearest series first, newer before older. */
function cudaChanges({ request, context, index }: Problem): Change[] {
  const asked = request.cuda?.version;
  const versions =
    context.offers?.cuda?.map(({ version }) => version) ?? index.cudaSeries.map(({ version }) => version);
  const series = [...new Set(versions.map(seriesOf))].sort((a, b) => compareVersions(b, a));
  const place =
    asked === undefined
      ? 0
      : series.findIndex(
          (one) => asked === one || asked.startsWith(`${one}.`) || one.startsWith(`${asked}.`),
        );
  const nearest = series
    .map((one, position) => ({ one, distance: Math.abs(position - Math.max(place, 0)) }))
    .sort((a, b) => a.distance - b.distance)
    .map(({ one }) => one);
  const changes = nearest.filter((one) => one !== asked).map(cudaVersion);
  if (request.cuda !== undefined) {
    changes.push(
      change('leave', 'cuda: leave it out', [{ kind: 'cuda' }], (one) => {
        const { cuda: _gone, ...rest } = one;
        return rest;
      }),
    );
  }
  return changes;
}

function cudaVersion(version: string): Change {
  const apply: Change['apply'] = (one) => ({ ...one, cuda: { compat: false, ...one.cuda, version } });
  return change('cuda', `cuda: "${version}"`, [{ kind: 'cuda' }], apply);
}

function kernelChanges({ request, context, index }: Problem): Change[] {
  const asked = request.kernel?.version;
  if (asked === undefined) return [];
  const known =
    context.offers?.kernels?.map(({ version }) => version) ??
    [...index.facts.nvidia.releases.values()].flatMap(({ kernel }) => kernel ?? []);
  const series = [...new Set(known.map(seriesOf))].sort((a, b) => compareVersions(b, a));
  const apply =
    (version: string): Change['apply'] =>
    (one) => ({ ...one, kernel: { ...one.kernel, version } });
  return series
    .filter((one) => one !== asked)
    .map((one) => change('kernel', `kernel: {version: "${one}"}`, [{ kind: 'kernel' }], apply(one)));
}

/** The nearest releases first; then any; then none. */
function runtimeChanges({ request, context, index }: Problem, position: number): Change[] {
  const asked = request.runtimes[position];
  if (asked === undefined) return [];
  const element: Element = { kind: 'runtime', index: position };
  const runtime = index.runtimes.get(asked.use);
  const offers = context.offers?.runtimes?.filter(
    ({ layer, runtime: name }) => layer === asked.use || name === runtime?.name,
  );
  const versions = (offers ?? runtime?.releases ?? []).map(({ version }) => version);
  const newest = [...new Set(versions)].sort((a, b) => compareVersions(b, a));
  const now =
    asked.version !== undefined && isSoftwareVersion(asked.version) && runtime !== undefined
      ? runtimeRelease(runtime, asked.version)?.release
      : undefined;
  const place = now === undefined ? 0 : Math.max(newest.indexOf(now.version), 0);
  const nearest = newest
    .map((version, order) => ({ version, distance: Math.abs(order - place) }))
    .sort((a, b) => a.distance - b.distance)
    .map(({ version }) => version);
  const name = nameOfRuntime(asked);
  const other = request.cuda === undefined ? (now?.alsoCuda ?? []) : [];
  const to = (next: RuntimeAsk): Change =>
    change(
      'runtime',
      `runtimes: ${nameOfRuntime(next)}${next.use === asked.use ? '' : ` for ${name}`}`,
      [element],
      withRuntime(position, next),
      asked.use,
    );
  return [
    ...other.map(cudaVersion),
    ...nearest
      .filter((version) => version !== asked.version && asked.version !== undefined)
      .map((version) => to({ ...asked, version })),
    change('leave', `runtimes: without ${name}`, [element], withRuntime(position, { use: '' }), name),
  ];
}

function nameOfRuntime({ use, version }: RuntimeAsk): string {
  return version === undefined ? use : `${use}@${version}`;
}

function withGpu(index: number, name: string): Change['apply'] {
  return (one) => ({ ...one, gpus: one.gpus.with(index, name) });
}

function withRuntime(index: number, next: RuntimeAsk): Change['apply'] {
  return (one) => ({ ...one, runtimes: one.runtimes.with(index, next) });
}

function withDriver(next: Partial<DriverAsk>, gone: readonly (keyof DriverAsk)[] = []): Change['apply'] {
  return (one) => {
    const old: DriverAsk = one.driver ?? { use: 'nvidia', modules: 'auto' };
    const kept = Object.fromEntries(
      Object.entries(old).filter(([key]) => !gone.some((left) => left === key)),
    );
    return { ...one, driver: { use: old.use, modules: old.modules, ...kept, ...next } };
  };
}
