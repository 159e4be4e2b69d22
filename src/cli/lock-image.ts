/** Makes the lock of one image: opens and updates the package indexes, solves, and puts the lock together. */
import type { LoadedCatalog } from '../catalog/load.ts';
import type { ToolsDefinition } from '../catalog/tools.ts';
import { digestOfJson, type Digest } from '../digest.ts';
import { FindingsError } from '../errors.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import { kernelRelease, type KernelImage } from '../packages/kernels.ts';
import {
  type IndexedRelease,
  openIndexes,
  requireIndexes,
  updateIndexes,
  type Indexes,
} from '../packages/indexes.ts';
import type { Mirrors } from '../packages/mirror.ts';
import { solvePackages, type SolveRequest } from '../packages/solve.ts';
import type { Solution } from '../packages/solution.ts';
import { together } from '../proc/together.ts';
import type { Reporter } from '../report/events.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import { foreignKernel, splitRelease } from '../resolve/archives.ts';
import { kernelFlavour, type Choice } from '../resolve/choice.ts';
import { requireChoice } from '../resolve/choose.ts';
import { compileRequests } from '../resolve/compile-packages.ts';
import { describeDownloader, downloadersIn } from '../resolve/downloads.ts';
import { asksForAccelerators } from '../resolve/fit/from-image.ts';
import { kernelsOn } from '../resolve/fit/kernel-candidates.ts';
import type { FitOffers } from '../resolve/fit/request.ts';
import type { KernelCandidate } from '../resolve/fit/rule.ts';
import { layersOf, type LayerRequest } from '../resolve/layers.ts';
import { layerContainers, moduleSources } from '../resolve/lock-accelerators.ts';
import type { LockedBound } from '../resolve/lock-bound.ts';
import { lockGpus } from '../resolve/lock-gpus.ts';
import type { Lock } from '../resolve/lock.ts';
import { findKernel, makeLock, type LockInput } from '../resolve/make-lock.ts';
import { modulePair, patchesFor } from '../resolve/module-reports.ts';
import { rpmToolRequests } from '../resolve/rpm-tools.ts';
import type { NodeImage, ParsedSpec } from '../spec/node-image.ts';
import type { Store } from '../store/store.ts';
import type { PinnedBase } from './base-image.ts';
import { Builder, BUILDER_ARCHITECTURE, requireTools } from './builder.ts';
import { keptKernel, lookUpOffers, releaseOf, requireForeignKernel, type Kept } from './index-offers.ts';
import { judgeLock, openFacts, settleImage } from './judge-image.ts';
import { isOnImage, pinnedDigest, solveOnImage, type SolvedOnImage } from './lock-on-image.ts';
import { keptOf, requestsOf, requireKnown, sourcesOf, type Updates } from './package-requests.ts';

export interface LockSessionOptions {
  readonly store: Store;
  readonly mirrors: Mirrors;
  readonly catalog: LoadedCatalog;
  /** Holds the facts. */
  readonly productRoot: string;
  readonly reporter: Reporter;
  readonly now: Date;
  /** Takes the package indexes as they are in the store, and fetches nothing. */
  readonly offline?: boolean;
  /** For bases that are images. */
  readonly registries: () => Promise<RegistryAccess>;
  /** What layouts that declarations name are relative to. */
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
}

/** Locks any number of images against the same moment's package indexes: each is updated once. */
export class LockSession {
  readonly #options: LockSessionOptions;
  readonly #builder: Builder;
  readonly #indexes = new Map<Digest, Promise<Indexes>>();

  constructor(options: LockSessionOptions) {
    this.#options = options;
    this.#builder = new Builder(options);
  }

