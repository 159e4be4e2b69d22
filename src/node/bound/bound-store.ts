/**
 * Containers and models that belong to deployments: pulled before the node restarts into the image that names them,
 * there as long as a deployment does, and gone with the last one. What is in place is named by digests, so going back
 * needs nothing but the older deployment.
 */
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { type Digest, hexOf } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import type { ImageSource } from '../../oci/image-transfer.ts';
import { type ImageReference, parseImageReference } from '../../oci/reference.ts';
import {
  type BoundContainer,
  type BoundContent,
  boundDigest,
  type BoundModel,
  BOUND_STORE_PLACE,
  COMPLETE_FOLDER,
} from '../../plan/bound.ts';
import { formatBytes } from '../../report/format.ts';
import type { Reporter } from '../../report/events.ts';
import { writeFileAtomically } from '../../store/store.ts';
import { type TrustPolicy, verdictFor } from '../../trust/policy.ts';
import { checkTrust } from '../check-trust.ts';
import type { ContainerStore } from './container-store.ts';
import type { ModelStore } from './model-store.ts';

export interface BoundStoreOptions {
  /** Undefined where the engine pulls containers itself, as bootc does. */
  readonly containers: ContainerStore | undefined;
  readonly models: ModelStore;
  /** Default: /var/lib/ingot/bound. */
  readonly completeFolder?: string;
  /** Of the running image. */
  readonly policy: TrustPolicy | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/** Where what is missing comes from. */
export type OpenPlace = (reference: ImageReference) => ImageSource;

export interface BoundItem {
  readonly kind: 'container' | 'model';
  readonly name: string;
  /** `HOST/PATH:TAG`, or by digest where there is no tag. */
  readonly reference: string;
  readonly digest: Digest;
  /** Of all its blobs, compressed. */
  readonly bytes: number;
  readonly isPresent: boolean;
}

export interface BoundPlan {
  readonly items: readonly BoundItem[];
  /** To pull. */
  readonly bytes: number;
  /** What that may take on each disk while it runs, beside what is free there. */
  readonly room: readonly {
    readonly path: string;
    readonly neededBytes: number;
    readonly freeBytes: number;
  }[];
}

export interface CollectedBound {
  readonly containers: number;
  readonly models: number;
}

/** Of a container's layers unpacked, against their compressed size. */
const UNPACKED_FACTOR = 3;
const SPARE_BYTES = 64 * 1024 * 1024;

export const NOTHING_BOUND: BoundContent = { containers: [], models: [] };

export class BoundStore {
  readonly #options: BoundStoreOptions;
  /** A name of a file here says which content is in place. */
  readonly #complete: string;

  constructor(options: BoundStoreOptions) {
    this.#options = options;
    this.#complete = options.completeFolder ?? COMPLETE_FOLDER;
  }

  /** @param beside what else is going to be written meanwhile */
  async plan(
    content: BoundContent,
    beside: { readonly path: string; readonly neededBytes: number } = { path: '/', neededBytes: 0 },
  ): Promise<BoundPlan> {
    const { models } = this.#options;
    const items: BoundItem[] = [];
    let pulled = 0;
    let unpacked = 0;
    let files = 0;
    for (const { one, keeper } of this.#kept(content)) {
      const missing = bytesOf(await keeper.missing(one));
      items.push({ ...describe('container', one, one.image, one.blobs), isPresent: await keeper.has(one) });
      pulled += missing;
      unpacked += missing * UNPACKED_FACTOR;
    }
    for (const one of content.models) {
      files += bytesOf(await models.missing(one));
      items.push({ ...describe('model', one, one.artifact, one.files), isPresent: await models.has(one) });
    }
    const bytes = pulled + files;
    const room = await this.#room([
      // On its way, and beside it while Podman unpacks it.
      { path: this.#complete, neededBytes: pulled },
      { path: BOUND_STORE_PLACE, neededBytes: unpacked + pulled },
      { path: models.folder, neededBytes: files },
      beside,
    ]);
    return { items, bytes, room: bytes === 0 ? [] : room };
  }

