/** NodeImage × catalogue × package solutions → Lock. Pure. */
import type { Catalog } from '../catalog/layer.ts';
import { canonicalJson, type Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Solution, SolvedPackage } from '../packages/solution.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { declarationDigest } from '../spec/normalise.ts';
import { ImageVersion } from '../spec/schema.ts';
import { kernelFlavour, type Choice } from './choice.ts';
import { essentialClosure } from './closure.ts';
import { layersOf, type LayerRequest } from './layers.ts';
import { lockAgent, type AgentFacts } from './lock-agent.ts';
import {
  LOCK_SCHEMA_VERSION,
  type Lock,
  type LockedAgent,
  type LockedGpu,
  type LockedLayer,
  type LockedPatch,
} from './lock.ts';
import { lockBase, lockOwnKernel, type BaseInput } from './lock-base.ts';
import { lockAccelerators } from './lock-accelerators.ts';
import type { LockedBound } from './lock-bound.ts';
import { ownPackages } from './own-packages.ts';

export interface LockInput {
  readonly image: NodeImage;
  readonly catalog: Catalog;
  readonly choice: Choice;
  /** For an image that is built on another one. */
  readonly base?: BaseInput | undefined;
  readonly solution: Solution;
  readonly tools: { readonly definition: Digest; readonly solution: Solution };
  /** For an image whose kernel modules are built: what with, and patches by layer. */
  readonly modules?:
    | {
        readonly compile: Solution;
        readonly patches: ReadonlyMap<string, readonly LockedPatch[]>;
      }
    | undefined;
  /** For packages of rpm: what rpm and dnf run from. */
  readonly rpm?: Solution | undefined;
  /** Containers, those of layers too, and models; as registries have them. */
  readonly bound?: LockedBound | undefined;
  readonly compressor: Lock['compressor'];
  /** For an image with an agent. */
  readonly agent?: AgentFacts | undefined;
  readonly now: Date;
  /** Digest of the facts, for an image that was judged by them. */
  readonly facts?: Digest | undefined;
  /** What the declaration's GPUs are, by the facts. */
  readonly gpus?: readonly LockedGpu[] | undefined;
  /** The lock that this one replaces. */
  readonly previous?: Lock | undefined;
}

/**
 * The lock of one image. When nothing but the time differs from the previous lock, it is the previous lock.
 *
 * @throws IngotError CATALOG_INVALID when the kernel layer brings no kernel, or more than one; OFFER_STALE when a
 *   version is not the one that was chosen
 */
export function makeLock(input: LockInput): Lock {
  const { image, catalog, choice, solution, tools, now, previous } = input;
  const created = toSeconds(now);
  const family = input.base?.facts.family === 'rpm' ? 'rpm' : 'debian';
  const requests = layersOf(image, catalog, choice, family);
  const agent = lockAgent(requests, input.agent);
  const lock: Lock = {
    schemaVersion: LOCK_SCHEMA_VERSION,
    name: image.name,
    ...(image.variant !== undefined && { variant: image.variant }),
    declaration: declarationDigest(image),
    ...(input.facts !== undefined && { facts: input.facts }),
    created,
    version: image.version ?? nextVersion(now, previous?.version),
    base:
      input.base === undefined
        ? {
            name: image.base.name,
            release: image.base.release,
            suite: solution.suite,
            architecture: image.architecture,
          }
        : lockBase(input.base, image, solution.suite),
    kernel:
      input.base === undefined
        ? findKernel(kernelFlavour(image, choice), solution.packages)
        : lockOwnKernel(input.base),
    ...(input.gpus !== undefined && input.gpus.length > 0 && { gpus: [...input.gpus] }),
    ...lockAccelerators(choice, requests, solution, input.modules?.patches),
    ...input.bound,
    ...(agent !== undefined && { agent }),
    ...(input.modules !== undefined && {
      compile: { packages: lockPackages(input.modules.compile.packages) },
    }),
    ...(input.rpm !== undefined && { rpm: { packages: lockPackages(input.rpm.packages) } }),
    compressor: input.compressor,
    archives: solution.archives,
    layers: lockLayers(requests, solution.packages, created, previous, agent),
    tools: {
      definition: tools.definition,
      suite: tools.solution.suite,
      archives: tools.solution.archives,
      packages: lockPackages(tools.solution.packages),
    },
  };
  if (previous === undefined) return lock;
  // A version that somebody wrote into the lock and that cannot be one is not kept.
  const kept = ImageVersion.safeParse(previous.version).success ? previous.version : lock.version;
  const version = image.version ?? kept;
  const again = { ...lock, created: previous.created, version };
  if (canonicalJson(again) === canonicalJson(previous)) return previous;
  // Other facts that choose the same are no new image.
  return canonicalJson(withoutFacts(again)) === canonicalJson(withoutFacts(previous)) ? again : lock;
}