  /** @throws IngotError and FindingsError as `updateIndexes`, `solvePackages` and `makeLock` do; USAGE */
  async lock(parsed: ParsedSpec, previous: Lock | undefined, updates: Updates): Promise<Lock> {
    if (isOnImage(parsed.image)) return this.#lockOnImage(parsed, previous, updates);
    const { catalog, reporter, now } = this.#options;
    const { image } = parsed;
    const tools = requireTools(catalog);
    const facts = await this.#builder.factsFor(image, catalog);
    const context = { productRoot: this.#options.productRoot, now: () => now };
    // The tools do not depend on the image: apt is at them while the image's choices are made.
    const [solved, toolsSolution] = await together(
      this.#solveImage(parsed, previous, updates),
      this.#solveTools(tools, previous, updates),
    );
    const { choice, solution, modules } = solved;
    const bound = await this.#pinBound(parsed, choice, previous, updates);
    const lock = makeLock({
      image,
      catalog,
      choice,
      solution,
      tools: { definition: facts.toolsDefinition, solution: toolsSolution },
      modules,
      bound,
      compressor: facts.compressor,
      agent: facts.agent,
      now,
      facts: asksForAccelerators(image) ? (await openFacts(context)).digest : undefined,
      gpus: image.gpus === undefined ? [] : lockGpus(image, await openFacts(context)),
      previous,
    });
    const findings = await judgeLock(context, parsed, catalog, lock);
    if (findings.some(({ severity }) => severity === 'error')) throw new FindingsError(findings);
    const downloads = downloadersIn(lock).map((one) => ({ message: describeDownloader(one) }));
    for (const { message } of [...findings, ...downloads]) reporter.warning(`${titleOf(parsed)}: ${message}`);
    return lock;
  }

  async #pinBound(
    parsed: ParsedSpec,
    choice: Choice,
    previous: Lock | undefined,
    updates: Updates,
  ): Promise<LockedBound> {
    const { containers, models } = parsed.image;
    const ofLayers = layerContainers(choice);
    if (ofLayers.length === 0 && containers === undefined && models === undefined) return {};
    const { pinBound } = await import('./pin-bound.ts');
    return pinBound(parsed, ofLayers, previous, updates, this.#options);
  }

  /** The image's packages, and beside them what its kernel modules are compiled in. */
  async #solveImage(parsed: ParsedSpec, previous: Lock | undefined, updates: Updates): Promise<Solved> {
    const { reporter, signal } = this.#options;
    const { image } = parsed;
    const { choice, layers, indexes, kept, kernel } = await this.#choose(parsed, previous, updates);
    for (const { definition } of layers) {
      if (definition?.definition.status !== 'unverified') continue;
      reporter.warning(`${definition.file} is unverified: no lock was made with it when it was written`);
    }
    const compileBefore =
      previous?.base.suite === indexes.release.suite ? (previous.compile?.packages ?? []) : [];
    const keep = keptOf(compileBefore, updates);
    // Headers and compiler are those of the kernel's release: the root is one of its own, and takes all from there.
    const origin = foreignKernel(image, layers);
    const openCompile = async (): Promise<Indexes> =>
      origin === undefined ? indexes : this.#open({ ...image, base: splitRelease(origin) }, []);
    const solveCompile = async (chosen: CompileKernel): Promise<Solution> =>
      solvePackages(await openCompile(), { wanted: compileRequests(chosen), keep }, reporter, signal);
    const sources = sourcesOf(layers);
    const expected = sources.length === 0 ? undefined : compileKernelOf(kernel?.image);
    return reporter.stage(`Solve ${titleOf(parsed)}`, async (stage) => {
      const wanted = requestsOf(parsed, layers, kernel?.image);
      const [solution, compile] = await together(
        solvePackages(indexes, { wanted, sources, keep: kept.packages }, reporter, signal),
        expected === undefined ? Promise.resolve(undefined) : solveCompile(expected),
      );
      const bytes = solution.packages.reduce((sum, item) => sum + item.package.size, 0);
      stage.detail(`${solution.packages.length} packages, ${(bytes / 1024 / 1024).toFixed(1)} MiB`);
      if ((solution.sources ?? []).length === 0) return { choice, solution };
      const found = findKernel(kernelFlavour(image, choice), solution.packages);
      const isExpected = found.release === expected?.release && found.version === expected.version;
      const modules = {
        // Without a look at kernels, or where a layer brings another one, it is known only now.
        compile: (isExpected ? compile : undefined) ?? (await solveCompile(found)),
        patches: await this.#patchesFor(image, choice, layers, found, solution),
      };
      return { choice, solution, modules };
    });
  }

