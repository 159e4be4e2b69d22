/**
 * Whether a store still holds what it says: contents against names, records against what they name, and trees against
 * the digest that was taken when they were made.
 *
 * Not looked into: package indexes, whose signatures apt verifies whenever it reads them, and test disks, of which
 * nothing says what they should hold.
 */
import { lstat, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { digestOfJson, hexOf } from '../digest.ts';
import { errnoOf } from '../errors.ts';
import { removeEntry } from './collect.ts';
import { hashFiles, hashTrees, type HashResult } from './hashing.ts';
import { claimedBlobs } from './layer-claims.ts';
import type { Store } from './store.ts';
import { readTreeRecord } from './tree-record.ts';
import {
  isBlobRecord,
  listEntries,
  recordKind,
  totalBytes,
  type EntryKind,
  type StoreEntry,
} from './usage.ts';

export interface VerifyOptions {
  /** Reads every tree too. */
  readonly trees?: boolean;
  /** Removes what is wrong, so that it is made or fetched again. */
  readonly repair?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (bytes: number, total: number) => void;
  /** Called once when others have to be waited for: builds for a repair, else `gc`. */
  readonly onWait?: () => void;
}

export interface Problem {
  readonly kind: EntryKind;
  readonly name: string;
  readonly path: string;
  readonly problem: string;
  readonly removed: boolean;
}

export interface CheckedKind {
  readonly kind: EntryKind;
  readonly entries: number;
  readonly bytes: number;
}

export interface VerifiedStore {
  readonly checked: readonly CheckedKind[];
  /** Trees that nothing can be said about: their build ended before their contents were noted. */
  readonly unknownTrees: number;
  readonly problems: readonly Problem[];
}

type Complaint = (entry: StoreEntry, problem: string) => void;

/** @throws IngotError INTERRUPTED */
export async function verifyStore(store: Store, options: VerifyOptions = {}): Promise<VerifiedStore> {
  const { signal, onWait } = options;
  await using _held =
    options.repair === true ? await store.lock('store', signal, onWait) : await store.use(signal, onWait);
  const entries = await listEntries(store, signal);
  const of = (kind: EntryKind): StoreEntry[] => entries.filter((entry) => entry.kind === kind);
  const found: { readonly entry: StoreEntry; readonly problem: string }[] = [];
  const complain: Complaint = (entry, problem) => {
    found.push({ entry, problem });
  };
  const files = [...of('packages'), ...of('blobs')];
  const trees = options.trees === true ? of('trees') : [];
  const total = totalBytes([...files, ...trees]);
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    options.onProgress?.(done, Math.max(done, total));
  };

  await checkContents(files, complain, { signal, onBytes });
  const damaged = new Set(found.filter(({ entry }) => entry.kind === 'blobs').map(({ entry }) => entry.name));
  for (const record of of('records')) await checkRecord(record, store, damaged, complain);
  const unknownTrees = await checkTrees(of('trees'), complain, {
    signal,
    onBytes,
    contents: options.trees === true,
  });

  if (options.repair === true && found.length > 0) {
    await using scratch = await store.scratch('repair');
    const looks = of('records').filter((entry) => isBlobRecord(entry) && damaged.has(entry.name));
    for (const entry of [...found.map((item) => item.entry), ...looks]) {
      signal?.throwIfAborted();
      await removeEntry(entry, scratch.path);
    }
  }
  const checked = (['packages', 'blobs', 'records', 'trees'] as const).map((kind) => {
    const own = of(kind);
    return { kind, entries: own.length, bytes: totalBytes(own) };
  });
  const problems = found.map(({ entry: { kind, name, path }, problem }) => {
    return { kind, name, path, problem, removed: options.repair === true };
  });
  return { checked, unknownTrees, problems };
}

interface Hashing {
  readonly signal: AbortSignal | undefined;
  readonly onBytes: (bytes: number) => void;
}

const NAME = /^[0-9a-f]{64}$/;
const OTHER_CONTENT = 'has other content than its name says';

async function checkContents(
  files: readonly StoreEntry[],
  complain: Complaint,
  hashing: Hashing,
): Promise<void> {
  const named = files.filter((entry) => {
    const place = `${entry.name.slice(0, 2)}/${entry.name}`;
    const places = entry.kind === 'packages' ? [`${place}.deb`, `${place}.rpm`] : [entry.name];
    const belongs = NAME.test(entry.name) && places.some((one) => entry.path.endsWith(`/${one}`));
    if (!belongs) complain(entry, `is no name of ${entry.kind === 'packages' ? 'a package' : 'a blob'}`);
    return belongs;
  });
  const hashes = await hashFiles(
    named.map(({ path }) => path),
    hashing,
  );
  for (const entry of named) {
    const problem = problemOf(hashes.get(entry.path), entry.name, OTHER_CONTENT);
    if (problem !== undefined) complain(entry, problem);
  }
}

/** Undefined also for what has vanished meanwhile. */
function problemOf(result: HashResult | undefined, expected: string, otherwise: string): string | undefined {
  if (result === undefined || ('fault' in result && result.fault === 'ENOENT')) return undefined;
  if ('fault' in result) return `cannot be read (${result.fault})`;
  return result.hex === expected ? undefined : otherwise;
}

async function checkRecord(
  record: StoreEntry,
  store: Store,
  damaged: ReadonlySet<string>,
  complain: Complaint,
): Promise<void> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(record.path, 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    complain(
      record,
      error instanceof SyntaxError ? 'is not JSON' : `cannot be read (${errnoOf(error) ?? 'error'})`,
    );
    return;
  }
  switch (recordKind(record)) {
    case 'layers':
    case 'remainders':
      for (const { hex, size } of claimedBlobs(value)) {
        if (damaged.has(hex) || (await sizeOf(store.blobPath(hex))) !== size) {
          complain(record, `names the blob ${hex}, which the store does not have whole`);
          return;
        }
      }
      return;
    case 'blobs':
      if ((await sizeOf(store.blobPath(record.name))) === undefined)
        complain(record, 'is about a blob that is not there');
      return;
    case 'locks':
      if (hexOf(digestOfJson(value)) !== record.name) complain(record, OTHER_CONTENT);
      return;
    case undefined:
    default: // only the form of others is known here
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await lstat(path)).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** How many could not be checked. */
async function checkTrees(
  trees: readonly StoreEntry[],
  complain: Complaint,
  options: Hashing & { readonly contents: boolean },
): Promise<number> {
  const expected = new Map<string, { readonly entry: StoreEntry; readonly contents: string }>();
  let unknown = 0;
  for (const entry of trees) {
    const record = await readTreeRecord(entry.path);
    const root = join(entry.path, 'root');
    if (!NAME.test(basename(entry.path))) complain(entry, 'is no name of a tree');
    else if (record === undefined || record === 'damaged') complain(entry, 'has no record that can be read');
    else if ((await sizeOf(root)) === undefined) complain(entry, 'has lost its root');
    else if (record.contents === undefined) unknown += 1;
    else expected.set(root, { entry, contents: record.contents });
  }
  if (!options.contents) return unknown;
  const hashes = await hashTrees([...expected.keys()], options);
  for (const [root, { entry, contents }] of expected) {
    const problem = problemOf(hashes.get(root), contents, 'is not as it was made');
    if (problem !== undefined) complain(entry, problem);
  }
  return unknown;
}
