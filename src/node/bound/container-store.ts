/**
 * Images of containers that belong to deployments, in Podman's image store at /sysroot/ostree/bootc/storage: beside the
 * deployments, read-only for everything else, and what a quadlet names with `additionalimagestore`. Blobs are pulled
 * and verified here; Podman unpacks them and asks no registry.
 *
 * A record of an image, /ostree/ingot/containers/sha256-<hex>, is written when all of it is on the disk. It says which
 * layers the store has, so that they are not pulled again for another image.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as z from 'zod';

import { type Digest, digestOfHex, DigestText, hexOf, isDigest } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import { readDocument } from '../../oci/image-graph.ts';
import type { ImageSource } from '../../oci/image-transfer.ts';
import { asDiskFailure } from '../../ostree/disk-tools.ts';
import { type BoundContainer, BOUND_STORE_PLACE } from '../../plan/bound.ts';
import { findProgram } from '../../proc/find-program.ts';
import type { Argv, RunResult } from '../../proc/run.ts';
import { StoredSource } from '../../publish/stored-source.ts';
import { type Store, writeFileAtomically } from '../../store/store.ts';
import { syncFileSystemArgv } from '../../tools/sync.ts';
import {
  type ImageStore,
  parseStoredImages,
  podmanImagesArgv,
  podmanPullFolderArgv,
  podmanRemoveImageArgv,
  podmanTagArgv,
} from '../../tools/podman.ts';
import { asNodeFailure } from '../host-tools.ts';
import { openWritableSysroot, type WritableSysroot } from '../writable-sysroot.ts';
import type { FetchOptions } from './model-store.ts';

const SYSROOT = '/sysroot';
const RECORDS = join(SYSROOT, 'ostree/ingot/containers');
const STORE: ImageStore = { root: BOUND_STORE_PLACE, run: '/run/ingot/containers' };
/** What is in the store was verified by us, or belongs to an image that was. */
const POLICY = '{"default":[{"type":"insecureAcceptAnything"}]}\n';

const Record = z.object({ image: z.string(), blobs: z.array(DigestText) });

export interface ContainerStoreOptions {
  /** For blobs on their way. */
  readonly openStore: () => Promise<Store>;
  readonly signal?: AbortSignal | undefined;
}

export class ContainerStore {
  readonly #options: ContainerStoreOptions;

  constructor(options: ContainerStoreOptions) {
    this.#options = options;
  }

  async has({ manifest, image }: BoundContainer): Promise<boolean> {
    return (await readRecords()).get(manifest)?.images.has(image) === true;
  }

  /** Blobs that neither the store nor the way to it has. */
  async missing(container: BoundContainer): Promise<BoundContainer['blobs']> {
    if (await this.has(container)) return [];
    const records = await readRecords();
    const known = new Set([...records.values()].flatMap(({ blobs }) => blobs));
    const [config, ...layers] = container.blobs;
    const wanted = layers.filter(({ digest }) => !known.has(digest));
    return config === undefined ? wanted : [config, ...wanted];
  }

  /** Whether there is something to unpack with; without, what was pulled waits for the next start. */
  async canImport(): Promise<boolean> {
    return (await findProgram('podman')) !== undefined;
  }

  /**
   * Pulls what is missing of a container's image and verifies it.
   *
   * @throws IngotError DIGEST_MISMATCH, IMAGE_INVALID, and what the source throws
   */
  async pull(container: BoundContainer, source: ImageSource, options: FetchOptions = {}): Promise<void> {
    await this.#pull(await this.missing(container), container, source, options);
  }

