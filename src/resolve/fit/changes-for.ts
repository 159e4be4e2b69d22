/** Everything worth trying against a conflict, the nearest first. */
import { isSoftwareVersion } from '../../catalog/facts/versions.ts';
import { change, nameOfRuntime, withDriver, withGpu, withMig, withRuntime, type Change } from './change.ts';
import type { Conflict } from './conflict.ts';
import { poseProblem, type Problem } from './problem.ts';
import type { Element, FitContext, FitRequest } from './request.ts';
import type { Remedy, RuledJudgement } from './rule.ts';
import {
  cudaChanges,
  cudaVersion,
  driverChanges,
  driverVersion,
  kernelChanges,
  runtimeChanges,
} from './version-changes.ts';

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
  if ('feature' in remedy) return featureChanges(remedy, about, request);
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

function featureChanges(
  { feature, near }: Extract<Remedy, { readonly feature: string }>,
  about: readonly Element[],
  request: FitRequest,
): Change[] {
  const element = about.find((one) => one.kind === 'runtime');
  const asked = element?.kind === 'runtime' ? request.runtimes[element.index] : undefined;
  if (element?.kind !== 'runtime' || asked?.features === undefined) return [];
  const others = asked.features.filter((one) => one !== feature);
  const of = `features of ${nameOfRuntime(asked)}`;
  return [
    ...near.map((name) => {
      const next = { ...asked, features: [...others, name] };
      return change(
        'name',
        `${of}: ${name} for ${feature}`,
        [element],
        withRuntime(element.index, next),
        name,
      );
    }),
    change(
      'leave',
      `${of}: without ${feature}`,
      [element],
      withRuntime(element.index, { ...asked, features: others }),
      feature,
    ),
  ];
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
    case 'mig':
      return migChanges(element.index, problem);
  }
}

/** The profile of the same share first; then fewer of them; then none. */
function migChanges(index: number, { request, gpus }: Problem): Change[] {
  const asked = request.mig[index];
  if (asked === undefined) return [];
  const element: Element = { kind: 'mig', index };
  const { profile, count } = asked;
  const of = `mig of ${request.gpus[asked.gpu] ?? ''}`;
  const own = gpus.filter((one) => one.element.index === asked.gpu).map(({ gpu }) => gpu);
  const known = new Set(own.flatMap((gpu) => (gpu.vendor === 'nvidia' ? (gpu.mig ?? []) : [])));
  const shared = [...known].filter((name) =>
    own.every((gpu) => gpu.vendor === 'nvidia' && gpu.mig?.includes(name) === true),
  );
  const isShare = (name: string): number => Number(name.split('.', 1)[0] !== profile.split('.', 1)[0]);
  const others = known.has(profile) ? [] : shared.toSorted((a, b) => isShare(a) - isShare(b));
  const fewer = Array.from({ length: count - 1 }, (_, less) => count - 1 - less);
  return [
    ...others.map((name) =>
      change('other', `${of}: ${name} for ${profile}`, [element], withMig(index, { profile: name })),
    ),
    ...fewer.map((less) =>
      change('other', `${of}: {${profile}: ${less}}`, [element], withMig(index, { count: less }), profile),
    ),
    change('leave', `${of}: without ${profile}`, [element], withMig(index, { profile: '' }), profile),
  ];
}
