/** Image × Image → difference. Pure; every value is JSON. */
import type { Digest } from '../digest.ts';
import { boundBlobs } from '../plan/bound.ts';
import type { ImageFacts } from '../plan/image-facts.ts';
import { tagAndDigest } from '../resolve/compare-locks.ts';
import type { LockedGpu } from '../resolve/lock.ts';
import { compareAccounts, type AccountDifference } from './compare-accounts.ts';
import { comparePackages, type PackageDifference } from './compare-packages.ts';
import { compareUnits, type UnitChange } from './compare-units.ts';
import { fileOwners } from './file-owners.ts';
import type { ImageSummary, LayerEntries } from './image-summary.ts';
import { comparePull, type Pull } from './pull.ts';
import { rebootFor, type Reboot } from './reboot.ts';
import { compareFiles, type FileChange, type Stack } from './stack-layers.ts';

export interface SideNames {
  readonly kind: ImageSummary['kind'];
  readonly shown: string;
  readonly name?: string | undefined;
  readonly version?: string | undefined;
  readonly digest?: Digest | undefined;
}

/** Something that a person knows by name. */
export interface FactChange {
  readonly what: 'base' | 'architecture' | 'kernel' | 'driver' | 'cuda' | 'runtime' | 'container' | 'model';
  readonly name: string;
  readonly from?: string;
  readonly to?: string;
}

