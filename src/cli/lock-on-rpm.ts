/** Locks packages that are added to a base with rpm packages: from the repositories of the base and of the layers. */
import { rootBuilderDigest } from '../build/builder-digest.ts';
import { ensureRoot } from '../build/tools-tree.ts';
import type { LoadedCatalog } from '../catalog/load.ts';
import { FindingsError, IngotError } from '../errors.ts';
import { fetchPackages } from '../packages/fetch.ts';
import type { Mirrors } from '../packages/mirror.ts';
import type { LockedArchive } from '../packages/package.ts';
import { archiveMirrors } from '../packages/rpm/archive-mirrors.ts';
import { fetchMetadata, type RepositoryMetadata, type TrustedRepository } from '../packages/rpm/metadata.ts';
import { requireSigned } from '../packages/rpm/signatures.ts';
import { solveRpm } from '../packages/rpm/solve.ts';
import { repositoriesOfImage, repositoryOfLayer, rpmArchitecture } from '../packages/rpm/trust.ts';
import type { PackageRequest } from '../packages/solve.ts';
import type { Solution } from '../packages/solution.ts';
import { planRpmTools } from '../plan/make-plan.ts';
import type { Reporter } from '../report/events.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import type { LayerRequest } from '../resolve/layers.ts';
import type { Lock } from '../resolve/lock.ts';
import { lockPackages } from '../resolve/make-lock.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import type { Store } from '../store/store.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import type { PinnedBase } from './base-image.ts';
import { keptOf, type Updates } from './package-requests.ts';

export interface LockOnRpmOptions {
  readonly store: Store;
  readonly mirrors: Mirrors;
  readonly catalog: LoadedCatalog;
  /** What rpm and dnf run from; the suite of the tools. */
  readonly solveTools: () => Promise<Solution>;
  readonly offline: boolean;
  readonly reporter: Reporter;
  readonly now: Date;
  readonly signal?: AbortSignal | undefined;
}

export interface SolvedOnRpm {
  readonly solution: Solution;
  readonly rpm: Solution;
}

/**
 * @throws FindingsError PACKAGE_UNKNOWN; IngotError SPEC_INVALID, PACKAGES_CONFLICT, NOT_ROOT, MIRROR_UNREACHABLE,
 *   MIRROR_UNTRUSTED, and what making a root throws
 */
export async function solveOnRpm(
  parsed: ParsedSpec,
  base: PinnedBase,
  layers: readonly LayerRequest[],
  wanted: readonly PackageRequest[],
  previous: Lock | undefined,
  updates: Updates,
  options: LockOnRpmOptions,
): Promise<SolvedOnRpm> {
  const { store, reporter, offline, signal } = options;
  if (process.getuid?.() !== 0) {
    throw new IngotError(
      'NOT_ROOT',
      'locking rpm packages takes root: dnf runs from a root that is made for it',
      {
        hint: 'run the same command as root, for example with sudo',
      },
    );
  }
  const rpm = await options.solveTools();
  const tools = await ensureRpmRoot(rpm, options);
  const repositories = await repositoriesFor(base, layers, parsed.image.architecture);
  const metadata = await reporter.stage('Update rpm indexes', async (stage) => {
    const { proxies } = options.mirrors;
    const found = await fetchMetadata(repositories, { store, proxies, offline, stage, signal });
    stage.detail(found.map(({ repository: { id } }) => id).join(', '));
    return found;
  });
  const { id, release, rpm: facts } = base.facts;
  const suite = `${id}-${release}`;
  const before = previous?.base.suite === suite ? imagePackages(previous) : [];
  const solution = await solveRpm(
    {
      wanted,
      keep: keptOf(before, updates),
      database: facts?.database ?? [],
      architecture: rpmArchitecture(parsed.image.architecture),
      repositories: metadata,
      suite,
    },
    { tools, store, signal },
  );
  await verifyPackages(solution, metadata, tools, options);
  return { solution, rpm };
}

/** The root that rpm and dnf run from, made when the store does not have it: the same as a build's. */
async function ensureRpmRoot(
  { packages }: Solution,
  { store, mirrors, reporter, now, signal }: LockOnRpmOptions,
): Promise<ToolsRoot> {
  const step = planRpmTools({ packages: lockPackages(packages) }, await rootBuilderDigest());
  return ensureRoot(step, {
    store,
    mirrors: () => Promise.resolve(mirrors),
    created: now,
    title: 'Prepare rpm and dnf',
    reporter,
    signal,
  });
}

/** @throws FindingsError SPEC_INVALID for addons that are nothing on such a base */
export function refuseForeignAddons(
  { image, sources }: ParsedSpec,
  layers: readonly LayerRequest[],
  { reference }: PinnedBase,
): void {
  const findings = layers.flatMap(({ definition, name }) => {
    if (definition === undefined || definition.definition.install.rpm !== undefined) return [];
    const index = image.addons.indexOf(definition.definition.name);
    return [
      {
        code: 'SPEC_INVALID' as const,
        severity: 'error' as const,
        message: `${name} installs nothing on ${reference}, whose packages are rpm’s`,
        location: index < 0 ? sources.keyAt(['addons']) : sources.at(['addons', index]),
        suggestions: [`install.rpm in ${definition.file}`],
      },
    ];
  });
  if (findings.length > 0) throw new FindingsError(findings);
}

async function repositoriesFor(
  { reference, facts }: PinnedBase,
  layers: readonly LayerRequest[],
  architecture: string,
): Promise<TrustedRepository[]> {
  const context = { reference, release: facts.release, architecture: rpmArchitecture(architecture) };
  const found = repositoriesOfImage(facts.rpm?.configuration ?? {}, context);
  for (const { definition } of layers) {
    for (const repository of definition?.definition.install.rpm?.repositories ?? []) {
      found.push(await repositoryOfLayer(repository, context));
    }
  }
  const names = found.map(({ id }) => id);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new IngotError('CATALOG_INVALID', `there are two repositories ${twice}`, {
      hint: 'give that of the layer another name',
    });
  }
  if (found.length > 0) return found;
  throw new IngotError(
    'SPEC_INVALID',
    `packages cannot be added to ${reference}: it configures no package repository`,
    {
      hint: 'a base has them in /etc/yum.repos.d; a layer can name one as install.rpm.repositories',
    },
  );
}

/** What an index without a signature names is fetched now, and held against the key of its repository. */
async function verifyPackages(
  { packages, archives }: Solution,
  metadata: readonly RepositoryMetadata[],
  tools: ToolsRoot,
  { store, mirrors, reporter, now, signal }: LockOnRpmOptions,
): Promise<void> {
  for (const { repository } of metadata) {
    const { id, signsPackages, signsIndex } = repository;
    const own = packages.map((item) => item.package).filter(({ archive }) => archive === id);
    if (!signsPackages || signsIndex || own.length === 0) continue;
    await reporter.stage(`Verify packages of ${id}`, async (stage) => {
      const known: readonly LockedArchive[] = archives;
      const places = await archiveMirrors(mirrors, known, signal);
      await fetchPackages(own, { store, mirrors: places, created: now, stage, signal });
      await requireSigned(repository, own, { tools, store, signal });
      stage.detail(`${own.length} packages`);
    });
  }
}
