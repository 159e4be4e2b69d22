/**
 * Divides layers into chunks, which become the image's OCI layers, so that a node pulls only what changed. Pure.
 *
 * A package is in the same chunk from lock to lock: a large one is a chunk of its own, the others are grouped by a
 * hash of their source's name, and a group that grows too large is split by the next bit of the hash. So a package
 * that comes, goes or changes touches its own group and no other.
 *
 * What Debian cannot compile it only packs: a revision of such a package has a new changelog and the same bits. Their
 * large files are chunks apart from the documents.
 */
import { digestOf, hexOf } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';

/** Part of a step's tree that becomes a blob of its own. */
export interface PlanChunk {
  /** Unique in its step. */
  readonly name: string;
  /** Names of the packages whose files are in it. */
  readonly packages: readonly string[];
  /** Files in it that no package owns, relative to the root. */
  readonly paths?: readonly string[];
  /**
   * Time of its directories and of what the build itself wrote, seconds. Without it, that of the first file of its
   * packages: its bytes then depend on these packages alone.
   */
  readonly epoch?: number;
  /** Of its packages just the files of so many bytes and more; the others are in another chunk. */
  readonly filesFrom?: number;
  /** How hard it is compressed, when not as the image is. */
  readonly level?: number;
}

/** What runtimes that stack layers as overlays can mount, with room for layers that others add. */
export const MAX_CHUNKS = 100;
/**
 * Bytes of package files in a group. Smaller ones mean fewer bytes to pull for a change, and more requests and more
 * commits for all.
 */
export const GROUP_BYTES = 4 * 1024 * 1024;
/** A file of this many bytes is worth being apart from the changelog beside it. */
export const LARGE_FILE_BYTES = 1024 * 1024;

/** What no package owns: files of the layer definition, of package scripts, of the seal. The first of each step. */
export const REST = 'rest';

export interface ChunkedStep {
  readonly packages: readonly Pick<LockedPackage, 'name' | 'size' | 'filename'>[];
  /** Chunks of paths that no package owns. */
  readonly extra?: readonly PlanChunk[];
  /** The step's time, seconds. */
  readonly epoch: number;
  /** How hard all its chunks are compressed, when not as the image is. */
  readonly level?: number;
}

interface Group {
  readonly name: string;
  readonly packages: readonly string[];
  readonly bytes: number;
}

/** The chunks of each step of an image, in the order of `steps`; those of one step are applied in their order. */
export function planChunks(steps: readonly ChunkedStep[], limit = MAX_CHUNKS): PlanChunk[][] {
  // Groups of whole packages, then those of large files: one of these is never joined with one of those.
  const groups = steps.flatMap(({ packages }) => [groupPackages(packages), groupLargeFiles(packages)]);
  const others = steps.reduce((sum, { extra = [] }) => sum + 1 + extra.length, 0);
  keepWithin(groups, limit - others);
  return steps.map(({ epoch, extra = [], level }, index) =>
    [
      { name: REST, packages: [], epoch },
      ...extra,
      ...(groups[2 * index] ?? []).map(chunkOf),
      ...(groups[2 * index + 1] ?? []).map((group) => ({ ...chunkOf(group), filesFrom: LARGE_FILE_BYTES })),
    ].map((chunk) => (level === undefined ? chunk : { ...chunk, level })),
  );
}

function chunkOf({ name, packages }: Group): PlanChunk {
  return { name, packages: [...packages].sort() };
}

interface Source {
  readonly name: string;
  readonly hash: bigint;
  readonly packages: string[];
  bytes: number;
}

function groupPackages(packages: ChunkedStep['packages']): Group[] {
  const large = packages.filter(isLarge).map(({ name, size }) => ({ name, packages: [name], bytes: size }));
  const small = packages.filter((item) => !isLarge(item));
  return [...splitGroup(sourcesOf(small), ''), ...large].sort(byName);
}