  /**
   * Unpacks it into the store, durable.
   *
   * @throws IngotError NODE_FAILED with what Podman said, DISK_FULL
   */
  async import(container: BoundContainer, source: ImageSource, options: FetchOptions = {}): Promise<void> {
    if (await this.has(container)) return;
    const { signal } = options;
    await using sysroot = await openWritableSysroot(SYSROOT, signal);
    const store = await this.#options.openStore();
    const records = outside(sysroot, RECORDS);
    await mkdir(outside(sysroot, STORE.root), { recursive: true });
    await mkdir(records, { recursive: true });
    await dropLeftovers(records);
    try {
      await this.#unpack(sysroot, container, source);
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'NODE_FAILED') throw error;
      const sizes = await Promise.all(container.blobs.map(({ digest }) => store.blobSize(hexOf(digest))));
      if (!sizes.includes(undefined)) throw error;
      // The store lacks a layer that a record tells of: somebody has removed images of it.
      await this.#pull(container.blobs, container, source, options);
      await this.#unpack(sysroot, container, source);
    }
    const path = recordPath(records, container);
    const record = { image: container.image, blobs: container.blobs.map(({ digest }) => digest) };
    await writeFileAtomically(path, JSON.stringify(record));
    for (const digest of [container.manifest, ...record.blobs]) {
      await rm(store.blobPath(hexOf(digest)), { force: true });
    }
  }

  /** Removes the images of all other containers. @returns how many */
  async collect(keep: readonly BoundContainer[]): Promise<number> {
    const records = await readRecords();
    const kept = new Set<string>(keep.map(({ manifest }) => manifest));
    if (records.size === 0 || !(await this.canImport())) return 0;
    await using sysroot = await openWritableSysroot(SYSROOT, this.#options.signal);
    const folder = outside(sysroot, RECORDS);
    await dropLeftovers(folder);
    const { stdout } = await this.#podman(sysroot, podmanImagesArgv(STORE));
    const stale = parseStoredImages(stdout).filter(({ digest }) => !kept.has(digest));
    // First what says that it is there: a record never tells of layers that may be gone.
    for (const digest of records.keys()) {
      if (!kept.has(digest))
        await rm(join(folder, `sha256-${hexOf(digest)}`), { recursive: true, force: true });
    }
    for (const { id } of stale) await this.#podman(sysroot, podmanRemoveImageArgv(STORE, id));
    return stale.length;
  }

  async #pull(
    blobs: BoundContainer['blobs'],
    { manifest }: BoundContainer,
    source: ImageSource,
    { signal, onProgress }: FetchOptions,
  ): Promise<void> {
    const store = await this.#options.openStore();
    if ((await store.blobSize(hexOf(manifest))) === undefined) {
      const { bytes } = await source.manifest(manifest, { signal });
      await writeFileAtomically(store.blobPath(hexOf(manifest)), bytes);
    }
    const stored = new StoredSource(source, store);
    let done = 0;
    for (const { digest, size } of blobs) {
      const descriptor = { mediaType: 'application/octet-stream', digest, size };
      await stored.blobFile(descriptor, { signal, onProgress: (moved) => onProgress?.(done + moved) });
      done += size;
      onProgress?.(done);
    }
  }

  async #unpack(sysroot: WritableSysroot, container: BoundContainer, source: ImageSource): Promise<void> {
    const store = await this.#options.openStore();
    const { manifest, image } = container;
    const bytes = await readFile(store.blobPath(hexOf(manifest)));
    requireSame(bytes, container, source);
    const work = await mkdtemp(outside(sysroot, join(RECORDS, 'work-')));
    const workInside = join(RECORDS, basename(work));
    try {
      const folder = join(work, 'image');
      await mkdir(folder);
      await mkdir(join(work, 'tmp'));
      await writeFile(join(work, 'policy.json'), POLICY);
      await writeFile(join(folder, 'version'), 'Directory Transport Version: 1.1\n');
      await writeFile(join(folder, 'manifest.json'), bytes);
      for (const { digest } of container.blobs) {
        await symlink(store.blobPath(hexOf(digest)), join(folder, hexOf(digest)));
      }
      const pull = podmanPullFolderArgv(STORE, join(workInside, 'image'), join(workInside, 'policy.json'));
      const { stdout } = await this.#podman(sysroot, pull, join(workInside, 'tmp'));
      const id = stdout.trim().split('\n').at(-1) ?? '';
      // A name of its own for each digest: one that moved would leave the older image without.
      const name = `${image}:sha256-${hexOf(manifest).slice(0, 12)}`;
      await this.#podman(sysroot, podmanTagArgv(STORE, id, name));
      await sysroot.run(syncFileSystemArgv(STORE.root));
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #podman(sysroot: WritableSysroot, argv: Argv, tmp?: string): Promise<RunResult> {
    const env = { PODMAN_IGNORE_CGROUPSV1_WARNING: '1', ...(tmp !== undefined && { TMPDIR: tmp }) };
    return await asNodeFailure(asDiskFailure(sysroot.run(argv, { env, signal: this.#options.signal })));
  }
}

/** Where it can be written to. */
function outside({ path }: WritableSysroot, inside: string): string {
  return join(path, inside.slice(SYSROOT.length));
}

/** @throws IngotError IMAGE_INVALID when the manifest names other blobs than the deployment's image says */
function requireSame(bytes: Buffer, { manifest, blobs }: BoundContainer, source: ImageSource): void {
  const value = JSON.parse(bytes.toString()) as { readonly mediaType?: string };
  const mediaType = value.mediaType ?? 'application/vnd.oci.image.manifest.v1+json';
  const document = { descriptor: { mediaType, digest: manifest, size: bytes.length }, bytes };
  const named = new Set(readDocument(document, source.shown).blobs.map(({ digest }) => digest));
  if (named.size === blobs.length && blobs.every(({ digest }) => named.has(digest))) return;
  throw new IngotError(
    'IMAGE_INVALID',
    `${source.shown}: ${manifest} is made of other blobs than the image says`,
    {
      hint: 'lock and build the image again',
    },
  );
}

interface KnownImage {
  /** Repositories that it has a name in. */
  readonly images: ReadonlySet<string>;
  readonly blobs: readonly Digest[];
}

function recordPath(folder: string, { manifest, image }: BoundContainer): string {
  // The same image may be known under several repositories.
  return join(folder, `sha256-${hexOf(manifest)}`, `${encodeURIComponent(image)}.json`);
}

async function readRecords(): Promise<ReadonlyMap<Digest, KnownImage>> {
  const found = new Map<Digest, KnownImage>();
  for (const name of await names(RECORDS)) {
    const digest = name.replace('-', ':');
    if (!isDigest(digest)) continue;
    const records = [];
    for (const file of await names(join(RECORDS, name))) {
      const record = Record.safeParse(await readJson(join(RECORDS, name, file)));
      if (record.success) records.push(record.data);
    }
    if (records.length === 0) continue;
    found.set(digestOfHex(hexOf(digest)), {
      images: new Set(records.map(({ image }) => image)),
      blobs: records.flatMap(({ blobs }) => blobs),
    });
  }
  return found;
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as unknown;
  } catch {
    return undefined; // cut short: it tells of nothing
  }
}

/** What an earlier one left when the power went. */
async function dropLeftovers(folder: string): Promise<void> {
  for (const name of await names(folder)) {
    if (name.startsWith('work-')) await rm(join(folder, name), { recursive: true, force: true });
  }
}

async function names(folder: string): Promise<readonly string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
}
