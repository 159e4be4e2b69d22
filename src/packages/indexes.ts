/**
 * Package indexes: one private apt state per release, architecture and mirror, below the store's `apt/`.
 *
 * Who changes the state holds its lock alone; who reads or solves shares it with others that do. Between two such
 * operations another process may move the indexes forward, which is harmless: whatever is chosen afterwards is checked
 * by hash.
 */
import { isDeepStrictEqual } from 'node:util';
import { mkdir, readdir, readFile, statfs, writeFile } from 'node:fs/promises';

import type { Archive, Release } from '../catalog/layer.ts';
import { digestOfJson, hexOf } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import type { Reporter } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import { renderAptState, updateAptState, type AptSource } from '../tools/apt.ts';
import type { UpdateFailure } from '../tools/apt-failures.ts';
import { loadKeyring } from './keyring.ts';
import type { Mirrors } from './mirror.ts';

/** An archive of a distribution, found through the mirrors, or with `url` a vendor's repository. */
export interface IndexedArchive extends Archive {
  readonly url?: string;
  /** Of the one key that the keyring must hold. */
  readonly fingerprint?: string;
  /** Of another release: nothing is taken from it but what a layer asks for by name and version. */
  readonly foreign?: true;
  /** Where it differs from the release. */
  readonly checkValidUntil?: boolean;
  /** Of a base that is an image, which configures it for itself: the distribution's, although it has an address. */
  readonly isOfBase?: true;
  /** The keys themselves, in ASCII armour, where `keyring` is no file of this machine. */
  readonly keys?: string;
}

/** A distribution release, with what layers add to it. */
export interface IndexedRelease extends Omit<Release, 'archives'> {
  readonly archives: readonly IndexedArchive[];
}

export interface IndexOptions {
  readonly store: Store;
  readonly mirrors: Mirrors;
  readonly release: IndexedRelease;
  readonly architecture: string;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  /** How long the mirror may say nothing; for tests of mirrors that do. */
  readonly timeoutSeconds?: number;
}

export interface Indexes {
  /** Names this state: equal for equal releases, architectures, keys and mirrors. */
  readonly key: string;
  readonly release: IndexedRelease;
  readonly architecture: string;
  readonly folder: string;
  readonly store: Store;
  readonly mirrors: Mirrors;
}

/** Which state it is, wherever it was prepared. @throws IngotError ENVIRONMENT without the archive's keyring. */
export async function identifyIndexes(
  options: Omit<IndexOptions, 'reporter'>,
): Promise<{ readonly indexes: Indexes; readonly sources: readonly AptSource[] }> {
  const { store, mirrors, release, architecture } = options;
  const sources: AptSource[] = [];
  for (const archive of release.archives) {
    sources.push({
      uri: addressOf(archive, mirrors),
      suites: archive.suites,
      components: archive.components,
      keys: archive.keys ?? (await loadKeyring({ path: archive.keyring, fingerprint: archive.fingerprint })),
      checkValidUntil: archive.checkValidUntil ?? release.checkValidUntil,
    });
  }
  const key = hexOf(digestOfJson({ sources, architecture })).slice(0, 16);
  const folder = store.path('apt', key);
  return { indexes: { key, release, architecture, folder, store, mirrors }, sources };
}

/** Prepares the state without fetching anything. @throws IngotError ENVIRONMENT without the archive's keyring. */
export async function openIndexes(options: IndexOptions): Promise<Indexes> {
  const { indexes, sources } = await identifyIndexes(options);
  const { folder, architecture } = indexes;
  const state = renderAptState(folder, architecture, sources, options.timeoutSeconds);
  const isPrepared = async (): Promise<boolean> => {
    const found = await Promise.all([...state.keys()].map((name) => contentOf(`${folder}/${name}`)));
    return isDeepStrictEqual(found, [...state.values()]);
  };
  if (await isPrepared()) return indexes;
  await using _held = await holdState(indexes, options.reporter, options.signal);
  for (const part of ['lists/partial', 'cache/archives/partial']) {
    await mkdir(`${folder}/${part}`, { recursive: true, mode: 0o700 });
  }
  for (const [name, content] of state) {
    const file = `${folder}/${name}`;
    // apt's cache holds as long as the times of these files do: it takes a second to make again.
    if ((await contentOf(file)) === content) continue;
    // Addresses may hold credentials.
    await writeFile(file, content, { mode: 0o600 });
  }
  return indexes;
}

async function contentOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Holds the apt state until disposed: alone, or with others that do not change it either. */
export async function holdState(
  { store, key }: Pick<Indexes, 'store' | 'key'>,
  reporter: Reporter,
  signal?: AbortSignal,
  options: { readonly shared?: boolean } = {},
): Promise<AsyncDisposable> {
  const onWait = (): void => {
    reporter.info('waiting for another ingot that uses the same package indexes');
  };
  return store.lock(`apt-${key}`, signal, onWait, options);
}

