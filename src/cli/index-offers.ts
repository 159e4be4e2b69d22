/** What an image's package indexes have of kernels and module sources, for the solver: looked up, or recalled. */
import type { LoadedCatalog } from '../catalog/load.ts';
import { FindingsError, IngotError } from '../errors.ts';
import { findAvailable, recallAvailable, type Available, type Sought } from '../packages/available.ts';
import { hasVersionPrefix, isDebVersion } from '../packages/deb-version.ts';
import { identifyIndexes, type IndexedRelease, type Indexes } from '../packages/indexes.ts';
import type { KernelImage } from '../packages/kernels.ts';
import { loadMirrors } from '../packages/mirror.ts';
import { allTogether } from '../proc/together.ts';
import type { Reporter } from '../report/events.ts';
import { foreignKernel, originOf, releaseWith, splitRelease, withForeign } from '../resolve/archives.ts';
import type { Choice } from '../resolve/choice.ts';
import { requireChoice } from '../resolve/choose.ts';
import { offersOf } from '../resolve/fit/from-image.ts';
import { offersOfIndex, sourceKey } from '../resolve/fit/from-index.ts';
import type { FitOffers } from '../resolve/fit/request.ts';
import type { KernelCandidate } from '../resolve/fit/rule.ts';
import { layersOf, type LayerRequest } from '../resolve/layers.ts';
import type { Lock } from '../resolve/lock.ts';
import type { NodeImage, ParsedSpec } from '../spec/node-image.ts';
import { Store } from '../store/store.ts';
import type { CommandContext } from './context.ts';
import { settleImage } from './judge-image.ts';
import type { Updates } from './package-requests.ts';

type NameAndVersion = Pick<KernelImage, 'name' | 'version'>;

/** What may stay as it is in the lock. */
export interface Kept {
  readonly packages: readonly NameAndVersion[];
  readonly kernel: NameAndVersion | undefined;
}

export const NOTHING_KEPT: Kept = { packages: [], kernel: undefined };

/** Every kernel layer that there is on the image's release is looked at: another one may be what helps. */
interface Subject {
  /** By release, such as `debian@13`; the image's own is among them. */
  readonly sought: ReadonlyMap<string, Sought>;
  /** By kernel layer: the release that its kernels come from, and its metapackages. */
  readonly kernels: ReadonlyMap<
    string,
    { readonly origin: string; readonly metapackages: readonly string[] }
  >;
}

function subjectOf(image: NodeImage, catalog: LoadedCatalog, choice: Choice): Subject {
  const own = ownRelease(image);
  const kernels: Subject['kernels'] = new Map(
    catalog.layers.flatMap((layer) => {
      const { kind, name, in: releases } = layer.definition;
      if (kind !== 'kernel' || releases?.includes(own) === false) return [];
      const layers = layersOf({ ...image, kernel: { flavour: name } }, catalog, choice);
      const origin = originOf({ definition: layer }, image);
      return [[name, { origin, metapackages: metapackagesIn(layers) }] as const];
    }),
  );
  const sources = catalog.layers.flatMap(({ definition: { kind, modules } }) =>
    kind === 'driver' && modules !== undefined ? [modules.source] : [],
  );
  const origins = new Set([own, ...[...kernels.values()].map(({ origin }) => origin)]);
  const soughtIn = (release: string): Sought => ({
    kernels: [
      ...new Set(
        [...kernels.values()].flatMap(({ origin, metapackages }) => (origin === release ? metapackages : [])),
      ),
    ].sort(),
    packages: release === own ? [...new Set(sources)].sort() : [],
  });
  return { sought: new Map([...origins].map((release) => [release, soughtIn(release)])), kernels };
}

function ownRelease({ base }: Pick<NodeImage, 'base'>): string {
  return `${base.name}@${base.release}`;
}

function metapackagesIn(layers: readonly LayerRequest[]): string[] {
  return layers
    .filter(({ kind }) => kind === 'kernel')
    .flatMap(({ packages }) => packages.filter((name) => name.startsWith('linux-image-')));
}

/**
 * @param indexes of the image, as chosen without a look at them
 * @param open those of another release, which has nothing but kernels to give
 */
