/**
 * Divides the entries of one tree among chunks. Applied in their order, the chunks give the tree.
 *
 * A directory is in every chunk that has something below it, always with the same owner and mode, so that each
 * chunk stands alone. Removals are in the first chunk: an opaque directory would hide what chunks before it
 * brought. All names of a hard-linked file are in one chunk, since a layer can link to its own files only.
 *
 * Links and the package database come last in a chunk, and its time is that of its first file: so an archive can be
 * begun by what comes first in a package, before anything else of it is known (growing-archive.ts).
 */
import type { TreeEntry } from './tree-walk.ts';

/** The first chunk: it takes what is in no other. */
const FIRST = 0;
/** Where images have their package database. */
const DATABASES = 'usr/lib/sysimage';

export interface Division {
  readonly chunks: readonly ChunkOptions[];
  /** Indexes of the chunks that want the entry at `path`; of a file, the first is taken. */
  readonly chunksOf: (path: string) => readonly number[];
}

export interface ChunkOptions {
  readonly name: string;
  /** Time of directories and of what the build made, seconds; without it, that of the first other entry. */
  readonly epoch?: number | undefined;
  /** Of zstd; without it, that of all. */
  readonly level?: number | undefined;
}

export interface ChunkEntries extends ChunkOptions {
  readonly entries: readonly TreeEntry[];
  /** Of entries without a time of their own, seconds. */
  readonly time: number;
}

/** Everything in one chunk. */
export function undivided(epoch: number): Division {
  return { chunks: [{ name: 'all', epoch }], chunksOf: () => [] };
}

interface OpenDirectory {
  readonly prefix: string;
  readonly wantedBy: Set<number>;
}

/** @param entries in the order of `walkTree`: a directory before what is in it */
export function divideEntries(entries: Iterable<TreeEntry>, division: Division): ChunkEntries[] {
  const placed: { readonly entry: TreeEntry; readonly chunks: ReadonlySet<number> | number }[] = [];
  const homes = new Map<string, number>();
  const open: OpenDirectory[] = [];
  const closeUntil = (path: string): void => {
    for (let top = open.at(-1); top !== undefined && !path.startsWith(top.prefix); top = open.at(-1)) {
      open.pop();
      if (top.wantedBy.size === 0) top.wantedBy.add(FIRST);
      for (const chunk of top.wantedBy) open.at(-1)?.wantedBy.add(chunk);
    }
  };
  for (const tree of entries) {
    const { entry } = tree;
    closeUntil(entry.path);
    if (entry.type === 'directory') {
      const wantedBy = new Set(division.chunksOf(entry.path));
      open.push({ prefix: `${entry.path}/`, wantedBy });
      placed.push({ entry: tree, chunks: wantedBy });
      continue;
    }
    const wanted = tree.removal === true ? FIRST : (division.chunksOf(entry.path)[0] ?? FIRST);
    const chunk = entry.type === 'hardlink' ? (homes.get(entry.target) ?? wanted) : wanted;
    if (tree.linked === true) homes.set(entry.path, chunk);
    open.at(-1)?.wantedBy.add(chunk);
    placed.push({ entry: tree, chunks: chunk });
  }
  closeUntil('');
  const contents: TreeEntry[][] = division.chunks.map(() => []);
  for (const { entry, chunks } of placed) {
    for (const chunk of typeof chunks === 'number' ? [chunks] : chunks) contents[chunk]?.push(entry);
  }
  return division.chunks.map((chunk, index) => {
    const own = inOrder(contents[index] ?? []);
    return { ...chunk, entries: own, time: chunk.epoch ?? firstTime(own) };
  });
}

/** As packages have them: links after all else. What dpkg writes down is last. */
function inOrder(entries: readonly TreeEntry[]): TreeEntry[] {
  const late = new Set<string>();
  for (const { entry } of entries) {
    const isLate =
      entry.type === 'symlink' ||
      (entry.type === 'hardlink' && late.has(entry.target)) ||
      entry.path === DATABASES ||
      entry.path.startsWith(`${DATABASES}/`);
    if (isLate) late.add(entry.path);
  }
  const isLate = ({ entry }: TreeEntry): boolean => late.has(entry.path);
  return [...entries.filter((entry) => !isLate(entry)), ...entries.filter(isLate)];
}

/** Zero when the build made everything. */
function firstTime(entries: readonly TreeEntry[]): number {
  return entries.find(({ dated }) => dated)?.entry.mtime ?? 0;
}
