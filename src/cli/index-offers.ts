/** What an image's package indexes have of kernels and module sources, for the solver: looked up, or recalled. */
import type { LoadedCatalog } from '../catalog/load.ts';
import { IngotError } from '../errors.ts';
import { findAvailable, recallAvailable, type Available, type Sought } from '../packages/available.ts';
import { hasVersionPrefix, isDebVersion } from '../packages/deb-version.ts';
import { identifyIndexes, type IndexedRelease, type Indexes } from '../packages/indexes.ts';
import type { KernelImage } from '../packages/kernels.ts';
import { loadMirrors } from '../packages/mirror.ts';
import type { Reporter } from '../report/events.ts';
import { releaseWith } from '../resolve/archives.ts';
import type { Choice } from '../resolve/choice.ts';
import { requireChoice } from '../resolve/choose.ts';
import { offersOf } from '../resolve/fit/from-image.ts';
import { offersOfIndex, sourceKey } from '../resolve/fit/from-index.ts';
import type { FitOffers } from '../resolve/fit/request.ts';
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

/** Every kernel layer of the catalogue is looked at: another one may be what helps. */
interface Subject {
  readonly sought: Sought;
  /** Metapackages by kernel layer. */
  readonly metapackages: ReadonlyMap<string, readonly string[]>;
}

function subjectOf(image: NodeImage, catalog: LoadedCatalog, choice: Choice): Subject {
  const metapackages = new Map<string, readonly string[]>();
  for (const { definition } of catalog.layers) {
    const { kind, name } = definition;
    if (kind !== 'kernel') continue;
    const layers = layersOf({ ...image, kernel: { flavour: name } }, catalog, choice);
    metapackages.set(name, metapackagesIn(layers));
  }
  const sources = catalog.layers.flatMap(({ definition: { kind, modules } }) =>
    kind === 'driver' && modules !== undefined ? [modules.source] : [],
  );
  return {
    sought: {
      kernels: [...new Set([...metapackages.values()].flat())].sort(),
      packages: [...new Set(sources)].sort(),
    },
    metapackages,
  };
}

function metapackagesIn(layers: readonly LayerRequest[]): string[] {
  return layers
    .filter(({ kind }) => kind === 'kernel')
    .flatMap(({ packages }) => packages.filter((name) => name.startsWith('linux-image-')));
}

/** @param layers of the image, as chosen without a look at its indexes */
export async function lookUpOffers(
  indexes: Indexes,
  image: NodeImage,
  catalog: LoadedCatalog,
  choice: Choice,
  kept: Kept,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<FitOffers> {
  const subject = subjectOf(image, catalog, choice);
  const available = await findAvailable(indexes, subject.sought, reporter, signal);
  return offersFrom(available, subject, image, catalog, kept);
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
    const release = releaseOf(image, catalog, layersOf(image, catalog, choice));
    const { architecture } = image;
    const mirrors = await loadMirrors(env, signal);
    const store = Store.peek(storePath);
    const { indexes } = await identifyIndexes({ store, mirrors, release, architecture });
    const subject = subjectOf(image, catalog, choice);
    const available = await recallAvailable(indexes, subject.sought);
    return available === undefined ? undefined : offersFrom(available, subject, image, catalog, NOTHING_KEPT);
  } catch (error) {
    if (error instanceof IngotError && error.code !== 'INTERRUPTED') return undefined;
    throw error;
  }
}

/** @throws IngotError CATALOG_INVALID for a release that the base layer does not have */
export function releaseOf(
  { base, architecture }: Pick<NodeImage, 'base' | 'architecture'>,
  catalog: LoadedCatalog,
  layers: readonly LayerRequest[],
): IndexedRelease {
  const release = catalog.find('base', base.name)?.definition.releases?.[base.release];
  if (release === undefined) {
    throw new IngotError('CATALOG_INVALID', `the base layer ${base.name} has no release ${base.release}`);
  }
  return releaseWith(release, base.release, layers, architecture);
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

function offersFrom(
  { kernels, versions }: Available,
  { metapackages }: Subject,
  image: NodeImage,
  catalog: LoadedCatalog,
  kept: Kept,
): FitOffers {
  const offers = offersOf(image, catalog);
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
      [...metapackages].map(([layer, names]) => [layer, names.flatMap((name) => kernels[name] ?? [])]),
    ),
    sources,
    locked: kept.kernel,
  });
}