/**
 * Fetches what has changed since the last time; a few requests when nothing has.
 *
 * @throws IngotError MIRROR_UNREACHABLE, MIRROR_UNTRUSTED, DISK_FULL, TIMEOUT or INTERRUPTED
 */
export async function updateIndexes(
  indexes: Indexes,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<void> {
  await using _held = await holdState(indexes, reporter, signal);
  if (!indexes.release.checkValidUntil) {
    reporter.info(`indexes of ${indexes.release.suite} may be past their date: not checked`);
  }
  const failure = await updateWithSpace(indexes, signal);
  if (failure !== undefined) throw describeUpdateFailure(failure, indexes);
}

/** @throws IngotError MIRROR_UNREACHABLE where nothing was fetched yet */
export async function requireIndexes(
  indexes: Indexes,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<void> {
  if (await hasIndexes(indexes)) return;
  // Another process may be fetching them for the first time.
  await using _held = await holdState(indexes, reporter, signal);
  if (await hasIndexes(indexes)) return;
  throw new IngotError(
    'MIRROR_UNREACHABLE',
    `the store has no package indexes of ${indexes.release.suite} yet with these archives`,
    { hint: 'run the command once without --offline' },
  );
}

async function hasIndexes({ folder }: Indexes): Promise<boolean> {
  return (await readdir(`${folder}/lists`)).some(isReleaseFile);
}

export function isReleaseFile(name: string): boolean {
  return /_(?:In)?Release$/.test(name);
}

const SPACE_CHECK_MS = 500;
const FULL_BYTES = 64 * 1024;
/** apt itself fills and frees the last bytes for a moment, where there is just enough. */
const FULL_CHECKS = 4;

/** apt's downloader waits for ever when it cannot write what it receives: ended by us then. */
async function updateWithSpace(indexes: Indexes, signal?: AbortSignal): Promise<UpdateFailure | undefined> {
  const full = new AbortController();
  let checks = 0;
  const look = async (): Promise<void> => {
    checks = (await freeBytes(indexes.folder)) < FULL_BYTES ? checks + 1 : 0;
    if (checks >= FULL_CHECKS) full.abort();
  };
  const timer = setInterval(() => {
    look().catch(() => undefined);
  }, SPACE_CHECK_MS);
  try {
    const either = signal === undefined ? full.signal : AbortSignal.any([signal, full.signal]);
    return await updateAptState(indexes.folder, { signal: either, proxies: indexes.mirrors.proxies });
  } catch (error) {
    if (full.signal.aborted && signal?.aborted !== true) return { kind: 'disk-full' };
    throw error;
  } finally {
    clearInterval(timer);
  }
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

export function addressOf(archive: IndexedArchive, mirrors: Mirrors): string {
  return archive.url?.replace(/\/+$/, '') ?? mirrors.urlOf(archive.name);
}

function describeUpdateFailure(failure: UpdateFailure, { release }: Indexes): IngotError {
  const indexes = `the package indexes of ${release.suite}`;
  const isOfBase = release.archives.some((archive) => archive.isOfBase === true);
  const elsewhere = isOfBase
    ? 'look at what the base has in /etc/apt/sources.list.d'
    : 'set INGOT_MIRROR to another mirror';
  switch (failure.kind) {
    case 'signature':
      return new IngotError('MIRROR_UNTRUSTED', `${indexes} are not signed by a key of the release`, {
        hint: isOfBase
          ? 'the keyrings of the base have no key of theirs: take a newer base'
          : `${elsewhere}, or update the package debian-archive-keyring if the release is newer than it`,
      });
    case 'expired':
      return new IngotError('MIRROR_UNTRUSTED', `${indexes} are past the date until which they are valid`, {
        hint: `the mirror is no longer updated, or this machine's clock is wrong; ${elsewhere}`,
      });
    case 'corrupt':
      return new IngotError('MIRROR_UNTRUSTED', `${indexes} differ from what the release's signature names`, {
        hint: `the mirror may be in the middle of an update: try again in a while, or ${elsewhere}`,
      });
    case 'missing':
      return new IngotError('MIRROR_UNREACHABLE', `the configured mirror does not have all of ${indexes}`, {
        hint: `needed: ${release.archives.map(({ name, suites }) => `${name} (${suites.join(', ')})`).join(', ')}; ${elsewhere}`,
      });
    case 'disk-full':
      return new IngotError('DISK_FULL', `no space is left for ${indexes}`, {
        hint: 'free some space, run `ingot store gc`, or set INGOT_STORE to a larger file system',
      });
    case 'unreachable':
    case 'other':
      return new IngotError(
        'MIRROR_UNREACHABLE',
        `${indexes} cannot be fetched from the configured mirror: ${failure.reason}`,
        { hint: `check the network and the machine's apt configuration, or ${elsewhere}` },
      );
  }
}
