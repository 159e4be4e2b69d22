/** What a node that has one image must pull for the other, and what for. Pure. */
import type { Digest } from '../digest.ts';
import { placeOf } from './file-owners.ts';
import type { LayerEntries, SummaryBlob } from './image-summary.ts';

export interface PullShare {
  /** A package; where no package brings the files, a folder, or one large file. */
  readonly what: string;
  readonly isPackage: boolean;
  /** Bytes of the blob that are its, as near as can be told: blobs are compressed as a whole. */
  readonly bytes: number;
  /** Of these, bytes of files that the node has already, in another blob. */
  readonly carried: number;
}

export interface PulledBlob extends SummaryBlob {
  /** Largest first. Empty when the blob was not read. */
  readonly shares: readonly PullShare[];
}

export interface Pull {
  readonly bytes: number;
  /** Bytes of blobs that the node has. */
  readonly reused: number;
  /** Bytes of all blobs, before and after. */
  readonly size: { readonly from: number; readonly to: number };
  readonly blobs: readonly PulledBlob[];
  /** With the deltas that stand beside the new image: bytes in all, and how many blobs come by one. */
  readonly byDeltas?: { readonly bytes: number; readonly blobs: number };
}

/** @param deltas of blobs that are to be pulled: bytes of each, by the blob that it stands for */
export function withDeltas(pull: Pull, deltas: ReadonlyMap<Digest, number>): Pull {
  const replaced = pull.blobs.filter(({ digest }) => deltas.has(digest));
  if (replaced.length === 0) return pull;
  const saved = replaced.reduce((all, { digest, size }) => all + size - (deltas.get(digest) ?? 0), 0);
  return { ...pull, byDeltas: { bytes: pull.bytes - saved, blobs: replaced.length } };
}

export function comparePull(
  before: readonly SummaryBlob[],
  after: readonly SummaryBlob[],
  /** Contents of the blobs that are to be pulled. */
  contents: ReadonlyMap<Digest, LayerEntries> = new Map(),
  ownerOf: (path: string) => string | undefined = () => undefined,
  isMoved: (path: string) => boolean = () => true,
): Pull {
  const had = new Set(before.map(({ digest }) => digest));
  const pulled = unique(after).filter(({ digest }) => !had.has(digest));
  const bytes = sum(pulled);
  return {
    bytes,
    reused: sum(unique(after)) - bytes,
    size: { from: sum(unique(before)), to: sum(unique(after)) },
    blobs: pulled.map((blob) => {
      const entries = contents.get(blob.digest);
      return { ...blob, shares: entries === undefined ? [] : sharesOf(blob, entries, ownerOf, isMoved) };
    }),
  };
}

/** Headers of a compressed archive cost little, and many small files do cost something. */
const ENTRY_BYTES = 64;
const NAMED_BYTES = 1024 * 1024;

function sharesOf(
  blob: SummaryBlob,
  { entries }: LayerEntries,
  ownerOf: (path: string) => string | undefined,
  isMoved: (path: string) => boolean,
): PullShare[] {
  const weights = new Map<string, { isPackage: boolean; weight: number; carried: number }>();
  let total = 0;
  for (const [path, { type, size }] of entries) {
    if (type === 'directory') continue;
    const owner = ownerOf(path);
    // A kernel or an initramfs is worth its own name; small files are told by their folder.
    const what = owner ?? (size >= NAMED_BYTES ? `/${path}` : placeOf(path));
    const weight = (type === 'file' ? size : 0) + ENTRY_BYTES;
    const known = weights.get(what) ?? { isPackage: owner !== undefined, weight: 0, carried: 0 };
    known.weight += weight;
    if (!isMoved(path)) known.carried += weight;
    weights.set(what, known);
    total += weight;
  }
  const scale = total === 0 ? 0 : blob.size / total;
  return [...weights]
    .map(([what, { isPackage, weight, carried }]) => ({
      what,
      isPackage,
      bytes: Math.round(weight * scale),
      carried: Math.round(carried * scale),
    }))
    .sort((left, right) => right.bytes - left.bytes || (left.what < right.what ? -1 : 1));
}

/** A blob that an image names twice is pulled once. */
function unique(blobs: readonly SummaryBlob[]): SummaryBlob[] {
  return [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
}

function sum(blobs: readonly SummaryBlob[]): number {
  return blobs.reduce((total, { size }) => total + size, 0);
}
