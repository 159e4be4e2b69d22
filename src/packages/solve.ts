/**
 * One apt solution for everything an image installs: exact versions, with the hash and size of each file.
 *
 * apt solves for an empty root, so that the answer depends on the indexes and the request alone. The answer is
 * recorded under both, since apt takes seconds to give it again.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { digestOf, digestOfJson, hexOf, type Digest } from '../digest.ts';
import { FindingsError, IngotError, type Finding, type Location } from '../errors.ts';
import type { Reporter } from '../report/events.ts';
import { nearest } from '../spec/suggest.ts';
import type { UnmetDependency } from '../tools/apt-failures.ts';
import { renderBarred, renderPins, solveInstall, type SolvedVersion } from '../tools/apt.ts';
import { hasVersionPrefix, isDebVersion } from './deb-version.ts';
import type { Indexes } from './indexes.ts';
import { kernelImages } from './kernels.ts';
import { keyFingerprints } from './keyring.ts';
import type { LockedPackage } from './package.ts';
import { distributionPins, exactDependencies, sameRelease } from './pins.ts';
import { openIndex, stampOf } from './read-indexes.ts';
import { Solution, type SolvedPackage } from './solution.ts';
import type { PackageIndex } from './package-index.ts';

/** A package that somebody asked for. */
export interface PackageRequest {
  readonly name: string;
  /** Exactly this version. */
  readonly version?: string;
  /** A version that begins with this one, such as `6.12`. */
  readonly series?: string;
  /** True when who asks brings a repository of a vendor's, and may mean what is there. */
  readonly isVendors?: true;
  /** True for a version that may be of another release's archives. */
  readonly isForeign?: true;
  /** Who asks, for messages: `packages`, `layer ssh`. */
  readonly by: string;
  readonly location?: Location;
}

export interface SolveRequest {
  readonly wanted: readonly PackageRequest[];
  /** Versions to stay with where they still exist and fit. */
  readonly keep: readonly SolvedVersion[];
  /** Packages to find and not to install: sources of kernel modules. */
  readonly sources?: readonly PackageRequest[];
  /** dpkg's status of the root that they are added to. Default: an empty root. */
  readonly installed?: string;
}

/** Raised when the recorded form or the way of solving changes. */
const RECORD_VERSION = 4;
const MAX_RELAXATIONS = 12;

/** `name`, or `name=version`. */
export function parsePackageTerm(term: string): { readonly name: string; readonly version?: string } {
  const [name = '', version] = term.split('=', 2);
  return { name, ...(version !== undefined && version !== '' && { version }) };
}

/**
 * Solves for the essential packages and everything wanted.
 *
 * @throws FindingsError PACKAGE_UNKNOWN with all unknown names at once; IngotError PACKAGES_CONFLICT
 */