  async #solveTools(tools: ToolsDefinition, previous: Lock | undefined, updates: Updates): Promise<Solution> {
    const { reporter, signal } = this.#options;
    const indexes = await this.#open(toolsBase(tools), []);
    const before = previous?.tools.suite === indexes.release.suite ? previous.tools.packages : [];
    return solvePackages(indexes, toolsRequestOf(tools, before, updates), reporter, signal);
  }

  async #lockOnImage(parsed: ParsedSpec, previous: Lock | undefined, updates: Updates): Promise<Lock> {
    const { catalog, now } = this.#options;
    const { image } = parsed;
    const tools = requireTools(catalog);
    const facts = await this.#builder.factsFor(image, catalog);
    const [{ base, choice, solution, rpm }, toolsSolution] = await together(
      this.#solveOnImage(parsed, previous, updates),
      this.#solveTools(tools, previous, updates),
    );
    return makeLock({
      image,
      catalog,
      choice,
      base,
      solution,
      tools: { definition: facts.toolsDefinition, solution: toolsSolution },
      rpm,
      compressor: facts.compressor,
      now,
      previous,
    });
  }

  async #solveOnImage(
    parsed: ParsedSpec,
    previous: Lock | undefined,
    updates: Updates,
  ): Promise<SolvedOnImage & { readonly base: PinnedBase }> {
    const { catalog, reporter, signal } = this.#options;
    // Reads images, of which most declarations have none.
    const { pinBase } = await import('./base-image.ts');
    const base = await pinBase(parsed, pinnedDigest(parsed.image, previous, updates), this.#options);
    return reporter.stage(`Solve ${titleOf(parsed)}`, async (stage) => {
      const open = this.#open.bind(this);
      const solved = await solveOnImage(parsed, base, previous, updates, {
        ...this.#options,
        offline: this.#options.offline ?? false,
        open,
        solveTools: async () => {
          const indexes = await open(toolsBase(requireTools(catalog)), []);
          const keep = keptOf(previous?.rpm?.packages ?? [], updates);
          return solvePackages(indexes, { wanted: rpmToolRequests(), keep }, reporter, signal);
        },
      });
      stage.detail(`${solved.solution.packages.length} packages on ${base.digest}`);
      return { ...solved, base };
    });
  }

  /**
   * The kernels and the sources of modules are in the indexes, which indexes those are depends on the layers, and the
   * layers may depend on the kernels: chosen by what layers offer, and again with what the indexes then have.
   */
  async #choose(parsed: ParsedSpec, previous: Lock | undefined, updates: Updates): Promise<Chosen> {
    const { catalog, reporter, signal, now, productRoot } = this.#options;
    const { image } = parsed;
    const context = { productRoot, now: () => now };
    const first = requireChoice((await settleImage(context, parsed, catalog)).image, catalog);
    const layers = layersOf(image, catalog, first);
    requireKnown(updates, previous, layers, image);
    const indexes = await this.#open(image, layers);
    const before =
      previous?.base.suite === indexes.release.suite
        ? [...imagePackages(previous), ...(previous.modules ?? []).map(({ source }) => source)]
        : [];
    const packages = keptOf(before, updates);
    const kept: Kept = { packages, kernel: keptKernel(previous, packages, updates, layers) };
    const { architecture } = image;
    const open = (base: NodeImage['base']): Promise<Indexes> => this.#open({ base, architecture }, []);
    const offers = await lookUpOffers(indexes, open, image, catalog, first, kept, reporter, signal);
    const settled = await settleImage(context, parsed, catalog, withAnswer(offers, image));
    for (const message of settled.passedOver) reporter.info(`${titleOf(parsed)}: ${message}`);
    const choice = requireChoice(settled.image, catalog);
    const chosen = layersOf(image, catalog, choice);
    requireForeignKernel(parsed, chosen, offers, settled.kernel);
    return {
      choice,
      layers: chosen,
      indexes: await this.#open(image, chosen),
      kept,
      kernel: settled.kernel,
    };
  }

  /** The patches that the modules take for the kernel that was solved. */
  async #patchesFor(
    image: NodeImage,
    choice: Choice,
    layers: readonly LayerRequest[],
    kernel: Lock['kernel'],
    solution: Solution,
  ): Promise<Modules['patches']> {
    const { reporter, productRoot } = this.#options;
    const facts = await openFacts({ productRoot });
    const patches = moduleSources(layers).map(({ layer, name }) => {
      const source = solution.sources?.find((item) => item.name === name);
      const modules = { layer: layer.name, packageVersion: source?.version ?? '' };
      return [layer.name, patchesFor(facts, modulePair(image, choice, kernel, modules))] as const;
    });
    for (const [layer, needed] of patches) {
      for (const { name } of needed) reporter.info(`${layer}: modules are built with the patch ${name}`);
    }
    return new Map(patches);
  }

  async #open(
    image: Pick<NodeImage, 'base' | 'architecture'>,
    layers: readonly LayerRequest[],
    own?: IndexedRelease,
  ): Promise<Indexes> {
    const { catalog, reporter, signal } = this.#options;
    const { architecture } = image;
    const release = releaseOf(image, catalog, layers, own);
    const key = digestOfJson([release, architecture]);
    const opened = this.#indexes.get(key);
    if (opened !== undefined) return opened;
    const { offline = false } = this.#options;
    const what = `${offline ? 'Open' : 'Update'} package indexes of ${release.suite}`;
    const opening = reporter.stage(what, async () => {
      const indexes = await openIndexes({ ...this.#options, release, architecture });
      await (offline ? requireIndexes : updateIndexes)(indexes, reporter, signal);
      return indexes;
    });
    this.#indexes.set(key, opening);
    return opening;
  }
}

type Modules = NonNullable<LockInput['modules']>;

interface Solved {
  readonly choice: Choice;
  readonly solution: Solution;
  readonly modules?: Modules;
}

/** Of which the headers are needed. */
type CompileKernel = Pick<Lock['kernel'], 'release' | 'version'>;

function compileKernelOf(image: KernelImage | undefined): CompileKernel | undefined {
  return image === undefined ? undefined : { release: kernelRelease(image), version: image.version };
}

interface Chosen {
  readonly choice: Choice;
  readonly layers: readonly LayerRequest[];
  readonly indexes: Indexes;
  readonly kept: Kept;
  readonly kernel: KernelCandidate | undefined;
}

function toolsRequestOf(
  { packages }: ToolsDefinition,
  before: Lock['tools']['packages'],
  updates: Updates,
): SolveRequest {
  return { wanted: packages.map((name) => ({ name, by: 'tools.yaml' })), keep: keptOf(before, updates) };
}

function toolsBase({ base, release }: ToolsDefinition): Pick<NodeImage, 'base' | 'architecture'> {
  return { base: { name: base, release }, architecture: BUILDER_ARCHITECTURE };
}

/** Where no kernel has the version that was asked for, asking for its package says so, beside all other packages. */
function withAnswer(offers: FitOffers, { kernel }: NodeImage): FitOffers {
  if (kernelsOn(offers.kernels ?? [], kernel).length > 0) return offers;
  const { kernels: _none, ...rest } = offers;
  return rest;
}

function titleOf({ image }: ParsedSpec): string {
  return image.variant === undefined ? image.name : `${image.name}@${image.variant}`;
}
