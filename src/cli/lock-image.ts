/** Makes the lock of one image: opens and updates the package indexes, solves, and puts the lock together. */
import type { LoadedCatalog } from '../catalog/load.ts';
import { digestOfJson, type Digest } from '../digest.ts';
import { FindingsError, IngotError } from '../errors.ts';
import { openIndexes, updateIndexes, type Indexes } from '../packages/indexes.ts';
import type { Mirrors } from '../packages/mirror.ts';
import type { LockedPackage } from '../packages/package.ts';
import { parsePackageTerm, solvePackages, type PackageRequest } from '../packages/solve.ts';
import type { Reporter } from '../report/events.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import { releaseWith } from '../resolve/archives.ts';
import { requireChoice } from '../resolve/choose.ts';
import { layersOf, type LayerRequest } from '../resolve/layers.ts';
import { moduleSources } from '../resolve/lock-accelerators.ts';
import { lockGpus } from '../resolve/lock-gpus.ts';
import type { Lock } from '../resolve/lock.ts';
import { makeLock } from '../resolve/make-lock.ts';
import type { Architecture, ParsedSpec } from '../spec/node-image.ts';
import { nearest } from '../spec/suggest.ts';
import type { Store } from '../store/store.ts';
import { BUILDER_ARCHITECTURE, builderFacts, requireTools } from './builder-facts.ts';
import { judgeLock, openFacts, settleImage } from './judge-image.ts';

/** Which locked versions to let go of. */
export type Updates = 'none' | 'all' | ReadonlySet<string>;

export interface LockSessionOptions {
  readonly store: Store;
  readonly mirrors: Mirrors;
  readonly catalog: LoadedCatalog;
  /** Holds the facts. */
  readonly productRoot: string;
  readonly reporter: Reporter;
  readonly now: Date;
  readonly signal?: AbortSignal | undefined;
}

/** Locks any number of images against the same moment's package indexes: each is updated once. */
export class LockSession {
  readonly #options: LockSessionOptions;
  readonly #indexes = new Map<Digest, Promise<Indexes>>();

  constructor(options: LockSessionOptions) {
    this.#options = options;
  }

