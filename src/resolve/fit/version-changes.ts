/** Other versions of driver, CUDA, kernel and runtimes that might fit, the nearest first. */
import { runtimeRelease } from '../../catalog/facts/lookup.ts';
import { branchOf, compareVersions, isSoftwareVersion, seriesOf } from '../../catalog/facts/versions.ts';
import { change, nameOfRuntime, withDriver, withRuntime, type Change } from './change.ts';
import { rankOf } from './driver-candidates.ts';
import type { Problem } from './problem.ts';
import type { Element, FitContext, FitRequest, RuntimeAsk } from './request.ts';
import type { RuledJudgement } from './rule.ts';

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
export function driverChanges({ request, context, index }: Problem, element: Element): Change[] {
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

export function driverVersion(request: FitRequest, version: string): Change {
  const { use = 'nvidia', modules = 'auto' } = request.driver ?? {};
  const name = use === 'auto' || use === 'any' ? 'nvidia' : use;
  const text =
    modules === 'auto'
      ? `driver: ${name}@${version}`
      : `driver: {use: ${name}, version: "${version}", modules: ${modules}}`;
  return change('version', text, [{ kind: 'driver-version' }], withDriver({ use: name, version }));
}

/** The nearest series first, newer before older. */
export function cudaChanges({ request, context, index }: Problem): Change[] {
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

export function cudaVersion(version: string): Change {
  const apply: Change['apply'] = (one) => ({ ...one, cuda: { compat: false, ...one.cuda, version } });
  return change('cuda', `cuda: "${version}"`, [{ kind: 'cuda' }], apply);
}

export function kernelChanges({ request, context, index }: Problem): Change[] {
  const { flavour, version: asked } = request.kernel ?? {};
  const layers = (context.offers?.kernelLayers ?? [])
    .filter(({ layer }) => flavour !== undefined && layer !== flavour && isOffered(layer, context))
    .map(({ layer }) =>
      change(
        'kernel',
        asked === undefined ? `kernel: ${layer}` : `kernel: {flavour: ${layer}, version: "${asked}"}`,
        [{ kind: 'kernel' }],
        (one) => ({ ...one, kernel: { ...one.kernel, flavour: layer } }),
        'flavour',
      ),
    );
  if (asked === undefined) return layers;
  const known =
    context.offers?.kernels
      ?.filter(({ layer }) => flavour === undefined || layer === flavour)
      .map(({ version }) => version) ??
    [...index.facts.nvidia.releases.values()].flatMap(({ kernel }) => kernel ?? []);
  const series = [...new Set(known.map(seriesOf))].sort((a, b) => compareVersions(b, a));
  const apply =
    (version: string): Change['apply'] =>
    (one) => ({ ...one, kernel: { ...one.kernel, version } });
  const versions = series
    .filter((one) => one !== asked)
    .map((one) => change('kernel', `kernel: {version: "${one}"}`, [{ kind: 'kernel' }], apply(one)));
  return [...versions, ...layers];
}

/** Whether a kernel layer has kernels, where they were looked at. */
function isOffered(layer: string, { offers }: FitContext): boolean {
  return offers?.kernels?.some((offer) => offer.layer === layer) !== false;
}

/** The nearest releases first; then any; then none. */
export function runtimeChanges({ request, context, index }: Problem, position: number): Change[] {
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
