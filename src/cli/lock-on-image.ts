/** Locks an image that is built on another one: that one's digest, and what is added to what it has. */
import type { PackageFamily } from '../catalog/layer.ts';
import type { LoadedCatalog } from '../catalog/load.ts';
import { IngotError } from '../errors.ts';
import { archivesOfImage } from '../packages/base-archives.ts';
import type { IndexedRelease, Indexes } from '../packages/indexes.ts';
import { kernelsOfDebian, refuseKernels } from '../packages/second-kernel.ts';
import { solvePackages } from '../packages/solve.ts';
import type { Solution } from '../packages/solution.ts';
import type { Reporter } from '../report/events.ts';
import { requireChoice } from '../resolve/choose.ts';
import type { Choice } from '../resolve/choice.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import { layersOf, type LayerRequest } from '../resolve/layers.ts';
import type { Lock } from '../resolve/lock.ts';
import { IMAGE_BASE, type NodeImage, type ParsedSpec } from '../spec/node-image.ts';
import type { PinnedBase } from './base-image.ts';
import { refuseForeignAddons, solveOnRpm, type LockOnRpmOptions } from './lock-on-rpm.ts';
import { keptOf, requestsOf, requireKnown, type Updates } from './package-requests.ts';

export interface OnImageOptions extends LockOnRpmOptions {
  readonly open: (
    image: Pick<NodeImage, 'base' | 'architecture'>,
    layers: readonly LayerRequest[],
    own?: IndexedRelease,
  ) => Promise<Indexes>;
}

export interface SolvedOnImage {
  readonly choice: Choice;
  readonly solution: Solution;
  /** For packages of rpm: what rpm and dnf run from. */
  readonly rpm?: Solution;
}

const NOTHING: Solution = { suite: '', archives: [], packages: [] };

/**
 * @throws FindingsError PACKAGE_UNKNOWN; IngotError PACKAGES_CONFLICT, SPEC_INVALID for packages on a base that none
 *   can be added to, or that bring a kernel
 */
export async function solveOnImage(
  parsed: ParsedSpec,
  base: PinnedBase,
  previous: Lock | undefined,
  updates: Updates,
  options: OnImageOptions,
): Promise<SolvedOnImage> {
  const { catalog, open, reporter, signal } = options;
  const choice = requireChoice(parsed.image, catalog);
  const family = base.facts.family === 'rpm' ? 'rpm' : 'debian';
  const layers = layersOf(parsed.image, catalog, choice, family);
  requireKnown(updates, previous, layers, parsed.image);
  const isCatalogued = isInCatalogue(base, catalog);
  warnOfUnverified(layers, family, isCatalogued ? undefined : base.facts.id, reporter);
  const wanted = requestsOf(parsed, layers, undefined);
  if (family === 'rpm') refuseForeignAddons(parsed, layers, base);
  if (wanted.length === 0) return { choice, solution: NOTHING };
  if (family === 'rpm') {
    return { choice, ...(await solveOnRpm(parsed, base, layers, wanted, previous, updates, options)) };
  }
  const { id, release, status } = base.facts;
  if (status === undefined) throw noPackages(parsed, base, 'it has no package database that is known');
  const { architecture } = parsed.image;
  const own = isCatalogued ? undefined : ownRelease(parsed, base);
  const indexes = await open({ base: { name: id, release }, architecture }, layers, own);
  const before = previous?.base.suite === indexes.release.suite ? imagePackages(previous) : [];
  const request = { wanted, keep: keptOf(before, updates), installed: status };
  const solution = await solvePackages(indexes, request, reporter, signal);
  const added = solution.packages.map((item) => item.package);
  refuseKernels(kernelsOfDebian(added), wanted, indexes.release.suite);
  return { choice, solution };
}

/** Its archives are known, and found through the machine's own mirror. */
function isInCatalogue({ facts }: PinnedBase, catalog: LoadedCatalog): boolean {
  const releases = catalog.find('base', facts.id)?.definition.releases;
  return releases !== undefined && Object.hasOwn(releases, facts.release);
}

/** What a base that the catalogue does not have, such as Ubuntu, configures for itself. */
function ownRelease(parsed: ParsedSpec, base: PinnedBase): IndexedRelease {
  const { reference, facts } = base;
  const { architecture } = parsed.image;
  const archives = archivesOfImage(facts.apt ?? { sources: {}, keyrings: {} }, { reference, architecture });
  if (archives.length === 0) {
    throw noPackages(parsed, base, `it is ${facts.id} ${facts.release} and configures no package repository`);
  }
  const suite = facts.codename ?? `${facts.id}-${facts.release}`;
  return { suite, archives, checkValidUntil: true };
}

/** @param distribution of a base that the catalogue does not have */
function warnOfUnverified(
  layers: readonly LayerRequest[],
  family: PackageFamily,
  distribution: string | undefined,
  reporter: Reporter,
): void {
  for (const { definition } of layers) {
    if (definition === undefined) continue;
    const { status, install } = definition.definition;
    const isUnverified =
      status === 'unverified' ||
      (family === 'rpm' ? install.rpm?.status === 'unverified' : distribution !== undefined);
    if (!isUnverified) continue;
    const where = family === 'rpm' ? ' on rpm' : distribution === undefined ? '' : ` on ${distribution}`;
    reporter.warning(
      `${definition.file} is unverified${where}: no lock was made with it when it was written`,
    );
  }
}

/** Who wants packages is told where they are wanted. */
function noPackages({ image, sources }: ParsedSpec, { reference }: PinnedBase, why: string): IngotError {
  return new IngotError('SPEC_INVALID', `packages cannot be added to ${reference}: ${why}`, {
    hint: 'packages and addons can be added to what has dpkg or rpm and says where its packages come from, in /etc/apt or /etc/yum.repos.d; files, users and units to any base',
    location: sources.keyAt([image.packages.length > 0 ? 'packages' : 'addons']),
  });
}

export function isOnImage({ base }: NodeImage): boolean {
  return base.name === IMAGE_BASE && base.image !== undefined;
}

/** The digest to stay with, unless the base is to move on. */
export function pinnedDigest(
  { base }: NodeImage,
  previous: Lock | undefined,
  updates: Updates,
): NonNullable<Lock['base']['image']>['digest'] | undefined {
  const before = previous?.base.image;
  return updates === 'all' || before?.reference !== base.image ? undefined : before?.digest;
}
