/**
 * What a tree has beyond the layer that it was packed into: paths that no layer carries, such as /var and parts of
 * dpkg's database, and which files the build made. With the layer's blobs it gives the tree again, so that a step can
 * be built on it without making it from packages.
 *
 * The archive holds the file `undated`, paths of the layer with a NUL after each, and below `tree/` what the layer
 * leaves out.
 */
import { writeFile } from 'node:fs/promises';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';

import { type Digest, DigestText, hexOf } from '../digest.ts';
import type { PlannedTree } from '../plan/plan.ts';
import { run } from '../proc/run.ts';
import { hashTrees } from '../store/hashing.ts';
import type { Store } from '../store/store.ts';
import { type Attributes, getfattrArgv, parseGetfattr } from '../tools/getfattr.ts';
import { LAYER_MEDIA_TYPE, packEntries } from './archive/pack.ts';
import { Packers } from './archive/packers.ts';
import { type TreeEntry, walkTree } from './archive/tree-walk.ts';
import type { TreeAttributes } from './archive/xattrs.ts';
import type { PackedLayer } from './packed-layer.ts';
import { leftOutOf } from './steps.ts';
import { undatedTime } from './tree-times.ts';

/** Of /var and the like: far more than packages leave there. */
const MAX_REMAINDER_BYTES = 1024 ** 3;
const MAX_REMAINDER_ENTRIES = 1_000_000;

export const UNDATED = 'undated';
export const TREE_PREFIX = 'tree/';

/** As the store and caches of layers write it down. */
export const TreeRemainder = z.object({
  /** Digest of the whole tree (`hashTrees`), in hex. */
  contents: z.string().regex(/^[0-9a-f]{64}$/),
  /** Of the layer's plain archives, in their order. */
  layer: z.array(DigestText).min(1),
  archive: z.object({
    mediaType: z.literal(LAYER_MEDIA_TYPE),
    diffId: DigestText,
    digest: DigestText,
    size: z.int().nonnegative().max(MAX_REMAINDER_BYTES),
    uncompressedSize: z.int().nonnegative().max(MAX_REMAINDER_BYTES),
    entries: z.int().nonnegative().max(MAX_REMAINDER_ENTRIES),
  }),
});
export type TreeRemainder = z.infer<typeof TreeRemainder>;

/** Of the layer's tree, when the store has it. */
export async function findRemainder(
  store: Store,
  key: Digest,
  layer: PackedLayer,
): Promise<TreeRemainder | undefined> {
  const { data } = TreeRemainder.safeParse(await store.readRecord('remainders', hexOf(key)));
  if (data === undefined || !isRemainderOf(data, layer)) return undefined;
  const { digest, size } = data.archive;
  return (await store.blobSize(hexOf(digest))) === size ? data : undefined;
}

export async function recordRemainder(store: Store, key: Digest, remainder: TreeRemainder): Promise<void> {
  await store.writeRecord('remainders', hexOf(key), remainder);
}

export function isRemainderOf(remainder: TreeRemainder, { chunks }: PackedLayer): boolean {
  return (
    chunks.length === remainder.layer.length &&
    chunks.every(({ diffId }, at) => diffId === remainder.layer[at])
  );
}

interface RemainderOptions {
  readonly step: PlannedTree;
  readonly layer: PackedLayer;
  /** Digest of the tree, in hex, where it is known. */
  readonly contents: string | undefined;
  readonly level: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Packs it into the store. Undefined for a tree that cannot be given again: made by an Ingot that left times as they
 * were, or one with what no archive holds.
 */
export async function packRemainder(
  store: Store,
  root: string,
  { step, layer, contents, level, signal }: RemainderOptions,
): Promise<TreeRemainder | undefined> {
  const { epoch } = step;
  const attributes = await allAttributes(root, signal);
  // Walked twice: what of a subtree is left out is for the packer alone to say.
  const drop = leftOutOf(step, root, undefined);
  const packed = new Set<string>();
  const undated: string[] = [];
  for (const { entry, dated, removal } of walkTree(root, { epoch, attributes, drop })) {
    packed.add(entry.path);
    if (!dated && removal !== true && entry.type !== 'directory') undated.push(entry.path);
  }
  const rest: TreeEntry[] = [];
  for (const found of walkTree(root, { epoch, attributes })) {
    if (!isSettled(found, epoch)) return undefined;
    if (!packed.has(found.entry.path)) rest.push(below(found));
  }
  await using scratch = await store.scratch('remainder');
  const list = join(scratch.path, UNDATED);
  await writeFile(list, undated.map((path) => `${path}\0`).join(''));
  const common = { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
  const entries: TreeEntry[] = [
    listEntry(list),
    { entry: { ...common, path: TREE_PREFIX.slice(0, -1), type: 'directory' }, dated: false },
    ...rest,
  ];
  await using packers = new Packers();
  const blob = await packEntries(store, { entries, time: undatedTime(epoch), level }, packers, { signal });
  const archive = { mediaType: LAYER_MEDIA_TYPE, ...blob, entries: entries.length } as const;
  return {
    contents: contents ?? (await contentsOf(root, signal)),
    layer: layer.chunks.map(({ diffId }) => diffId),
    archive,
  };
}

/** @throws the system's error for what cannot be read */
export async function contentsOf(root: string, signal?: AbortSignal): Promise<string> {
  const result = (await hashTrees([root], { signal })).get(root);
  if (result !== undefined && 'hex' in result) return result.hex;
  throw new TypeError(`the tree ${root} cannot be read: ${result?.fault ?? 'no answer'}`);
}

function isSettled({ entry, dated, removal }: TreeEntry, epoch: number): boolean {
  return dated || removal === true || entry.mtime === undatedTime(epoch);
}

function below(found: TreeEntry): TreeEntry {
  const { entry } = found;
  const path = `${TREE_PREFIX}${entry.path}`;
  return {
    ...found,
    entry:
      entry.type === 'hardlink'
        ? { ...entry, path, target: `${TREE_PREFIX}${entry.target}` }
        : { ...entry, path },
  };
}

function listEntry(absolute: string): TreeEntry {
  const { size, ino: inode, mtimeMs } = lstatSync(absolute);
  return {
    entry: { path: UNDATED, type: 'file', size, mode: 0o644, uid: 0, gid: 0, mtime: 0 },
    dated: false,
    source: { absolute, size, inode, mtimeMs },
  };
}

const ATTRIBUTES = String.raw`^(security\.capability$|user\.|system\.posix_acl_|trusted\.overlay\.opaque$)`;

/** Those that a layer must not have too: the tree has them below /var. */
async function allAttributes(root: string, signal: AbortSignal | undefined): Promise<TreeAttributes> {
  const { stdout } = await run(getfattrArgv(root, ATTRIBUTES), { signal });
  const kept = new Map<string, Attributes>();
  const opaque = new Set<string>();
  for (const [absolute, attributes] of parseGetfattr(stdout)) {
    const path = absolute.slice(root.length + 1);
    if (attributes.has('trusted.overlay.opaque')) opaque.add(path);
    const own = new Map([...attributes].filter(([name]) => name !== 'trusted.overlay.opaque'));
    if (own.size > 0) kept.set(path, own);
  }
  return { kept: (path) => kept.get(path), isOpaque: (path) => opaque.has(path) };
}