export interface ListDifference {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** A part that is undefined could not be told; `untold` says why. */
export interface ImageDifference {
  readonly from: SideNames;
  readonly to: SideNames;
  readonly isSame: boolean;
  readonly facts: readonly FactChange[];
  readonly gpus?: { readonly gained: readonly LockedGpu[]; readonly lost: readonly LockedGpu[] };
  readonly packages?: PackageDifference;
  readonly kernelArguments?: ListDifference;
  readonly users?: AccountDifference;
  readonly groups?: AccountDifference;
  readonly units?: readonly UnitChange[];
  readonly files?: readonly FileChange[];
  readonly pull?: Pull;
  /** Of containers and models: what a node that has those of the first image pulls. */
  readonly boundPull?: {
    readonly bytes: number;
    readonly size: { readonly from: number; readonly to: number };
  };
  readonly reboot: Reboot;
  readonly untold: readonly string[];
}

/** The layers of two images as far as they were read. */
export interface ReadLayers {
  readonly from: Stack;
  readonly to: Stack;
  /** Of the blobs that the first image lacks. */
  readonly pulled: ReadonlyMap<Digest, LayerEntries>;
  /** False when what both have was left unread, so that a file that covers one of theirs counts as new. */
  readonly isWhole: boolean;
}

export function compareImages(from: ImageSummary, to: ImageSummary, layers?: ReadLayers): ImageDifference {
  const ownerOf = ownersOf(layers);
  const files = layers === undefined ? undefined : compareFiles(layers.from.files, layers.to.files, ownerOf);
  const moved = new Set((files ?? []).map(({ path }) => path));
  const isSame = isEqual(from, to, files);
  const facts = compareFacts(from.facts, to.facts);
  const gpus = compareGpus(from, to);
  return {
    from: namesOf(from),
    to: namesOf(to),
    isSame,
    facts,
    ...(gpus !== undefined && { gpus }),
    ...both(from.packages, to.packages, (a, b) => ({ packages: comparePackages(a, b) })),
    ...both(from.kernelArguments, to.kernelArguments, (a, b) => ({ kernelArguments: compareLists(a, b) })),
    ...both(from.users, to.users, (a, b) => ({ users: compareAccounts(a, b) })),
    ...both(from.groups, to.groups, (a, b) => ({ groups: compareAccounts(a, b) })),
    ...(files !== undefined && { units: compareUnits(files), files }),
    ...both(from.blobs, to.blobs, (a, b) => ({
      pull: comparePull(a, b, layers?.pulled, ownerOf, (path) => moved.has(path)),
    })),
    ...compareBound(from.facts, to.facts),
    reboot: rebootFor(from, to, files, isSame),
    untold: untoldOf(from, to, layers),
  };
}

/** Equal digests, and for locks equal contents as far as a node would notice. */
function isEqual(from: ImageSummary, to: ImageSummary, files: readonly FileChange[] | undefined): boolean {
  if (from.digest !== undefined && to.digest !== undefined) return from.digest === to.digest;
  if (files !== undefined || from.kind !== 'lock' || to.kind !== 'lock') return false;
  const shape = ({ facts, packages, modules, version, name }: ImageSummary): string =>
    JSON.stringify([name, version, facts, modules, packages]);
  return shape(from) === shape(to);
}

function ownersOf(layers: ReadLayers | undefined): (path: string) => string | undefined {
  if (layers === undefined) return () => undefined;
  const [before, after] = [fileOwners(layers.from.texts), fileOwners(layers.to.texts)];
  return (path) => after(path) ?? before(path);
}

function namesOf({ kind, shown, name, version, digest }: ImageSummary): SideNames {
  return { kind, shown, name, version, digest };
}

function both<Value, Result>(
  from: Value | undefined,
  to: Value | undefined,
  compare: (from: Value, to: Value) => Result,
): Result | undefined {
  return from === undefined || to === undefined ? undefined : compare(from, to);
}

function compareLists(from: readonly string[], to: readonly string[]): ListDifference {
  return {
    added: to.filter((value) => !from.includes(value)),
    removed: from.filter((value) => !to.includes(value)),
  };
}

function compareFacts(from: ImageFacts, to: ImageFacts): FactChange[] {
  const old = new Map(factList(from).map((fact) => [keyOf(fact), fact]));
  const fresh = new Map(factList(to).map((fact) => [keyOf(fact), fact]));
  return [...new Set([...fresh.keys(), ...old.keys()])].flatMap((key): FactChange[] => {
    const [before, after] = [old.get(key), fresh.get(key)];
    const known = after ?? before;
    if (known === undefined || before?.version === after?.version) return [];
    return [
      {
        what: known.what,
        name: known.name,
        ...(before !== undefined && { from: before.version }),
        ...(after !== undefined && { to: after.version }),
      },
    ];
  });
}

interface Fact {
  readonly what: FactChange['what'];
  readonly name: string;
  readonly version: string;
}

/** There is one of everything else. */
function keyOf({ what, name }: Fact): string {
  return ['runtime', 'container', 'model'].includes(what) ? `${what} ${name}` : what;
}

function factList({ base, architecture, kernel, driver, cuda, runtimes = [], bound }: ImageFacts): Fact[] {
  const join = (...parts: readonly (string | undefined)[]): string => parts.filter(Boolean).join(' ');
  return [
    ...(driver === undefined
      ? []
      : [
          {
            what: 'driver' as const,
            name: driver.name,
            version: join(driver.name, driver.version, driver.modules && `(${driver.modules} modules)`),
          },
        ]),
    ...(cuda === undefined ? [] : [{ what: 'cuda' as const, name: 'cuda', version: cuda }]),
    ...runtimes.map(({ name, version = 'of no version' }) => ({ what: 'runtime' as const, name, version })),
    ...(bound?.containers ?? []).map((one) => ({
      what: 'container' as const,
      name: one.name,
      version: tagAndDigest(one),
    })),
    ...(bound?.models ?? []).map((one) => ({
      what: 'model' as const,
      name: one.name,
      version: tagAndDigest(one),
    })),
    ...(kernel === undefined
      ? []
      : [
          {
            what: 'kernel' as const,
            name: kernel.flavour ?? 'kernel',
            version: join(kernel.release, kernel.version && `(${kernel.version})`),
          },
        ]),
    ...(base === undefined ? [] : [{ what: 'base' as const, name: 'base', version: base }]),
    ...(architecture === undefined
      ? []
      : [{ what: 'architecture' as const, name: 'architecture', version: architecture }]),
  ];
}

/** Nothing where neither image has such. */
function compareBound(from: ImageFacts, to: ImageFacts): Pick<ImageDifference, 'boundPull'> {
  if (from.bound === undefined && to.bound === undefined) return {};
  const [before, after] = [from, to].map(({ bound }) => boundBlobs(bound ?? NOTHING)) as [Blobs, Blobs];
  const sum = (blobs: Iterable<number>): number => [...blobs].reduce((total, size) => total + size, 0);
  const pulled = [...after].flatMap(([digest, size]) => (before.has(digest) ? [] : [size]));
  return { boundPull: { bytes: sum(pulled), size: { from: sum(before.values()), to: sum(after.values()) } } };
}

type Blobs = ReturnType<typeof boundBlobs>;
const NOTHING = { containers: [], models: [] };

/** By PCI id where both tell them: another name for the same GPUs gains nothing. */
function compareGpus(from: ImageSummary, to: ImageSummary): ImageDifference['gpus'] {
  const [before, after] = [from.facts.gpus, to.facts.gpus];
  if (before === undefined && after === undefined) return undefined;
  const missing = (these: readonly LockedGpu[], others: readonly LockedGpu[]): LockedGpu[] => {
    const known = new Set(others.flatMap(({ pci }) => pci));
    return these.flatMap(({ name, pci }) => {
      const gone = pci.filter((id) => !known.has(id));
      return gone.length === 0 ? [] : [{ name, pci: gone }];
    });
  };
  return { gained: missing(after ?? [], before ?? []), lost: missing(before ?? [], after ?? []) };
}

function untoldOf(from: ImageSummary, to: ImageSummary, layers: ReadLayers | undefined): string[] {
  const untold: string[] = [];
  const lock = [from, to].find(({ kind }) => kind === 'lock');
  if (lock !== undefined) {
    const known =
      from.kind === to.kind ? 'locks name packages' : `${lock.shown} is a lock, which names packages`;
    untold.push(
      `${known}: files, units, users and kernel arguments, sizes of layers and what a node pulls are known of images alone`,
    );
  } else if (layers !== undefined && !layers.isWhole) {
    untold.push(
      'the layers that both have were not read: a file that covers one of theirs counts as added, and one that uncovers it as removed',
    );
  }
  for (const { kind, shown, facts } of [from, to]) {
    if (kind === 'image' && facts.base === undefined) {
      untold.push(
        `${shown} does not say its driver, CUDA and GPUs: it was made by something else, or long ago`,
      );
    }
  }
  return untold;
}
