/** What else was possible. Every alternative is judged, none is guessed. */
import { branchOf, compareVersions, seriesOf, type FactVersion } from '../../catalog/facts/versions.ts';
import { indexFacts } from './facts-index.ts';
import { withRuntime } from './change.ts';
import { judgeFit, type Fit, type Verdict } from './fit.ts';
import type { FitContext, FitRequest } from './request.ts';
import { kernelsOn } from './kernel-candidates.ts';
import type { KernelCandidate, RuntimeCandidate } from './rule.ts';

export interface Alternative {
  readonly value: string;
  readonly verdict: Verdict;
  /** What speaks against it and not against the choice too. */
  readonly reasons: readonly string[];
}

/** More would not be read. */
const MAX_ALTERNATIVES = 12;

export function otherDrivers({ request, chosen }: Fit, context: FitContext): [string, FitRequest][] {
  const version = chosen?.driver?.version;
  const versions =
    context.offers?.drivers?.flatMap((offer) => offer.version ?? []) ??
    indexFacts(context.facts).drivers.map((release) => release.version);
  const branches = [...new Set(versions.map(branchOf))].sort((a, b) => b - a);
  const { use = 'nvidia', modules = 'auto' } = request.driver ?? {};
  return branches
    .filter((branch) => version === undefined || branch !== branchOf(version))
    .map((branch) => [`R${branch}`, { ...request, driver: { use, modules, version: String(branch) } }]);
}

export function otherModules({ request, chosen }: Fit): [string, FitRequest][] {
  const { version, flavour } = chosen?.driver ?? {};
  return (['open', 'proprietary'] as const)
    .filter((modules) => modules !== flavour)
    .map((modules) => {
      const driver = { use: 'auto', ...request.driver, modules, ...(version !== undefined && { version }) };
      return [modules, { ...request, driver }];
    });
}

export function otherKernels({ request, chosen }: Fit, { offers }: FitContext): [string, FitRequest][] {
  const { flavour } = request.kernel ?? {};
  const others = kernelsOn(offers?.kernels ?? [], flavour === undefined ? {} : { flavour });
  const own = chosen?.kernel === undefined ? undefined : nameOfKernel(chosen.kernel);
  return [...new Set(others.map(nameOfKernel))]
    .filter((version) => version !== own)
    .map((version) => [version, { ...request, kernel: { ...request.kernel, version } }]);
}

/** As a declaration can ask for it: one upstream release may have several builds. */
export function nameOfKernel({ version, image }: KernelCandidate): string {
  return image?.version ?? version;
}

export function otherCudas({ request, chosen }: Fit, { facts, offers }: FitContext): [string, FitRequest][] {
  const versions =
    offers?.cuda?.map(({ version }) => version) ?? indexFacts(facts).cudaSeries.map(({ version }) => version);
  const own = chosen?.cuda === undefined ? undefined : seriesOf(chosen.cuda.version);
  return newestFirst(versions.map(seriesOf))
    .filter((series) => series !== own)
    .map((version) => [version, { ...request, cuda: { compat: false, ...request.cuda, version } }]);
}

export function otherReleases(
  { index, name, version: own, runtime }: RuntimeCandidate,
  { request }: Fit,
  { offers }: FitContext,
): [string, FitRequest][] {
  const use = request.runtimes[index]?.use ?? name;
  const versions =
    offers?.runtimes?.flatMap((offer) =>
      offer.layer === use || offer.runtime === name ? [offer.version] : [],
    ) ?? (runtime?.releases ?? []).map((release) => release.version);
  return newestFirst(versions)
    .filter((version) => version !== own)
    .map((version) => [version, withRuntime(index, { use, version })(request)]);
}

function newestFirst<V extends FactVersion>(versions: readonly V[]): V[] {
  return [...new Set(versions)].sort((a, b) => compareVersions(b, a));
}

export function judgeAlternatives(
  others: readonly [string, FitRequest][],
  base: Fit,
  context: FitContext,
): readonly Alternative[] {
  const known = new Set(base.findings.map(({ message }) => message));
  return others.slice(0, MAX_ALTERNATIVES).map(([value, request]) => {
    const { verdict, findings } = judgeFit(request, context);
    const own = findings.map(({ message }) => message).filter((message) => !known.has(message));
    return { value, verdict, reasons: [...new Set(own)] };
  });
}
