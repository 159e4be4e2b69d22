/** What a store holds: every entry with its size and when it was last used. */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { errnoOf } from '../errors.ts';
import { run } from '../proc/run.ts';
import { duArgv, parseDu } from '../tools/du.ts';
import type { Store } from './store.ts';

export const ENTRY_KINDS = ['packages', 'trees', 'blobs', 'disks', 'apt', 'records', 'tmp'] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

export interface StoreEntry {
  readonly kind: EntryKind;
  /** A hash for everything but unfinished work; see store.ts. */
  readonly name: string;
  readonly path: string;
  /** Allocated on the disk. */
  readonly bytes: number;
  /** Milliseconds since 1970: when it was written, or noted to be used; see `markUsed`. */
  readonly lastUsed: number;
}

export interface KindUsage {
  readonly kind: EntryKind;
  readonly entries: number;
  readonly bytes: number;
}

/** Every entry. One that vanishes meanwhile is left out. */
export async function listEntries(store: Store, signal?: AbortSignal): Promise<readonly StoreEntry[]> {
  const [packageFolders, recordKinds] = await Promise.all([
    names(store.path('packages')),
    names(store.path('records')),
  ]);
  const files = await Promise.all([
    ...packageFolders.map((folder) =>
      fileEntries('packages', store.path('packages', folder), /\.(?:deb|rpm)$/),
    ),
    fileEntries('blobs', store.path('blobs/sha256')),
    fileEntries('blobs', store.path('blobs/partial')),
    fileEntries('disks', store.path('disks'), /\.raw$/),
    ...recordKinds.map((kind) => fileEntries('records', store.path('records', kind), /\.json$/)),
  ]);
  const folders = await folderEntries(store, ['trees', 'apt', 'tmp'], signal);
  const entries = files.flat();
  // What a blob looks like must not change: its use is noted on its record.
  const blobUse = new Map(entries.filter(isBlobRecord).map(({ name, lastUsed }) => [name, lastUsed]));
  return [
    ...entries.map((entry) =>
      entry.kind === 'blobs'
        ? { ...entry, lastUsed: Math.max(entry.lastUsed, blobUse.get(entry.name) ?? 0) }
        : entry,
    ),
    ...folders,
  ];
}

/** Which kind of record an entry is: the name of its folder. */
export function recordKind(entry: StoreEntry): string | undefined {
  return entry.kind === 'records' ? basename(dirname(entry.path)) : undefined;
}

/** A record of a blob's looks, which says nothing about whether anything needs the blob. */
export function isBlobRecord(entry: StoreEntry): boolean {
  return recordKind(entry) === 'blobs';
}

/** One line for each kind, in a fixed order, also for those with no entry. */
export function usageByKind(entries: readonly StoreEntry[]): readonly KindUsage[] {
  return ENTRY_KINDS.map((kind) => {
    const own = entries.filter((entry) => entry.kind === kind);
    return { kind, entries: own.length, bytes: totalBytes(own) };
  });
}

export function totalBytes(entries: readonly StoreEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.bytes, 0);
}

async function fileEntries(kind: EntryKind, folder: string, suffix = /$/): Promise<StoreEntry[]> {
  const entries = await Promise.all(
    (await names(folder)).map(async (file): Promise<StoreEntry | undefined> => {
      const path = join(folder, file);
      const status = await statusOf(path);
      if (status?.isFile() !== true) return undefined;
      const rest = { path, bytes: status.blocks * 512, lastUsed: lastUsed(status) };
      // What a kill has left of `writeFileAtomically`.
      if (file.endsWith('.tmp')) return { kind: 'tmp', name: file, ...rest };
      return { kind, name: file.replace(suffix, ''), ...rest };
    }),
  );
  return entries.filter((entry) => entry !== undefined);
}

async function folderEntries(
  store: Store,
  kinds: readonly EntryKind[],
  signal: AbortSignal | undefined,
): Promise<StoreEntry[]> {
  const found = (
    await Promise.all(
      kinds.map(async (kind) =>
        (await names(store.path(kind))).map((name) => ({ kind, name, path: store.path(kind, name) })),
      ),
    )
  ).flat();
  if (found.length === 0) return [];
  // Exit code 1: something vanished while it was counted.
  const { stdout } = await run(duArgv(found.map(({ path }) => path)), { signal, okExitCodes: [0, 1] });
  const sizes = parseDu(stdout);
  const entries = await Promise.all(
    found.map(async (entry): Promise<StoreEntry | undefined> => {
      const bytes = sizes.get(entry.path);
      // A tree is used through its record; its folder is only ever written once.
      const status = (await statusOf(join(entry.path, 'record.json'))) ?? (await statusOf(entry.path));
      if (bytes === undefined || status === undefined) return undefined;
      return { ...entry, bytes, lastUsed: lastUsed(status) };
    }),
  );
  return entries.filter((entry) => entry !== undefined);
}

function lastUsed(status: Stats): number {
  return Math.max(status.atimeMs, status.mtimeMs);
}

async function statusOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

async function names(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