export async function lookUpOffers(
  indexes: Indexes,
  open: (base: NodeImage['base']) => Promise<Indexes>,
  image: NodeImage,
  catalog: LoadedCatalog,
  choice: Choice,
  kept: Kept,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<FitOffers> {
  const subject = subjectOf(image, catalog, choice);
  const own = ownRelease(image);
  const available = await allTogether(
    [...subject.sought].map(async ([release, sought]) => {
      const its = release === own ? indexes : await open(splitRelease(release));
      return [release, await findAvailable(its, sought, reporter, signal)] as const;
    }),
  );
  return offersFrom(new Map(available), subject, image, catalog, kept);
}

/**
 * The same from what was found when the image's indexes were last looked at; undefined where they never were, or
 * their mirrors or keys are not at hand. Fetches and writes nothing.
 */
export async function recallOffers(
  context: CommandContext,
  parsed: ParsedSpec,
  catalog: LoadedCatalog,
): Promise<FitOffers | undefined> {
  const { env, signal, storePath } = context;
  try {
    const { image } = await settleImage(context, parsed, catalog);
    const choice = requireChoice(image, catalog);
    const { architecture } = image;
    const mirrors = await loadMirrors(env, signal);
    const store = Store.peek(storePath);
    const subject = subjectOf(image, catalog, choice);
    const own = ownRelease(image);
    const recalled = new Map<string, Available>();
    for (const [name, sought] of subject.sought) {
      const release =
        name === own
          ? releaseOf(image, catalog, layersOf(image, catalog, choice))
          : releaseOf({ base: splitRelease(name), architecture }, catalog, []);
      const { indexes } = await identifyIndexes({ store, mirrors, release, architecture });
      const available = await recallAvailable(indexes, sought);
      if (available !== undefined) recalled.set(name, available);
    }
    return recalled.has(own) ? offersFrom(recalled, subject, image, catalog, NOTHING_KEPT) : undefined;
  } catch (error) {
    if (error instanceof IngotError && error.code !== 'INTERRUPTED') return undefined;
    throw error;
  }
}

/**
 * @param own what a base that is an image configures for itself; default: what the catalogue has of its release
 * @throws IngotError CATALOG_INVALID for a release that the base layer does not have
 */
export function releaseOf(
  image: Pick<NodeImage, 'base' | 'architecture'>,
  catalog: LoadedCatalog,
  layers: readonly LayerRequest[],
  own?: IndexedRelease,
): IndexedRelease {
  const { base, architecture } = image;
  const release = own ?? catalog.find('base', base.name)?.definition.releases?.[base.release];
  if (release === undefined) {
    throw new IngotError('CATALOG_INVALID', `the base layer ${base.name} has no release ${base.release}`);
  }
  return withForeign(releaseWith(release, base.release, layers, architecture), image, layers, catalog);
}

/** The kernel stays with its package; letting go of a metapackage lets go of the kernel too. */
export function keptKernel(
  previous: Lock | undefined,
  packages: readonly NameAndVersion[],
  updates: Updates,
  layers: readonly LayerRequest[],
): NameAndVersion | undefined {
  if (typeof updates === 'object' && metapackagesIn(layers).some((name) => updates.has(name)))
    return undefined;
  return packages.find(
    ({ name, version }) => name === previous?.kernel.package && version === previous.kernel.version,
  );
}

/**
 * apt is asked for the kernel of another release by its version: without one it would give that of the image's own.
 *
 * @param kernel the one that was chosen
 * @throws FindingsError PACKAGE_UNKNOWN where there is none
 */
export function requireForeignKernel(
  { image, sources }: ParsedSpec,
  layers: readonly LayerRequest[],
  { kernels = [] }: FitOffers,
  kernel: KernelCandidate | undefined,
): void {
  const origin = foreignKernel(image, layers);
  if (origin === undefined || kernel !== undefined) return;
  const layer = layers.find(({ kind }) => kind === 'kernel')?.definition?.definition.name ?? '';
  const { version } = image.kernel;
  const known = kernels
    .filter((offer) => offer.layer === layer)
    .flatMap(({ image: one }) => one?.version ?? []);
  throw new FindingsError([
    {
      code: 'PACKAGE_UNKNOWN',
      severity: 'error',
      message: `${origin} has no kernel ${version ?? 'that is signed'} (asked for by layer kernel/${layer})`,
      location: sources.at(['kernel', 'version']),
      suggestions: [...new Set(known)],
    },
  ]);
}

function offersFrom(
  available: ReadonlyMap<string, Available>,
  { kernels }: Subject,
  image: NodeImage,
  catalog: LoadedCatalog,
  kept: Kept,
): FitOffers {
  const offers = offersOf(image, catalog);
  const versions = available.get(ownRelease(image))?.versions ?? {};
  const sources = new Map<string, string>();
  for (const { layer, version } of offers.drivers ?? []) {
    const source = catalog.find('driver', layer)?.definition.modules?.source;
    if (source === undefined || version === undefined) continue;
    const fitting = (versions[source] ?? []).filter(
      (one) => isDebVersion(one) && hasVersionPrefix(one, version),
    );
    const stays = kept.packages.find((one) => one.name === source && fitting.includes(one.version));
    const chosen = stays?.version ?? fitting[0];
    if (chosen !== undefined) sources.set(sourceKey(layer, version), chosen);
  }
  return offersOfIndex(offers, {
    kernels: new Map(
      [...kernels].map(([layer, { origin, metapackages }]) => [
        layer,
        metapackages.flatMap((name) => available.get(origin)?.kernels[name] ?? []),
      ]),
    ),
    sources,
    locked: kept.kernel,
  });
}