function withoutFacts({ facts: _facts, ...rest }: Lock): Omit<Lock, 'facts'> {
  return rest;
}

function lockLayers(
  requests: readonly LayerRequest[],
  packages: readonly SolvedPackage[],
  created: string,
  previous: Lock | undefined,
  agent: LockedAgent | undefined,
): LockedLayer[] {
  const isSameAgent = canonicalJson(agent ?? null) === canonicalJson(previous?.agent ?? null);
  const layers = requests.map(({ name, packages: terms, below }) => ({
    name,
    below,
    roots: rootsOf(terms, packages),
  }));
  // A base that is an image takes no package: what would be its own goes to the layer above it.
  const isImage = requests[0]?.definition === undefined && packages.length > 0;
  const owned = ownPackages(packages, isImage ? layers.slice(1) : layers);
  const locked = new Map(lockPackages(packages).map((item) => [item.name, item]));
  return requests.map(({ name, kind, definition }) => {
    const layer = {
      name,
      kind,
      ...(definition !== undefined && {
        definition: { name: definition.definition.name, digest: definition.digest },
      }),
      created,
      packages: (owned.get(name) ?? []).flatMap((item) => locked.get(item) ?? []),
    };
    const before = previous?.layers.find((candidate) => candidate.name === name);
    // Its own time is kept as long as it is the same layer: an unchanged layer keeps its bits.
    const isSame = before !== undefined && canonicalJson({ ...before, created }) === canonicalJson(layer);
    return isSame && (kind !== 'agent' || isSameAgent) ? before : layer;
  });
}

/** What a layer's terms became: the package itself, or the kernel images chosen in a metapackage's stead. */
function rootsOf(terms: readonly string[], packages: readonly SolvedPackage[]): string[] {
  const names = new Set(packages.map((item) => item.package.name));
  return terms.flatMap((term) => {
    const name = term.replace(/=.*$/, '');
    if (names.has(name)) return [name];
    return name.startsWith('linux-image-') ? [...names].filter(isKernelImage) : [];
  });
}

/** Locked packages in name order, the essential closure marked. */
export function lockPackages(packages: readonly SolvedPackage[]): LockedPackage[] {
  const essential = essentialClosure(packages);
  return packages
    .map(({ package: item }) => (essential.has(item.name) ? { ...item, essential: true as const } : item))
    .sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0));
}

/** `linux-image-6.12.57+deb13-cloud-amd64`, unlike the metapackage `linux-image-cloud-amd64`. */
function isKernelImage(name: string): boolean {
  return /^linux-image-\d/.test(name) && !name.endsWith('-dbg');
}

/** @throws IngotError CATALOG_INVALID when the packages hold no kernel, or more than one */
export function findKernel(flavour: string, packages: readonly SolvedPackage[]): Lock['kernel'] {
  const images = packages.map((item) => item.package).filter((item) => isKernelImage(item.name));
  const [image] = images;
  if (image === undefined || images.length > 1) {
    const found = images.map((item) => item.name).join(', ');
    throw new IngotError(
      'CATALOG_INVALID',
      image === undefined
        ? `the kernel layer ${flavour} brings no linux-image package`
        : `the image would have more than one kernel: ${found}`,
      { hint: 'exactly one package linux-image-<release> may be installed' },
    );
  }
  const release = image.name.replace(/^linux-image-/, '').replace(/-unsigned$/, '');
  return { flavour, package: image.name, version: image.version, release };
}

/** `20251122.1`, counted up from the previous lock so that hosts can tell newer from older. */
export function nextVersion(now: Date, previous: string | undefined): string {
  const today = now.toISOString().slice(0, 10).replaceAll('-', '');
  const [, day, count] = /^(\d{8})\.(\d+)$/.exec(previous ?? '') ?? [];
  // Also when the previous lock is from a later day: a clock that was wrong must not make versions go back.
  return day === undefined || count === undefined || day < today
    ? `${today}.1`
    : `${day}.${Number(count) + 1}`;
}

function toSeconds(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, 'Z');
}
