/** Locks an image that is built on another one: that one's digest, and what is added to what it has. */
import type { PackageFamily } from '../catalog/layer.ts';
import type { LoadedCatalog } from '../catalog/load.ts';
import { IngotError } from '../errors.ts';
import type { Indexes } from '../packages/indexes.ts';
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
 *   can be added to
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
  requireKnown(updates, previous, layers);
  warnOfUnverified(layers, family, reporter);
  const wanted = requestsOf(parsed, layers, undefined);
  if (family === 'rpm') refuseForeignAddons(parsed, layers, base);
  if (wanted.length === 0) return { choice, solution: NOTHING };
  if (family === 'rpm') {
    return { choice, ...(await solveOnRpm(parsed, base, layers, wanted, previous, updates, options)) };
  }
  const { id, release, status } = base.facts;
  const known = catalog.find('base', id)?.definition.releases;
  if (status === undefined || known === undefined || !Object.hasOwn(known, release)) {
    throw noPackages(parsed, base, catalog);
  }
  const indexes = await open(
    { base: { name: id, release }, architecture: parsed.image.architecture },
    layers,
  );
  const before = previous?.base.suite === indexes.release.suite ? imagePackages(previous) : [];
  const request = { wanted, keep: keptOf(before, updates), installed: status };
  return { choice, solution: await solvePackages(indexes, request, reporter, signal) };
}

function warnOfUnverified(layers: readonly LayerRequest[], family: PackageFamily, reporter: Reporter): void {
  for (const { definition } of layers) {
    if (definition === undefined) continue;
    const { status, install } = definition.definition;
    const isUnverified =
      status === 'unverified' || (family === 'rpm' && install.rpm?.status === 'unverified');
    if (!isUnverified) continue;
    const where = family === 'rpm' ? ' on rpm' : '';
    reporter.warning(
      `${definition.file} is unverified${where}: no lock was made with it when it was written`,
    );
  }
}

/** Who wants packages is told where they are wanted. */
function noPackages(
  { image, sources }: ParsedSpec,
  { reference, facts }: PinnedBase,
  catalog: LoadedCatalog,
): IngotError {
  const known = catalog.layers
    .filter(({ definition }) => definition.kind === 'base')
    .flatMap(({ definition: { name, releases = {} } }) =>
      Object.keys(releases).map((release) => `${name} ${release}`),
    );
  const why =
    facts.family === 'none'
      ? 'it has no package database that is known'
      : `it is ${facts.id} ${facts.release}`;
  return new IngotError('SPEC_INVALID', `packages cannot be added to ${reference}: ${why}`, {
    hint: `packages and addons can be added to: ${known.join(', ')}, and what has rpm packages; files, users and units to any base`,
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