/** Of the packages that are only packed: those of each large one, and of all the others from one source. */
function groupLargeFiles(packages: ChunkedStep['packages']): Group[] {
  const packed = packages.filter(isOnlyPacked);
  // No package has a colon in its name.
  return [
    ...packed
      .filter(isLarge)
      .map(({ name, size }) => ({ name: `${name}:files`, packages: [name], bytes: size })),
    ...sourcesOf(packed.filter((item) => !isLarge(item))).map((source) => ({
      name: `${source.name}:source-files`,
      packages: source.packages,
      bytes: source.bytes,
    })),
  ].sort(byName);
}

function isLarge({ size }: { readonly size: number }): boolean {
  return size > GROUP_BYTES;
}

/** Firmware, and what vendors give as programs: Debian has that in components of its own. */
function isOnlyPacked({ filename }: { readonly filename: string }): boolean {
  return /(?:^|\/)pool\/(?:updates\/)?non-free(?:-firmware)?\//.test(filename);
}

function byName(left: Group, right: Group): number {
  return left.name < right.name ? -1 : 1;
}

function sourcesOf(packages: ChunkedStep['packages']): Source[] {
  const sources = new Map<string, Source>();
  for (const item of packages) {
    const name = sourceOf(item);
    const source = sources.get(name) ?? { name, hash: hashOf(name), packages: [], bytes: 0 };
    source.packages.push(item.name);
    source.bytes += item.size;
    sources.set(name, source);
  }
  return [...sources.values()];
}

/** `prefix` is the bits that the hashes of `sources` share. */
function splitGroup(sources: readonly Source[], prefix: string): Group[] {
  if (sources.length === 0) return [];
  const bytes = sources.reduce((sum, source) => sum + source.bytes, 0);
  if (bytes <= GROUP_BYTES || sources.length === 1 || prefix.length === HASH_BITS) {
    const name = prefix === '' ? 'packages' : `packages-${prefix}`;
    return [{ name, packages: sources.flatMap((source) => source.packages), bytes }];
  }
  const bit = BigInt(HASH_BITS - 1 - prefix.length);
  return ['0', '1'].flatMap((digit) =>
    splitGroup(
      sources.filter(({ hash }) => ((hash >> bit) & 1n) === BigInt(digit)),
      prefix + digit,
    ),
  );
}

const HASH_BITS = 64;

function hashOf(text: string): bigint {
  return BigInt(`0x${hexOf(digestOf(text)).slice(0, HASH_BITS / 4)}`);
}

/** Packages of one source are released together. Archives of Debian's form have the source's name in the path. */
function sourceOf({ name, filename }: { readonly name: string; readonly filename: string }): string {
  return /(?:^|\/)pool\/(?:[^/]+\/)+(?:lib)?[a-z0-9]\/([^/]+)\/[^/]+$/.exec(filename)?.[1] ?? name;
}

/** Joins the two smallest groups of a step, again and again, until all steps together have `limit` groups. */
function keepWithin(steps: Group[][], limit: number): void {
  for (let count = steps.flat().length; count > Math.max(0, limit); count -= 1) {
    const smallest = steps
      .map((groups, step) => ({ step, ordered: groups.toSorted(bySize) }))
      .filter(({ ordered }) => ordered.length > 1)
      .map(({ step, ordered: [first, second] }) => ({ step, first, second }))
      .sort((left, right) => joinedBytes(left) - joinedBytes(right) || left.step - right.step)[0];
    // One group is left in each step: what no step can spare is over the limit.
    if (smallest?.first === undefined || smallest.second === undefined) return;
    const { step, first, second } = smallest;
    const joined = {
      name: second.name,
      packages: [...first.packages, ...second.packages],
      bytes: first.bytes + second.bytes,
    };
    steps[step] = (steps[step] ?? []).flatMap((group) =>
      group === first ? [] : group === second ? [joined] : [group],
    );
  }
}

function joinedBytes({ first, second }: { first: Group | undefined; second: Group | undefined }): number {
  return (first?.bytes ?? 0) + (second?.bytes ?? 0);
}

function bySize(left: Group, right: Group): number {
  return left.bytes - right.bytes || (left.name < right.name ? -1 : 1);
}
