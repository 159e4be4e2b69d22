/**
 * Indexes of rpm repositories into the store, as blobs: `repomd.xml` names the others by SHA-256, and is itself
 * verified where the repository signs it.
 */
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';

import { digestOfJson, hexOf } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import type { Stage } from '../../report/events.ts';
import type { Store } from '../../store/store.ts';
import { gpgvArgv } from '../../tools/gpgv.ts';
import { Downloader, TransferError } from '../download.ts';
import { binaryOf } from '../keyring.ts';
import { MetadataFile, parseMirrorList, parseRepomd } from './repomd.ts';

/** A repository whose keys were found and, where it is asked for, held against pinned ones. */
export interface TrustedRepository {
  readonly id: string;
  readonly baseUrls: readonly string[];
  readonly mirrorList?: string | undefined;
  readonly signsPackages: boolean;
  readonly signsIndex: boolean;
  /** In ASCII armour. */
  readonly keys: readonly string[];
  /** Of those keys. */
  readonly fingerprints: readonly string[];
  readonly priority: number;
  readonly excludes: readonly string[];
}

const Metadata = z.strictObject({
  /** Where it was found. */
  url: z.string(),
  files: z.array(MetadataFile),
});

export interface RepositoryMetadata extends z.infer<typeof Metadata> {
  readonly repository: TrustedRepository;
}

export interface MetadataOptions {
  readonly store: Store;
  readonly proxies: Readonly<Record<string, string>>;
  /** Takes what was last fetched, and fetches nothing. */
  readonly offline: boolean;
  readonly stage?: Stage | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MAX_REPOMD_BYTES = 8 * 1024 * 1024;
const IDLE_MS = 30_000;
/** Of a list of mirrors. */
const MIRRORS_TRIED = 4;
const RECORDS = 'rpm-indexes-1';

/** @throws IngotError MIRROR_UNREACHABLE, MIRROR_UNTRUSTED, DISK_FULL, INTERRUPTED */
export async function fetchMetadata(
  repositories: readonly TrustedRepository[],
  options: MetadataOptions,
): Promise<RepositoryMetadata[]> {
  using downloader = new Downloader(4, options.proxies);
  const found: RepositoryMetadata[] = [];
  for (const repository of repositories) {
    const { id, baseUrls, mirrorList, fingerprints, signsIndex } = repository;
    const key = hexOf(
      digestOfJson({ id, baseUrls, mirrorList: mirrorList ?? null, fingerprints, signsIndex }),
    );
    if (options.offline) {
      found.push({ ...(await recalled(key, repository, options)), repository });
      continue;
    }
    const metadata = await new Fetcher(downloader, repository, options).fetch();
    await options.store.writeRecord(RECORDS, key, metadata);
    found.push({ ...metadata, repository });
  }
  return found;
}

async function recalled(
  key: string,
  { id }: TrustedRepository,
  { store }: MetadataOptions,
): Promise<z.infer<typeof Metadata>> {
  const metadata = Metadata.safeParse(await store.readRecord(RECORDS, key)).data;
  const there = await Promise.all((metadata?.files ?? []).map(({ sha256 }) => store.blobSize(sha256)));
  if (metadata !== undefined && there.every((size) => size !== undefined)) return metadata;
  throw new IngotError('MIRROR_UNREACHABLE', `the store has no package indexes of the repository ${id}`, {
    hint: 'run the same command without --offline',
  });
}

/** Roots of a repository, those that it says itself first. @throws TransferError */
async function rootsOf(
  { baseUrls, mirrorList }: Pick<TrustedRepository, 'baseUrls' | 'mirrorList'>,
  downloader: Downloader,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (mirrorList === undefined || baseUrls.length > 0) return baseUrls;
  const text = await downloader.read(mirrorList, { maxBytes: MAX_REPOMD_BYTES, idleMs: IDLE_MS, signal });
  return parseMirrorList(text.toString()).slice(0, MIRRORS_TRIED);
}

class Fetcher {
  readonly #downloader: Downloader;
  readonly #repository: TrustedRepository;
  readonly #options: MetadataOptions;
  readonly #signal: AbortSignal;