export async function solvePackages(
  indexes: Indexes,
  request: SolveRequest,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<Solution> {
  // While the indexes are being moved forward it is the stamp of no moment, and nothing is recorded under it.
  const recorded = await readSolution(indexes, keyOf(indexes, request, await stampOf(indexes)));
  if (recorded !== undefined) return recorded;
  await using opened = await openIndex(indexes, reporter, signal);
  const { index, stamp } = opened;
  const keep = [...request.keep].sort(byName);
  const { wanted, sources = [] } = request;
  requireAll(index, [...wanted, ...sources], indexes.release.suite);
  const terms = chooseTerms(index, wanted);
  const chosen = await solve(indexes, index, wanted, terms, keep, reporter, signal, request.installed);
  const solution: Solution = {
    suite: indexes.release.suite,
    archives: indexes.release.archives.map(({ name, suites, components, url, keys }) => ({
      name,
      suites: [...suites],
      components: [...components],
      ...(url !== undefined && { url }),
      ...(keys !== undefined && { keys: keyFingerprints(Buffer.from(keys)) }),
    })),
    packages: chosen.map((item) => describePackage(index, item)).sort(byPackageName),
    ...(sources.length > 0 && {
      sources: sources.map((source) => describeSource(index, source, keep)),
    }),
  };
  await indexes.store.writeRecord('solution', keyOf(indexes, request, stamp), solution);
  return solution;
}

async function readSolution({ store }: Indexes, key: string): Promise<Solution | undefined> {
  return Solution.safeParse(await store.readRecord('solution', key)).data;
}

function keyOf({ release, architecture }: Indexes, request: SolveRequest, stamp: Digest): string {
  const bare = ({ name, version, series, isVendors, isForeign }: PackageRequest): unknown => ({
    name,
    version,
    series,
    isVendors,
    isForeign,
  });
  const { wanted, sources, keep, installed } = request;
  return hexOf(
    digestOfJson({
      version: RECORD_VERSION,
      stamp,
      wanted: wanted.map(bare),
      sources: sources?.map(bare),
      keep: [...keep].sort(byName),
      ...(installed !== undefined && { installed: digestOf(installed) }),
      release,
      architecture,
    }),
  );
}

/** Asks apt, letting go of versions that stand in the way, first those that apt complains about. */
async function solve(
  indexes: Indexes,
  index: PackageIndex,
  wanted: readonly PackageRequest[],
  terms: ReadonlyMap<string, string>,
  keep: readonly SolvedVersion[],
  reporter: Reporter,
  signal: AbortSignal | undefined,
  installed: string | undefined,
): Promise<readonly SolvedVersion[]> {
  // Not apt's `?essential`: that counts apt itself in, which an image has no use for.
  const isEmpty = installed === undefined;
  const essential = isEmpty ? index.essentialNames().filter((name) => !terms.has(name)) : [];
  const series = new Map(wanted.map((request) => [request.name, request.series]));
  const kept = keep.filter(({ name, version }) => {
    const within = series.get(name);
    const isFree = within === undefined ? !terms.get(name)?.includes('=') : isOfSeries(version, within);
    return isFree && index.has(name, version);
  });
  const distribution = distributionPins(index, vendorsOf(indexes), vendorRequests(wanted));
  const barred = renderBarred(
    indexes.release.archives.flatMap(({ suites, foreign }) => (foreign === true ? suites : [])),
  );
  const loose = new Set<string>();
  await using scratch = await indexes.store.scratch('solve');
  const preferences = join(scratch.path, 'preferences');
  const status = isEmpty ? undefined : join(scratch.path, 'status');
  if (status !== undefined) await writeFile(status, installed ?? '');
  for (let round = 0; ; round += 1) {
    const pins = onePerName([...kept, ...distribution]).filter(({ name }) => !loose.has(name));
    const held = new Map(pins.map(({ name, version }) => [name, `${name}=${version}`]));
    // Within a series apt is told the version itself: a pin alone would let it leave the series.
    const chosen = [...terms].map(([name, term]) =>
      series.get(name) === undefined ? term : (held.get(name) ?? term),
    );
    const versioned = chosen.flatMap((term) => versionIn(term));
    const newest = chosen.flatMap((name) =>
      versionIn(held.get(name) ?? `${name}=${index.versions(name)[0] ?? ''}`),
    );
    const exact = exactDependencies(index, onePerName([...versioned, ...newest]));
    const firm = new Set([...exact, ...versioned].map(({ name }) => name));
    const free = onePerName([...sameRelease(index, versioned), ...pins]).filter(
      ({ name }) => !firm.has(name) && !loose.has(name),
    );
    await writeFile(preferences, [barred, renderPins([...exact, ...free])].join('\n'));
    const asked = [...essential, ...new Set(chosen)];
    const result = await solveInstall(indexes.folder, asked, { preferences, status }, { signal });
    if ('packages' in result) return result.packages;
    if (free.length === 0)
      throw describeConflict(wanted, result.unmet, result.messages, indexes.release.suite);
    const named = namesIn(result.unmet);
    const blamed = free.filter(({ name }) => named.has(name));
    for (const { name } of blamed.length === 0 || round >= MAX_RELAXATIONS ? free : blamed) loose.add(name);
    reporter.debug(`not all versions that should stay go together: ${loose.size} are let go of`);
  }
}

function versionIn(term: string): SolvedVersion[] {
  const { name, version } = parsePackageTerm(term);
  return version === undefined ? [] : [{ name, version }];
}

/** The first of each name. */
function onePerName(packages: readonly SolvedVersion[]): readonly SolvedVersion[] {
  return [...new Map(packages.toReversed().map((item) => [item.name, item])).values()].toReversed();
}

function vendorsOf({ release }: Indexes): ReadonlySet<string> {
  const vendors = release.archives.filter(({ url, isOfBase }) => url !== undefined && isOfBase !== true);
  return new Set(vendors.map(({ name }) => name));
}

function vendorRequests(wanted: readonly PackageRequest[]): ReadonlySet<string> {
  return new Set(wanted.filter(({ isVendors }) => isVendors === true).map(({ name }) => name));
}

function namesIn(unmet: readonly UnmetDependency[]): ReadonlySet<string> {
  return new Set(
    unmet.flatMap((item) => [item.package, ...(item.reason.match(/[a-z0-9][a-z0-9.+-]+/g) ?? [])]),
  );
}

/** @throws FindingsError PACKAGE_UNKNOWN with every name or version that is not there */
function requireAll(index: PackageIndex, requests: readonly PackageRequest[], suite: string): void {
  const findings = requests.flatMap((request) =>
    chooseTerm(index, request) === undefined ? [describeUnknown(index, request, suite)] : [],
  );
  if (findings.length > 0) throw new FindingsError(findings);
}

/** What to tell apt for each wanted package. */
function chooseTerms(index: PackageIndex, wanted: readonly PackageRequest[]): ReadonlyMap<string, string> {
  return new Map(wanted.map((request) => [request.name, chooseTerm(index, request) ?? request.name]));
}

function chooseTerm(
  index: PackageIndex,
  { name, version, series, isForeign }: PackageRequest,
): string | undefined {
  if (version !== undefined) {
    const isThere = index.has(name, version) || (isForeign === true && index.hasForeign(name, version));
    return isThere ? `${name}=${version}` : undefined;
  }
  if (series === undefined) return index.has(name) ? name : undefined;
  const fits = (candidate: string): boolean => isOfSeries(candidate, series);
  const newest = index.versions(name).find(fits);
  return newest === undefined ? undefined : `${name}=${newest}`;
}

function isOfSeries(version: string, series: string): boolean {
  return isDebVersion(version) && hasVersionPrefix(version, series);
}

function describeUnknown(index: PackageIndex, request: PackageRequest, suite: string): Finding {
  const { name, version, series, by, location } = request;
  const finding = (message: string, suggestions: readonly string[]): Finding => ({
    code: 'PACKAGE_UNKNOWN',
    severity: 'error',
    message: `${message} (asked for by ${by})`,
    ...(location !== undefined && { location }),
    suggestions,
  });
  const versions = name.startsWith('linux-image-')
    ? [...new Set([...index.versions(name), ...kernelImages(index, name).map((image) => image.version)])]
    : index.versions(name);
  if (versions.length > 0) {
    return series !== undefined
      ? finding(`${suite} has no version ${series} of ${name}`, versions)
      : finding(
          `${suite} has no version ${version ?? ''} of ${name}`,
          versions.map((known) => `${name}=${known}`),
        );
  }
  const providers = index.providersOf(name);
  if (providers.length > 0)
    return finding(`${name} is a virtual package: name one that provides it`, providers);
  return finding(`${suite} has no package ${name}`, nearest(name, index.names()));
}

function describeConflict(
  wanted: readonly PackageRequest[],
  unmet: readonly UnmetDependency[],
  messages: readonly string[],
  suite: string,
): IngotError {
  const involved = namesIn(unmet);
  const requests = wanted.filter(({ name }) => involved.has(name));
  // apt also names bystanders that cannot be installed; the requests' own lines explain the conflict.
  const telling = unmet.filter((item) => requests.some(({ name }) => name === item.package));
  const lines = (telling.length > 0 ? telling : unmet).map((item) => `  ${item.package}: ${item.reason}`);
  const reasons = lines.length > 0 ? lines : messages.map((message) => `  ${message}`);
  const location = requests.find((request) => request.location !== undefined)?.location;
  const askers = requests.map(({ name, by }) => `${name} (asked for by ${by})`).join(', ');
  return new IngotError(
    'PACKAGES_CONFLICT',
    [`the packages cannot be installed together from ${suite}:`, ...reasons].join('\n'),
    {
      hint: askers === '' ? 'remove or change one of the packages' : `change one of: ${askers}`,
      ...(location !== undefined && { location }),
    },
  );
}

/** The version to stay with where it fits, else the newest that does. */
function describeSource(
  index: PackageIndex,
  request: PackageRequest,
  keep: readonly SolvedVersion[],
): LockedPackage {
  const { name, version, series } = request;
  const kept = keep.find((item) => item.name === name && index.has(name, item.version))?.version;
  const stays =
    kept !== undefined && version === undefined && (series === undefined || isOfSeries(kept, series));
  const fresh = chooseTerm(index, request)?.split('=', 2)[1] ?? index.versions(name)[0] ?? '';
  return describePackage(index, { name, version: stays ? kept : fresh }).package;
}

function describePackage(index: PackageIndex, { name, version }: SolvedVersion): SolvedPackage {
  const found = index.find(name, version);
  if (found === undefined) throw new TypeError(`apt chose ${name} ${version}, which no index has`);
  const { stanza, archive } = found;
  const field = (key: string): string => stanza.get(key) ?? '';
  return {
    package: {
      name,
      version,
      architecture: field('architecture'),
      sha256: field('sha256'),
      size: Number(field('size')),
      filename: field('filename').replace(/^\.\//, ''),
      archive,
    } satisfies LockedPackage,
    essential: field('essential') === 'yes',
    depends: [field('pre-depends'), field('depends')].filter((text) => text !== '').join(', '),
    provides: field('provides'),
  };
}

function byName(left: SolvedVersion, right: SolvedVersion): number {
  return left.name < right.name ? -1 : left.name > right.name ? 1 : 0;
}

function byPackageName(left: SolvedPackage, right: SolvedPackage): number {
  return byName(left.package, right.package);
}
