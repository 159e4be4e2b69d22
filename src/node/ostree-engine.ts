/** Deployments of ostree on the machine that runs them. */
import { mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type Digest, isDigest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import { BOOT_ID, bootIdOf } from '../ostree/boot-id.ts';
import { type CommitDescription, readCommitMetadata } from '../ostree/commit-metadata.ts';
import { hasBranch, hasOtherRecords, imageRef, keepLayerRecords, layerRef } from '../ostree/layer-record.ts';
import { type ImageFacts, parseFacts } from '../plan/image-facts.ts';
import type { Store } from '../store/store.ts';
import {
  ostreeCleanupArgv,
  type OstreeDeployment,
  ostreeDeleteRefArgv,
  ostreePinArgv,
  ostreeSetDefaultArgv,
  ostreeStageArgv,
  ostreeUndeployArgv,
  ostreeUnlockArgv,
} from '../tools/ostree.ts';
import {
  argumentValue,
  loadBootFoldersOfEntries,
  loadKernelArgumentsOfEntries,
  nextKernelArguments,
} from './boot-entries.ts';
import { requireBootRoom } from './boot-room.ts';
import { offerIn } from './offer-in.ts';
import type {
  Collected,
  Deployment,
  Engine,
  Fetched,
  FetchOptions,
  FetchPlan,
  OfferedImage,
  SoftReboot,
} from './engine.ts';
import type { OfferedDelta } from './find-deltas.ts';
import { HostTools } from './host-tools.ts';
import { parseOrigin, renderOrigin } from './ostree-origin.ts';
import { OstreeFetcher } from './ostree-fetcher.ts';
import { OstreeSysroot } from './ostree-sysroot.ts';
import { OstreeSoftReboot } from './restart/ostree-soft-reboot.ts';
import { openWritableSysroot } from './writable-sysroot.ts';

export interface OstreeEngineOptions {
  /** For blobs on their way into the repository. Asked for when there are some. */
  readonly openStore: () => Promise<Store>;
  readonly now: () => Date;
  readonly signal?: AbortSignal | undefined;
}

const SYSROOT = '/sysroot';
const REPO = join(SYSROOT, 'ostree/repo');
const BOOT = '/boot';

export class OstreeEngine implements Engine {
  readonly name = 'ostree';
  readonly softReboot: SoftReboot;
  readonly #tools: OstreeSysroot;
  readonly #options: OstreeEngineOptions;
  readonly #fetcher: OstreeFetcher;

  constructor(options: OstreeEngineOptions) {
    this.#options = options;
    this.#tools = new OstreeSysroot({ tools: new HostTools(options.signal) });
    this.#fetcher = new OstreeFetcher(SYSROOT, this.#tools, options);
    this.softReboot = new OstreeSoftReboot({
      sysroot: SYSROOT,
      tools: this.#tools,
      deployments: () => this.deployments(),
      folderOf: async (wanted) => {
        const found = (await this.#tools.deployments()).find((one) => idOf(one) === wanted);
        if (found === undefined) throw new IngotError('NOT_FOUND', `the deployment ${wanted} is gone`);
        return folderOf(found);
      },
    });
  }

  async deployments(): Promise<readonly Deployment[]> {
    const [shown, entries] = await Promise.all([
      this.#tools.deployments(),
      loadKernelArgumentsOfEntries(BOOT, SYSROOT),
    ]);
    const rollback = rollbackOf(shown);
    return Promise.all(
      shown.map(async (one, index): Promise<Deployment> => {
        const id = idOf(one);
        const commit = await readCommitMetadata(REPO, one.checksum);
        const created = Date.parse(commit.config?.created ?? '');
        return {
          index,
          id,
          isBooted: one.booted,
          isStaged: one.staged,
          isRollback: one === rollback,
          isPinned: one.pinned,
          reference: parseOrigin(await readIfThere(`${folderOf(one)}.origin`)).reference,
          digest: commit.digest,
          version: one.version,
          created: Number.isNaN(created) ? undefined : Math.floor(created / 1000),
          facts: await factsOf(commit, folderOf(one)),
          layers: commit.manifest?.layers,
          bootId: argumentValue(entries.get(id) ?? [], BOOT_ID),
          isUnlocked: one.unlocked,
        };
      }),
    );
  }

  async isFetched({ digest }: Pick<OfferedImage, 'digest'>): Promise<boolean> {
    return hasBranch(REPO, imageRef(digest));
  }

  planFetch(image: OfferedImage, deltas?: readonly OfferedDelta[]): Promise<FetchPlan> {
    return this.#fetcher.plan(image, deltas);
  }

  readonly layersHere = (layers: readonly Digest[]): Promise<ReadonlySet<Digest>> =>
    this.#fetcher.layersHere(layers);

  async fetched(reference: string, digest: Digest): Promise<OfferedImage | undefined> {
    if (!(await this.isFetched({ digest }))) return undefined;
    return offerIn(await readCommitMetadata(REPO, imageRef(digest)), reference, digest);
  }

  requireDownload(): Promise<void> {
    return Promise.resolve();
  }

  fetch(image: OfferedImage, source: ImageSource, options: FetchOptions): Promise<Fetched> {
    return this.#fetcher.fetch(image, source, options);
  }

  async stage(image: OfferedImage): Promise<Deployment> {
    const ref = imageRef(image.digest);
    const [before, entries, next] = await Promise.all([
      this.#tools.deployments(),
      loadKernelArgumentsOfEntries(BOOT, SYSROOT),
      readCommitMetadata(REPO, ref),
    ]);
    const booted = before.find((one) => one.booted);
    const running = booted === undefined ? undefined : entries.get(idOf(booted));
    if (booted === undefined || running === undefined) {
      throw new IngotError('NODE_FAILED', 'no boot entry leads to the running deployment', {
        hint: 'is /boot mounted? `ostree admin status` shows what ostree knows',
      });
    }
    const now = await readCommitMetadata(REPO, booted.checksum);
    const bootId = bootIdOf(image.digest, this.#options.now());
    const kernelArguments = nextKernelArguments(
      running,
      now.kernelArguments ?? [],
      next.kernelArguments ?? [],
      bootId,
    );
    const work = await mkdtemp('/run/ingot-stage-');
    try {
      const originFile = join(work, 'origin');
      await writeFile(originFile, renderOrigin(ref, { reference: image.reference }));
      await this.#tools.run(
        ostreeStageArgv({ stateroot: booted.stateroot, ref, originFile, kernelArguments }),
      );
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    const staged = (await this.deployments()).find(({ isStaged }) => isStaged);
    if (staged === undefined) throw new IngotError('NODE_FAILED', 'ostree staged nothing');
    try {
      await this.#requireBootRoom();
    } catch (error) {
      await this.remove(staged);
      throw error;
    }
    return { ...staged, bootId };
  }

  async #requireBootRoom(): Promise<void> {
    const shown = await this.#tools.deployments();
    const staged = shown.find((one) => one.staged);
    if (staged === undefined) return;
    const folders = await loadBootFoldersOfEntries(BOOT, SYSROOT);
    const kept = shown
      .filter((one) => one.booted || one.pinned)
      .flatMap((one) => folders.get(idOf(one)) ?? []);
    const { stateroot } = staged;
    await requireBootRoom({ boot: BOOT, deployment: folderOf(staged), stateroot, kept: new Set(kept) });
  }

  async makeDefault(deployment: Deployment): Promise<void> {
    const staged = (await this.#tools.deploymentsNow()).findIndex((one) => one.staged);
    if (staged !== -1) await this.#tools.run(ostreeUndeployArgv(staged));
    await this.#tools.run(ostreeSetDefaultArgv(await this.#indexOf(deployment)));
  }

  async setPinned(deployment: Deployment, isPinned: boolean): Promise<void> {
    await this.#tools.run(ostreePinArgv(await this.#indexOf(deployment), isPinned));
  }

  async remove(deployment: Deployment): Promise<void> {
    await this.#tools.run(ostreeUndeployArgv(await this.#indexOf(deployment)));
  }

  async unlockUsr(): Promise<void> {
    await this.#tools.run(ostreeUnlockArgv);
  }

  async collect(keep: ReadonlySet<Digest>): Promise<Collected> {
    this.#fetcher.forgetPlan();
    const deployed = await this.deployments();
    const images = new Set([
      ...keep,
      ...deployed.flatMap(({ digest }) => (digest === undefined ? [] : [digest])),
    ]);
    const layers = new Set<Digest>();
    for (const digest of images) {
      if (!(await this.isFetched({ digest }))) continue;
      const { manifest } = await readCommitMetadata(REPO, imageRef(digest));
      for (const layer of manifest?.layers ?? []) layers.add(layer.digest);
    }
    const unwanted = {
      images: (await branchesOf('image')).filter((digest) => !images.has(digest)),
      layers: (await branchesOf('layer')).filter((digest) => !layers.has(digest)),
    };
    const hasOldRecords = await hasOtherRecords(REPO, layers);
    const dropped = { images: unwanted.images.length, layers: unwanted.layers.length };
    // Who keeps nothing more wants whatever can go.
    const isWhole = keep.size === 0;
    if (!isWhole && !hasOldRecords && dropped.images + dropped.layers === 0) return { ...dropped, bytes: 0 };
    const before = await statfs(REPO);
    await using sysroot = await openWritableSysroot(SYSROOT, this.#options.signal);
    const repo = join(sysroot.path, 'ostree/repo');
    // Images first: a layer may only go when nothing that is there is made of it.
    for (const ref of [...unwanted.images.map(imageRef), ...unwanted.layers.map(layerRef)]) {
      await this.#tools.run(ostreeDeleteRefArgv(repo, ref));
    }
    await keepLayerRecords(repo, layers);
    // It reads every name that any commit has, so not for nothing.
    if (isWhole || dropped.images + dropped.layers > 0) await this.#tools.run(ostreeCleanupArgv());
    const after = await statfs(REPO);
    return { ...dropped, bytes: Math.max(0, (after.bfree - before.bfree) * after.bsize) };
  }

  /** Places change with every change: they are asked for right before they are used. */
  async #indexOf({ id }: Deployment): Promise<number> {
    const index = (await this.#tools.deploymentsNow()).findIndex((one) => idOf(one) === id);
    if (index === -1) throw new IngotError('NOT_FOUND', `the deployment ${id} is gone`);
    return index;
  }
}

function idOf({ checksum, serial }: OstreeDeployment): string {
  return `${checksum}.${serial}`;
}

function folderOf(one: OstreeDeployment): string {
  return join(SYSROOT, 'ostree/deploy', one.stateroot, 'deploy', idOf(one));
}

/**
 * What `rollback` would start: the first behind the running one. With a deployment pending that is not staged, which
 * an earlier rollback has put first, it is the running one itself.
 */
function rollbackOf(shown: readonly OstreeDeployment[]): OstreeDeployment | undefined {
  const booted = shown.findIndex((one) => one.booted);
  if (booted === -1) return undefined;
  const isUndone = shown.slice(0, booted).some((one) => !one.staged);
  return isUndone
    ? shown[booted]
    : shown.slice(booted + 1).find((one) => one.stateroot === shown[booted]?.stateroot);
}

/** Annotations of the image; of one that says nothing, the kernel in its tree. */
async function factsOf({ manifest, config }: CommitDescription, folder: string): Promise<ImageFacts> {
  const facts = parseFacts(manifest?.annotations ?? config?.config?.Labels ?? {});
  if (facts.kernel !== undefined) return facts;
  const [release, ...more] = await readdir(join(folder, 'usr/lib/modules')).catch(() => []);
  return release === undefined || more.length > 0 ? facts : { ...facts, kernel: { release } };
}

/** Of the images, or layers, that have a branch in the repository. */
async function branchesOf(kind: 'image' | 'layer'): Promise<readonly Digest[]> {
  const names = await readdir(join(REPO, 'refs/heads/ingot', kind)).catch(() => []);
  return names.map((name) => name.replace('-', ':')).filter(isDigest);
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}