  /**
   * Pulls what is missing, verifies it and puts it in place. Goes on where it was cut short.
   *
   * @throws IngotError UPDATE_REFUSED for what the running image's policy does not take, DISK_FULL before the first
   *   byte is pulled, DIGEST_MISMATCH, NODE_FAILED, and what sources throw
   */
  async fetch(content: BoundContent, open: OpenPlace): Promise<BoundPlan> {
    const { models, reporter, signal } = this.#options;
    const plan = await this.plan(content);
    requireBoundRoom(plan);
    const kept = this.#kept(content);
    const canImport = (await kept[0]?.keeper.canImport()) ?? true;
    for (const { one, keeper } of kept) {
      if (await keeper.has(one)) continue;
      await this.#with(one.image, one, open, async (source) => {
        const total = bytesOf(await keeper.missing(one));
        await reporter.stage(`Pull container ${one.name}`, async (stage) => {
          const onProgress = (bytes: number): void => {
            stage.progress(bytes, total, 'bytes');
          };
          await keeper.pull(one, source, { signal, onProgress });
          stage.detail(formatBytes(total));
        });
        if (!canImport) return;
        await reporter.stage(`Unpack container ${one.name}`, () => keeper.import(one, source, { signal }));
      });
    }
    for (const one of content.models) {
      if (await models.has(one)) continue;
      await this.#with(one.artifact, one, open, (source) =>
        reporter.stage(`Pull model ${one.name}`, async (stage) => {
          const total = bytesOf(one.files);
          const onProgress = (bytes: number): void => {
            stage.progress(bytes, total, 'bytes');
          };
          await models.fetch(one, source, { signal, onProgress });
          stage.detail(formatBytes(total));
        }),
      );
    }
    if (canImport) await writeFileAtomically(join(this.#complete, hexOf(boundDigest(content))), '');
    else {
      reporter.warning(
        'this system has no Podman: the containers are pulled, and unpacked when the new one starts, before its services',
      );
    }
    return plan;
  }

  /** Removes what none of these needs. */
  async collect(needed: readonly BoundContent[]): Promise<CollectedBound> {
    const { containers, models } = this.#options;
    const removed = {
      containers: (await containers?.collect(needed.flatMap((content) => content.containers))) ?? 0,
      models: await models.collect(
        new Set(needed.flatMap((content) => content.models.map(({ digest }) => digest))),
      ),
    };
    await models.dropPulled();
    const kept = new Set(needed.map((content) => hexOf(boundDigest(content))));
    for (const name of await namesIn(this.#complete)) {
      if (!kept.has(name)) await rm(join(this.#complete, name), { force: true });
    }
    return removed;
  }

  /** With what keeps them; none where the engine does. */
  #kept({
    containers: wanted,
  }: BoundContent): readonly { readonly one: BoundContainer; readonly keeper: ContainerStore }[] {
    const { containers: keeper } = this.#options;
    return keeper === undefined ? [] : wanted.map((one) => ({ one, keeper }));
  }

  /** A place's policy is asked before it is. What has no rule of its own is as good as the image that names it. */
  async #with(
    place: string,
    { digest }: { readonly digest: Digest },
    open: OpenPlace,
    work: (source: ImageSource) => Promise<void>,
  ): Promise<void> {
    const { policy, signal } = this.#options;
    const reference = parseImageReference(`${place}@${digest}`);
    await using source = open(reference);
    const verdict = policy === undefined ? undefined : verdictFor(policy, place);
    const hasRule = verdict !== undefined && (verdict.verdict === 'signed' || verdict.location !== undefined);
    if (hasRule) await checkTrust(source, { kind: 'registry', reference }, digest, policy, { signal });
    await work(source);
  }

  /** Disks are told apart by their device; what goes to one of them adds up. */
  async #room(
    wanted: readonly { readonly path: string; readonly neededBytes: number }[],
  ): Promise<BoundPlan['room']> {
    const disks = new Map<number, BoundPlan['room'][number]>();
    for (const { path, neededBytes } of wanted) {
      if (neededBytes === 0) continue;
      const there = await nearestFolder(path);
      const { dev } = await stat(there);
      const known = disks.get(dev);
      const { bavail, bsize } = await statfs(there);
      const before = known?.neededBytes ?? SPARE_BYTES;
      disks.set(dev, {
        path: known?.path ?? there,
        neededBytes: before + neededBytes,
        freeBytes: bavail * bsize,
      });
    }
    return [...disks.values()];
  }
}

/** @throws IngotError DISK_FULL */
export function requireBoundRoom({ room }: BoundPlan): void {
  const short = room.find(({ neededBytes, freeBytes }) => neededBytes > freeBytes);
  if (short === undefined) return;
  const { path, neededBytes, freeBytes } = short;
  throw new IngotError(
    'DISK_FULL',
    `containers and models of the image take up to ${formatBytes(neededBytes)} below ${path}, and ${formatBytes(freeBytes)} are free`,
    { hint: '`ingot node gc` removes what no deployment needs' },
  );
}

function describe(
  kind: BoundItem['kind'],
  {
    name,
    tag,
    digest,
  }: Pick<BoundContainer & BoundModel, 'name' | 'digest'> & { readonly tag?: string | undefined },
  place: string,
  blobs: readonly { readonly digest: Digest; readonly size: number }[],
): Omit<BoundItem, 'isPresent'> {
  const reference = tag === undefined ? `${place}@${digest}` : `${place}:${tag}`;
  return { kind, name, reference, digest, bytes: bytesOf(blobs) };
}

/** Each blob once. */
function bytesOf(blobs: readonly { readonly digest: Digest; readonly size: number }[]): number {
  return [...new Map(blobs.map((blob) => [blob.digest, blob.size])).values()].reduce(
    (sum, size) => sum + size,
    0,
  );
}

async function nearestFolder(path: string): Promise<string> {
  const found = await stat(path).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  });
  return found === undefined ? nearestFolder(dirname(path)) : path;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
}