  constructor(downloader: Downloader, repository: TrustedRepository, options: MetadataOptions) {
    this.#downloader = downloader;
    this.#repository = repository;
    this.#options = options;
    this.#signal = options.signal ?? new AbortController().signal;
  }

  async fetch(): Promise<z.infer<typeof Metadata>> {
    const { id } = this.#repository;
    let last: unknown;
    try {
      for (const root of await rootsOf(this.#repository, this.#downloader, this.#signal)) {
        try {
          return await this.#fetchFrom(root);
        } catch (error) {
          if (!(error instanceof TransferError)) throw error;
          last = error;
        }
      }
    } catch (error) {
      if (this.#signal.aborted)
        throw new IngotError('INTERRUPTED', 'interrupted while fetching package indexes');
      if (!(error instanceof TransferError)) throw error;
      last = error;
    }
    const reason = last instanceof Error ? last.message : 'it has no address';
    throw new IngotError(
      'MIRROR_UNREACHABLE',
      `the package indexes of the repository ${id} cannot be fetched: ${reason}`,
      { hint: 'check the network, and the address that the base or the layer has for it' },
    );
  }

  async #fetchFrom(root: string): Promise<z.infer<typeof Metadata>> {
    const repomd = await this.#read(`${root}/repodata/repomd.xml`);
    if (this.#repository.signsIndex) {
      await this.#verify(repomd, await this.#read(`${root}/repodata/repomd.xml.asc`));
    }
    const files = this.#parse(repomd);
    for (const file of files) await this.#fetchFile(root, file);
    return { url: root, files };
  }

  #read(url: string): Promise<Buffer> {
    return this.#downloader.read(url, { maxBytes: MAX_REPOMD_BYTES, idleMs: IDLE_MS, signal: this.#signal });
  }

  #parse(repomd: Buffer): MetadataFile[] {
    try {
      return parseRepomd(repomd.toString());
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      throw new IngotError(
        'MIRROR_UNTRUSTED',
        `the repository ${this.#repository.id} cannot be used: ${what}`,
        {
          hint: 'its indexes must be those that createrepo_c writes, with SHA-256',
          cause: error,
        },
      );
    }
  }

  async #verify(repomd: Buffer, signature: Buffer): Promise<void> {
    const { id, keys, fingerprints } = this.#repository;
    await using scratch = await this.#options.store.scratch('repomd');
    const at = (name: string): string => join(scratch.path, name);
    await writeFile(at('keyring'), Buffer.concat(keys.map((key) => binaryOf(Buffer.from(key)))));
    await writeFile(at('repomd.xml'), repomd);
    await writeFile(at('repomd.xml.asc'), signature);
    const argv = gpgvArgv(at('keyring'), at('repomd.xml.asc'), at('repomd.xml'));
    const { exitCode } = await run(argv, { signal: this.#options.signal, okExitCodes: [0, 1, 2] });
    if (exitCode === 0) return;
    throw new IngotError(
      'MIRROR_UNTRUSTED',
      `the index of the repository ${id} is not signed by its key ${fingerprints.join(' or ')}`,
      { hint: 'the mirror serves something else, or the repository has a new key' },
    );
  }

  async #fetchFile(root: string, { sha256, size, location, type }: MetadataFile): Promise<void> {
    const { store, stage } = this.#options;
    if ((await store.blobSize(sha256)) === size) return;
    await using scratch = await store.scratch('rpm-index');
    const temporary = join(scratch.path, sha256);
    const file = await open(temporary, 'w', 0o644);
    let received = 0;
    try {
      const onBytes = (count: number): void => {
        received += count;
        stage?.progress(received, size, 'bytes', `${this.#repository.id} ${type}`);
      };
      const url = `${root}/${location}`;
      await this.#downloader.transfer({
        url,
        size,
        sha256,
        to: file,
        idleMs: IDLE_MS,
        signal: this.#signal,
        onBytes,
      });
      await file.sync();
    } finally {
      await file.close();
    }
    await mkdir(dirname(store.blobPath(sha256)), { recursive: true });
    await rename(temporary, store.blobPath(sha256));
  }
}
