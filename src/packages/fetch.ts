/**
 * Locked packages into the store: from the mirror, else from a snapshot archive, always verified by hash.
 *
 * What is in the store was verified when it got its name, and is verified again here, before it is installed. Several
 * processes may fetch the same package at once: each writes a file of its own, and the last rename puts identical
 * content in place of identical content.
 */
import pLimit from 'p-limit';
import { mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { IngotError } from '../errors.ts';
import type { Stage } from '../report/events.ts';
import { hashFiles } from '../store/hashing.ts';
import { markUsed } from '../store/sound-blob.ts';
import type { Store } from '../store/store.ts';
import type { Downloader, TransferFault } from './download.ts';
import type { Mirrors } from './mirror.ts';
import { formatOf, type LockedPackage } from './package.ts';

export interface FetchOptions {
  readonly store: Store;
  readonly mirrors: Mirrors;
  /** When the lock was made: the time that snapshot archives are asked for. */
  readonly created: Date;
  readonly stage?: Stage;
  readonly signal?: AbortSignal | undefined;
  readonly concurrency?: number;
  /** For tests of misbehaving servers. */
  readonly idleMs?: number;
  readonly retryMs?: number;
}

export interface FetchSummary {
  readonly fetched: number;
  readonly fetchedBytes: number;
  readonly present: number;
}

interface Failure {
  readonly package: LockedPackage;
  readonly fault: TransferFault;
  readonly reason: string;
}

const ATTEMPTS = 4;
const IDLE_MS = 30_000;
const RETRY_MS = 500;
/** Left free on the store's file system beyond the packages themselves. */
const HEADROOM_BYTES = 16 * 1024 * 1024;

/**
 * Makes `store.packagePath(sha256)` exist for every package. All failures are gathered before it throws.
 *
 * @throws IngotError PACKAGE_GONE, DIGEST_MISMATCH, MIRROR_UNREACHABLE, DISK_FULL or INTERRUPTED.
 */
export async function fetchPackages(
  packages: readonly LockedPackage[],
  options: FetchOptions,
): Promise<FetchSummary> {
  const unique = [...new Map(packages.map((item) => [item.sha256, item])).values()];
  const missing = await missingPackages(unique, options);
  const total = missing.reduce((sum, item) => sum + item.size, 0);
  const summary = { fetched: missing.length, fetchedBytes: total, present: unique.length - missing.length };
  if (missing.length === 0) return summary;
  await requireSpace(options.store, total);

  const concurrency = options.concurrency ?? 8;
  // With it comes Node's HTTP, a twentieth of the time to start: most builds have their packages.
  const { Downloader } = await import('./download.ts');
  using downloader = new Downloader(concurrency, options.mirrors.proxies);
  await using scratch = await options.store.scratch('fetch');
  // Our own controller: a full disk ends the other transfers too.
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const fetcher = new Fetcher(downloader, scratch.path, total, signal, options);
  const limit = pLimit(concurrency);
  const failures: Failure[] = [];
  const fatal: unknown[] = [];
  await Promise.all(
    missing.map((item) =>
      limit(async () => {
        if (signal.aborted) return;
        try {
          const failure = await fetcher.fetch(item);
          if (failure !== undefined) failures.push(failure);
          if (failure?.fault === 'disk') ending.abort();
        } catch (error) {
          fatal.push(error);
          ending.abort();
        }
      }),
    ),
  );
  if (options.signal?.aborted === true) {
    throw new IngotError('INTERRUPTED', 'interrupted while fetching packages');
  }
  if (fatal.length > 0) throw fatal[0];
  if (failures.some(({ fault }) => fault === 'disk')) throw await diskFull(options.store, total);
  if (failures.length > 0) throw describeFailures(failures);
  return summary;
}

class Fetcher {
  readonly #downloader: Downloader;
  readonly #scratch: string;
  readonly #total: number;
  readonly #signal: AbortSignal;
  readonly #options: FetchOptions;
  /** Archives that did not answer one package in all attempts: the others need not wait for the same. */
  readonly #down = new Map<string, string>();
  #bytes = 0;

  constructor(
    downloader: Downloader,
    scratch: string,
    total: number,
    signal: AbortSignal,
    options: FetchOptions,
  ) {
    this.#downloader = downloader;
    this.#scratch = scratch;
    this.#total = total;
    this.#signal = signal;
    this.#options = options;
  }

  async fetch(item: LockedPackage): Promise<Failure | undefined> {
    const { mirrors, created } = this.#options;
    const snapshot = mirrors.snapshotOf(item.archive, created);
    let worst: Failure | undefined;
    for (const root of [mirrors.urlOf(item.archive), ...(snapshot === undefined ? [] : [snapshot])]) {
      const failure = await this.#fetchFrom(root, item);
      if (failure === undefined || failure.fault === 'disk') return failure;
      // What the mirror said counts, unless the snapshot knows worse: content that is wrong.
      if (worst === undefined || failure.fault === 'damaged') worst = failure;
    }
    return worst;
  }

  async #fetchFrom(root: string, item: LockedPackage): Promise<Failure | undefined> {
    const down = this.#down.get(root);
    if (down !== undefined) return { package: item, fault: 'transient', reason: down };
    for (let attempt = 1; ; attempt += 1) {
      let own = 0;
      try {
        await this.#download(`${root}/${encodePath(item.filename)}`, item, (count) => {
          own += count;
          this.#bytes += count;
          this.#options.stage?.progress(this.#bytes, this.#total, 'bytes', item.name);
        });
        return undefined;
      } catch (error) {
        this.#bytes = Math.max(0, this.#bytes - own);
        if (this.#signal.aborted) return { package: item, fault: 'transient', reason: 'interrupted' };
        const { TransferError } = await import('./download.ts');
        if (!(error instanceof TransferError)) throw error;
        const failure = { package: item, fault: error.fault, reason: error.message };
        // Damage may come from a cache or a cut on the way: worth one more look.
        const attempts = error.fault === 'transient' ? ATTEMPTS : error.fault === 'damaged' ? 2 : 1;
        if (attempt >= attempts) {
          if (error.fault === 'transient') this.#down.set(root, error.message);
          return failure;
        }
        const pause = (this.#options.retryMs ?? RETRY_MS) * 2 ** (attempt - 1);
        await sleep(pause, undefined, { signal: this.#signal }).catch(() => undefined);
      }
    }
  }

  async #download(url: string, item: LockedPackage, onBytes: (count: number) => void): Promise<void> {
    const temporary = join(this.#scratch, item.sha256);
    const file = await open(temporary, 'w', 0o644);
    try {
      const { sha256, size } = item;
      const idleMs = this.#options.idleMs ?? IDLE_MS;
      await this.#downloader.transfer({ url, size, sha256, to: file, idleMs, signal: this.#signal, onBytes });
      await file.sync();
    } catch (error) {
      await file.close();
      await rm(temporary, { force: true });
      throw error;
    }
    await file.close();
    const final = this.#options.store.packagePath(item.sha256, formatOf(item));
    await mkdir(dirname(final), { recursive: true });
    await rename(temporary, final);
  }
}

/** Escapes what a URL path cannot hold, `+` included: some servers take it for a space. */
function encodePath(filename: string): string {
  return filename.split('/').map(encodeURIComponent).join('/');
}

async function missingPackages(
  packages: readonly LockedPackage[],
  { store, signal }: FetchOptions,
): Promise<LockedPackage[]> {
  const pathOf = (item: LockedPackage): string => store.packagePath(item.sha256, formatOf(item));
  const missing: LockedPackage[] = [];
  const present: LockedPackage[] = [];
  for (const item of packages) {
    const found = await stat(pathOf(item)).catch(() => undefined);
    (found?.size === item.size ? present : missing).push(item);
  }
  const hashes = await hashFiles(present.map(pathOf), { signal });
  for (const item of present) {
    const hash = hashes.get(pathOf(item));
    if (hash !== undefined && 'hex' in hash && hash.hex === item.sha256) await markUsed(pathOf(item));
    else missing.push(item);
  }
  return missing;
}

async function requireSpace(store: Store, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(store.root);
  if (bavail * bsize < needed + HEADROOM_BYTES) throw await diskFull(store, needed);
}

async function diskFull(store: Store, needed: number): Promise<IngotError> {
  const { bavail, bsize } = await statfs(store.root);
  return new IngotError(
    'DISK_FULL',
    `the store ${store.root} is full: ${mebibytes(needed + HEADROOM_BYTES)} are needed for packages, ` +
      `${mebibytes(bavail * bsize)} are free`,
    { hint: 'free some space, run `ingot store gc`, or set INGOT_STORE to a larger file system' },
  );
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

function describeFailures(failures: readonly Failure[]): IngotError {
  const of = (...faults: TransferFault[]): Failure[] =>
    failures
      .filter(({ fault }) => faults.includes(fault))
      .sort((a, b) => (a.package.name < b.package.name ? -1 : 1));
  const damaged = of('damaged');
  const gone = of('gone');
  const unreachable = of('transient', 'refused', 'disk');
  const lines = [...damaged, ...gone, ...unreachable].map(describe);
  const message =
    lines.length === 1
      ? (lines[0] ?? '')
      : `${lines.length} packages cannot be fetched:\n${shorten(lines)
          .map((line) => `  ${line}`)
          .join('\n')}`;
  const names = gone.map((failure) => failure.package.name);
  const hints = [
    ...(damaged.length > 0
      ? [
          'the mirror serves other bytes than the lock names: try another with INGOT_MIRROR, or wait until it is whole',
        ]
      : []),
    ...(gone.length > 0
      ? [
          `\`ingot lock FILE --update ${names.slice(0, 8).join(' ')}\` moves on to what the mirror has; ` +
            'or set INGOT_SNAPSHOT to an archive that keeps old packages',
        ]
      : []),
    ...(unreachable.length > 0
      ? ['check the network, or set INGOT_MIRROR to a mirror that can be reached']
      : []),
  ];
  const code =
    damaged.length > 0 ? 'DIGEST_MISMATCH' : gone.length > 0 ? 'PACKAGE_GONE' : 'MIRROR_UNREACHABLE';
  return new IngotError(code, message, { hint: hints.join('; ') });
}

function describe({ package: item, fault, reason }: Failure): string {
  const what = `${item.name} ${item.version}`;
  const where = `the configured mirror of ${item.archive}`;
  switch (fault) {
    case 'damaged':
      return `${what}: what ${where} serves ${reason}`;
    case 'gone':
      return `${what} is no longer on ${where}`;
    case 'transient':
    case 'refused':
    case 'disk':
      return `${what} cannot be fetched from ${where}: ${reason}`;
  }
}

function shorten(lines: readonly string[]): readonly string[] {
  const shown = 10;
  return lines.length <= shown ? lines : [...lines.slice(0, shown), `and ${lines.length - shown} more`];
}
