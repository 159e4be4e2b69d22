/**
 * Making room in a store.
 *
 * Whoever works with a store holds its `store` lock shared (`Store.use`); collecting takes it exclusively, so it
 * waits for running builds and new ones wait for it. Everything but unfinished work can be made or fetched again,
 * so nothing is sacred: what no record mentions goes first, then what was used longest ago.
 */
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { errnoOf } from '../errors.ts';
import { tryFileLock } from '../proc/file-lock.ts';
import { run } from '../proc/run.ts';
import { chattrMutableArgv } from '../tools/chattr.ts';
import { CLAIMING_RECORDS } from './layer-claims.ts';
import type { Store } from './store.ts';
import { isBlobRecord, listEntries, recordKind, totalBytes, type StoreEntry } from './usage.ts';

export interface CollectOptions {
  /** Remove until no more than this is left. */
  readonly keepBytes: number;
  /** Remove also what was last used before this, in milliseconds since 1970. */
  readonly usedSince?: number | undefined;
  /** Says what would go, and takes no lock. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Called once when a build is running and has to be waited for. */
  readonly onWait?: () => void;
}

export interface Collected {
  readonly removed: readonly StoreEntry[];
  readonly freedBytes: number;
  readonly keptBytes: number;
}

export async function collect(store: Store, options: CollectOptions): Promise<Collected> {
  const { signal } = options;
  await using _lock = options.dryRun === true ? undefined : await store.lock('store', signal, options.onWait);
  const entries = await listEntries(store, signal);
  const mentions = await readMentions(entries);
  const mentioned = new Set([...mentions].flatMap(([record, names]) => [record.name, ...names]));
  const removed = chooseEntries(entries, {
    keepBytes: options.keepBytes,
    usedSince: options.usedSince,
    isMentioned: (entry) => mentioned.has(entry.name),
    mentions: (record) => mentions.get(record) ?? NOTHING,
    isAbandoned: (entry) => !isAlive(ownerOf(entry.name)),
  });
  if (options.dryRun !== true) {
    await using scratch = await store.scratch('gc');
    for (const entry of removed) {
      signal?.throwIfAborted();
      await removeEntry(entry, scratch.path);
    }
  }
  const freedBytes = totalBytes(removed);
  return { removed, freedBytes, keptBytes: totalBytes(entries) - freedBytes };
}

/**
 * Removes the unfinished work of processes that are gone, if nobody uses the store at this moment. Where somebody does
 * it is left for another time: seen from here, a process of another container is gone too.
 *
 * @throws IngotError INTERRUPTED
 */
export async function sweepAbandoned(store: Store, signal?: AbortSignal): Promise<void> {
  const abandoned = (await readdir(store.path('tmp'))).filter((name) => {
    const owner = ownerOf(name);
    return owner !== undefined && !isAlive(owner);
  });
  if (abandoned.length === 0) return;
  await using lock = await tryFileLock(store.lockPath('store'), { signal });
  if (lock === undefined) return;
  await using scratch = await store.scratch('sweep');
  for (const name of abandoned) {
    signal?.throwIfAborted();
    await removeEntry({ path: store.path('tmp', name) }, scratch.path);
  }
}

export interface ChooseOptions {
  readonly keepBytes: number;
  readonly usedSince?: number | undefined;
  /** Whether some record names this entry. */
  readonly isMentioned: (entry: StoreEntry) => boolean;
  /** The names of other entries in a record. */
  readonly mentions?: (record: StoreEntry) => ReadonlySet<string>;
  /** Whether the process that made this unfinished entry is gone. */
  readonly isAbandoned: (entry: StoreEntry) => boolean;
}

/**
 * What has to go: all abandoned work, then as many entries as it takes, and the records of those that go.
 * Records are claims about other entries: they are never chosen for their own size.
 */
export function chooseEntries(entries: readonly StoreEntry[], options: ChooseOptions): readonly StoreEntry[] {
  const chosen: StoreEntry[] = entries.filter((entry) => entry.kind === 'tmp' && options.isAbandoned(entry));
  let left = totalBytes(entries) - totalBytes(chosen);
  const rank = (entry: StoreEntry): number => (options.isMentioned(entry) ? 1 : 0);
  const candidates = entries
    .filter((entry) => entry.kind !== 'tmp' && entry.kind !== 'records')
    .sort(
      (one, other) =>
        rank(one) - rank(other) || one.lastUsed - other.lastUsed || (one.path < other.path ? -1 : 1),
    );
  for (const entry of candidates) {
    const isStale = options.usedSince !== undefined && entry.lastUsed < options.usedSince;
    if (left <= options.keepBytes && !isStale) continue;
    chosen.push(entry);
    left -= entry.bytes;
  }
  const names = new Set(chosen.map((entry) => entry.name));
  const blobs = new Set(chosen.filter(({ kind }) => kind === 'blobs').map(({ name }) => name));
  // Some records say that the store has blobs; what others name may be made or fetched again.
  const isBroken = (record: StoreEntry): boolean =>
    CLAIMING_RECORDS.has(recordKind(record) ?? '') &&
    !blobs.isDisjointFrom(options.mentions?.(record) ?? NOTHING);
  const records = entries.filter(
    (entry) => entry.kind === 'records' && (names.has(entry.name) || isBroken(entry)),
  );
  return [...chosen, ...records];
}

const NOTHING: ReadonlySet<string> = new Set();

/** The names that stand in records: every run of 64 hex digits. */
async function readMentions(
  entries: readonly StoreEntry[],
): Promise<ReadonlyMap<StoreEntry, ReadonlySet<string>>> {
  const mentions = new Map<StoreEntry, ReadonlySet<string>>();
  for (const record of entries.filter((entry) => entry.kind === 'records' && !isBlobRecord(entry))) {
    const text = await readFile(record.path, 'utf8').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return '';
      throw error;
    });
    mentions.set(record, new Set(text.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g)));
  }
  return mentions;
}

/** Out of its name first: half of an entry must never be found under it. */
export async function removeEntry(entry: Pick<StoreEntry, 'path'>, scratch: string): Promise<void> {
  const target = join(scratch, basename(entry.path));
  try {
    await rename(entry.path, target);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    await rm(target, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error;
    await run(chattrMutableArgv(target), { okExitCodes: [0, 1] });
    await rm(target, { recursive: true, force: true });
  }
}

/** The process in the name of a scratch folder (`Store.scratch`), or undefined for a name of another form. */
function ownerOf(name: string): number | undefined {
  const pid = /-(\d+)-[A-Za-z0-9]{6}$/.exec(name)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

function isAlive(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}