  /** @throws IngotError and FindingsError as `updateIndexes`, `solvePackages` and `makeLock` do; USAGE */
  async lock(parsed: ParsedSpec, previous: Lock | undefined, updates: Updates): Promise<Lock> {
    const { catalog, reporter, signal, now } = this.#options;
    const { image } = parsed;
    const tools = requireTools(catalog);
    const facts = builderFacts(catalog);
    const context = { productRoot: this.#options.productRoot, now: () => now };
    const choice = requireChoice(await settleImage(context, parsed, catalog), catalog);
    const layers = layersOf(image, catalog, choice);
    for (const { definition } of layers) {
      if (definition?.definition.status !== 'unverified') continue;
      reporter.warning(`${definition.file} is unverified: no lock was made with it when it was written`);
    }
    const baseIndexes = await this.#open(image.base.name, image.base.release, image.architecture, layers);
    const toolsIndexes = await this.#open(tools.base, tools.release, BUILDER_ARCHITECTURE, []);
    const wanted = requestsOf(parsed, layers);
    requireKnown(updates, previous, wanted);
    const before =
      previous?.base.suite === baseIndexes.release.suite
        ? [...imagePackages(previous), ...(previous.modules ?? []).map(({ source }) => source)]
        : [];
    const toolsBefore = previous?.tools.suite === toolsIndexes.release.suite ? previous.tools.packages : [];
    return reporter.stage(`Solve ${titleOf(parsed)}`, async (stage) => {
      const solution = await solvePackages(
        baseIndexes,
        { wanted, sources: sourcesOf(layers), keep: keptOf(before, updates) },
        reporter,
        signal,
      );
      const toolsSolution = await solvePackages(
        toolsIndexes,
        {
          wanted: tools.packages.map((name) => ({ name, by: 'tools.yaml' })),
          keep: keptOf(toolsBefore, updates),
        },
        reporter,
        signal,
      );
      const bytes = solution.packages.reduce((sum, item) => sum + item.package.size, 0);
      stage.detail(`${solution.packages.length} packages, ${(bytes / 1024 / 1024).toFixed(1)} MiB`);
      const lock = makeLock({
        image,
        catalog,
        choice,
        solution,
        tools: { definition: facts.toolsDefinition, solution: toolsSolution },
        compressor: facts.compressor,
        now,
        gpus: image.gpus === undefined ? [] : lockGpus(image.gpus, await openFacts(context)),
        previous,
      });
      const findings = await judgeLock(context, parsed, catalog, lock);
      if (findings.some(({ severity }) => severity === 'error')) throw new FindingsError(findings);
      for (const { message } of findings) reporter.warning(`${titleOf(parsed)}: ${message}`);
      return lock;
    });
  }

  async #open(
    base: string,
    number: string,
    architecture: Architecture,
    layers: readonly LayerRequest[],
  ): Promise<Indexes> {
    const { catalog, reporter, signal } = this.#options;
    const release = catalog.find('base', base)?.definition.releases?.[number];
    if (release === undefined) {
      throw new IngotError('CATALOG_INVALID', `the base layer ${base} has no release ${number}`);
    }
    const whole = releaseWith(release, number, layers, architecture);
    const key = digestOfJson([whole, architecture]);
    const opened = this.#indexes.get(key);
    if (opened !== undefined) return opened;
    const opening = reporter.stage(`Update package indexes of ${release.suite}`, async () => {
      const indexes = await openIndexes({ ...this.#options, release: whole, architecture });
      await updateIndexes(indexes, reporter, signal);
      return indexes;
    });
    this.#indexes.set(key, opening);
    return opening;
  }
}

function titleOf({ image }: ParsedSpec): string {
  return image.variant === undefined ? image.name : `${image.name}@${image.variant}`;
}

/** Everything that layers and the declaration ask for, with who asks. */
function requestsOf({ image, sources }: ParsedSpec, layers: readonly LayerRequest[]): PackageRequest[] {
  return layers.flatMap((layer) =>
    layer.packages.map((term, position): PackageRequest => {
      const parsed = parsePackageTerm(term);
      if (layer.definition === undefined) {
        return { ...parsed, by: 'packages', location: sources.at(['packages', position]) };
      }
      const { kind, name, install } = layer.definition.definition;
      const by = `layer ${kind}/${name}`;
      if (kind === 'kernel' && image.kernel.version !== undefined && parsed.name.startsWith('linux-image-')) {
        return { ...parsed, by, series: image.kernel.version, location: sources.at(['kernel', 'version']) };
      }
      const isOffered = install.debian?.versionOf?.includes(parsed.name) === true;
      return { ...parsed, by, ...(isOffered && layer.version !== undefined && { series: layer.version }) };
    }),
  );
}

function sourcesOf(layers: readonly LayerRequest[]): PackageRequest[] {
  return moduleSources(layers).map(({ layer, name }) => ({
    name,
    by: `layer ${layer.kind}/${layer.definition?.definition.name ?? ''}`,
    ...(layer.version !== undefined && { series: layer.version }),
  }));
}

function keptOf(packages: readonly LockedPackage[], updates: Updates): { name: string; version: string }[] {
  if (updates === 'all') return [];
  return packages
    .filter(({ name }) => updates === 'none' || !updates.has(name))
    .map(({ name, version }) => ({ name, version }));
}

function requireKnown(updates: Updates, previous: Lock | undefined, wanted: readonly PackageRequest[]): void {
  if (typeof updates === 'string') return;
  const known = new Set([
    ...[...imagePackages(previous), ...(previous?.tools.packages ?? [])].map(({ name }) => name),
    ...wanted.map(({ name }) => name),
  ]);
  for (const name of updates) {
    if (known.has(name)) continue;
    const [suggestion] = nearest(name, known);
    throw new IngotError('USAGE', `--update ${name}: the lock has no such package`, {
      hint: suggestion === undefined ? 'name a package of the lock' : `did you mean ${suggestion}?`,
    });
  }
}
