/**
 * Deployments of a host that bootc manages. bootc resolves names, pulls and verifies by itself; so whatever it has
 * staged is held against the image that was judged here, and is dropped when it is another. With `--download-only`
 * that happens before it could ever start.
 */
import { readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';

import { type Digest, isDigest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { Descriptor } from '../oci/schema.ts';
import { readCommitMetadata } from '../ostree/commit-metadata.ts';
import type { OstreeTools } from '../ostree/disk-tools.ts';
import { type ImageFacts, parseFacts } from '../plan/image-facts.ts';
import { parseLocation } from '../publish/location.ts';
import {
  BOOTC_LAYER_BRANCHES,
  bootcApplyDownloadedArgv,
  type BootcEntry,
  type BootcHost,
  type BootcImageReference,
  bootcRollbackArgv,
  bootcStatusArgv,
  bootcSwitchArgv,
  bootcUpgradeArgv,
  bootcUpgradeHelpArgv,
  bootcUsrOverlayArgv,
  parseBootcAbilities,
  parseBootcLayerBranches,
  parseBootcStatus,
} from '../tools/bootc.ts';
import {
  ostreeCleanupArgv,
  ostreeListRefsArgv,
  ostreePinArgv,
  ostreeUndeployArgv,
  parseOstreeStatus,
} from '../tools/ostree.ts';
import { offerIn } from './offer-in.ts';
import type {
  Collected,
  Deployment,
  Engine,
  Fetched,
  FetchOptions,
  FetchPlan,
  OfferedImage,
  StageOptions,
} from './engine.ts';

export interface BootcEngineOptions {
  readonly tools: OstreeTools;
  /** In the place of `/sysroot`, for tests. */
  readonly sysroot?: string;
}

/** Of what is imported, against its compressed size; bootc streams layers, and keeps none of them packed. */
const UNPACKED_FACTOR = 4;
const SPARE_BYTES = 128 * 1024 * 1024;

export class BootcEngine implements Engine {
  readonly name = 'bootc';
  readonly #tools: OstreeTools;
  readonly #sysroot: string;

  constructor({ tools, sysroot = '/sysroot' }: BootcEngineOptions) {
    this.#tools = tools;
    this.#sysroot = sysroot;
  }

  async deployments(): Promise<readonly Deployment[]> {
    const { status } = await this.#host();
    // What was only downloaded does not start next, so it has no place in the order.
    const staged = status.staged?.downloadOnly === true ? undefined : status.staged;
    const { booted, rollback } = status;
    const others = status.otherDeployments ?? [];
    const running = status.rollbackQueued === true ? [rollback, booted] : [booted, rollback];
    const inOrder = [staged, ...running, ...others].filter((entry) => entry !== undefined);
    return Promise.all(
      inOrder.map(async (entry, index): Promise<Deployment> => {
        const created = Date.parse(entry.image?.timestamp ?? '');
        const digest = entry.image?.imageDigest;
        return {
          index,
          id: idOf(entry),
          isBooted: entry === booted,
          isStaged: entry === staged,
          isRollback: entry === (status.rollbackQueued === true ? booted : rollback),
          isPinned: entry.pinned,
          reference: entry.image === undefined ? undefined : referenceOf(entry.image.image),
          digest: digest !== undefined && isDigest(digest) ? digest : undefined,
          version: entry.image?.version,
          created: Number.isNaN(created) ? undefined : Math.floor(created / 1000),
          ...(await this.#described(entry)),
          // bootc has boot loaders of several kinds, and counts no boots.
          bootId: undefined,
          isUnlocked: entry === booted && status.usrOverlay !== undefined,
        };
      }),
    );
  }

  async planFetch(image: OfferedImage): Promise<FetchPlan> {
    const { bavail, bsize } = await statfs(this.#sysroot);
    const freeBytes = bavail * bsize;
    if (await this.isFetched(image)) return { missing: [], bytes: 0, deltas: [], neededBytes: 0, freeBytes };
    const here = await this.#layers();
    const missing = image.manifest.layers.filter(({ digest }) => !here.has(digest));
    const bytes = missing.reduce((sum, { size }) => sum + size, 0);
    return { missing, bytes, deltas: [], neededBytes: bytes * UNPACKED_FACTOR + SPARE_BYTES, freeBytes };
  }

  async isFetched(image: Pick<OfferedImage, 'digest'>): Promise<boolean> {
    const { staged } = (await this.#host()).status;
    return staged?.downloadOnly === true && staged.image?.imageDigest === image.digest;
  }

  async fetched(reference: string, digest: Digest): Promise<OfferedImage | undefined> {
    const { staged } = (await this.#host()).status;
    if (staged?.ostree === undefined || !(await this.isFetched({ digest }))) return undefined;
    const { checksum } = staged.ostree;
    return offerIn(await readCommitMetadata(this.#repo, checksum), reference, digest);
  }

  async requireDownload(image: OfferedImage): Promise<void> {
    if ((await this.#upgradeTo(image)) !== undefined) return;
    throw new IngotError('NODE_UNSUITED', 'bootc on this node cannot pull this image without staging it', {
      hint: 'it can from 1.12 on, for another tag of the repository that is followed; leave out --download-only',
    });
  }

  async fetch(image: OfferedImage, _source: ImageSource, { stage }: FetchOptions): Promise<Fetched> {
    const upgrade = await this.#upgradeTo(image);
    if (upgrade === undefined) {
      stage.detail('bootc pulls it while it stages it');
      return { unplanned: [] };
    }
    await this.#bootc(bootcUpgradeArgv({ ...upgrade, isDownloadOnly: true }));
    await this.#requireStaged(image);
    return { unplanned: [] };
  }

  async stage(image: OfferedImage, { isSignatureWanted }: StageOptions): Promise<Deployment> {
    await this.#bootc(
      (await this.isFetched(image)) || (await this.#upgradeTo(image)) !== undefined
        ? bootcApplyDownloadedArgv
        : bootcSwitchArgv(bootcReference(image.reference), isSignatureWanted),
    );
    await this.#requireStaged(image);
    const staged = (await this.deployments()).find(({ isStaged }) => isStaged);
    if (staged === undefined) throw new IngotError('NODE_FAILED', 'bootc staged nothing that starts next');
    return staged;
  }

  async makeDefault(deployment: Deployment): Promise<void> {
    const [first] = (await this.deployments()).filter(({ isStaged }) => !isStaged);
    const { staged } = (await this.#host()).status;
    if (first?.id !== deployment.id) {
      // It swaps the two, and gives up what is staged.
      await this.#bootc(bootcRollbackArgv);
    } else if (staged !== undefined) {
      await this.#remove(staged);
    }
  }

  async setPinned(deployment: Deployment, isPinned: boolean): Promise<void> {
    await this.#tools.run(ostreePinArgv(await this.#indexOf(deployment.id, 'keep'), isPinned), []);
  }

  async remove(deployment: Deployment): Promise<void> {
    await this.#tools.run(ostreeUndeployArgv(await this.#indexOf(deployment.id, 'remove')), []);
  }

  async unlockUsr(): Promise<void> {
    await this.#bootc(bootcUsrOverlayArgv);
  }

  /** bootc removes images and layers itself, whenever it stages; what can be left over is ostree's. */
  async collect(): Promise<Collected> {
    if (!this.#isOstree((await this.#host()).status.booted)) return { images: 0, layers: 0, bytes: 0 };
    const before = { layers: (await this.#layers()).size, space: await statfs(this.#sysroot) };
    await this.#tools.run(ostreeCleanupArgv(), []);
    const after = { layers: (await this.#layers()).size, space: await statfs(this.#sysroot) };
    return {
      images: 0,
      layers: before.layers - after.layers,
      bytes: Math.max(0, (after.space.bfree - before.space.bfree) * after.space.bsize),
    };
  }

  async #host(): Promise<BootcHost> {
    return parseBootcStatus((await this.#tools.run(bootcStatusArgv, [])).stdout);
  }

  async #bootc(argv: Parameters<OstreeTools['run']>[0]): Promise<void> {
    try {
      await this.#tools.run(argv, []);
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'NODE_FAILED') throw error;
      throw new IngotError('NODE_FAILED', error.message, {
        hint: 'bootc reads registries.conf, certs.d and policy.json in /etc/containers, not Ingot’s options',
        cause: error,
        ...(error.output !== undefined && { output: error.output }),
      });
    }
  }

  /** How `bootc upgrade` gets this image; undefined where only `bootc switch` does. */
  async #upgradeTo(image: OfferedImage): Promise<{ readonly tag: string | undefined } | undefined> {
    const { spec } = await this.#host();
    const can = parseBootcAbilities((await this.#tools.run(bootcUpgradeHelpArgv, [])).stdout);
    if (!can.downloadOnly || spec.image === undefined) return undefined;
    if (referenceOf(spec.image) === image.reference) return { tag: undefined };
    if (!can.tag || spec.image.transport !== 'registry') return undefined;
    const [followed, wanted] = [spec.image.image, image.reference].map((text) => parseLocation(text, '/'));
    if (followed?.kind !== 'registry' || wanted?.kind !== 'registry') return undefined;
    const isSame =
      followed.reference.registry === wanted.reference.registry &&
      followed.reference.repository === wanted.reference.repository;
    return isSame && wanted.reference.tag !== undefined ? { tag: wanted.reference.tag } : undefined;
  }

  /** @throws IngotError DIGEST_MISMATCH for another image than was judged, which is gone then */
  async #requireStaged(image: OfferedImage): Promise<void> {
    const { staged } = (await this.#host()).status;
    const digest = staged?.image?.imageDigest;
    if (digest === image.digest || digest === image.root) return;
    if (staged === undefined)
      throw new IngotError('NODE_FAILED', `bootc staged nothing of ${image.reference}`);
    await this.#remove(staged);
    throw new IngotError(
      'DIGEST_MISMATCH',
      `bootc pulled ${digest ?? 'an image without a digest'} as ${image.reference}, which was ${image.digest} a moment ago`,
      { hint: 'the name has moved meanwhile, and nothing was changed: run the command again' },
    );
  }

  async #remove(staged: BootcEntry): Promise<void> {
    await this.#tools.run(ostreeUndeployArgv(await this.#indexOf(idOf(staged), 'remove')), []);
  }

  /** Its place for ostree, which asks for one right before it is used. @throws IngotError NODE_UNSUITED, NOT_FOUND */
  async #indexOf(id: string, verb: string): Promise<number> {
    const { status } = await this.#host();
    if (!this.#isOstree(status.booted)) {
      throw new IngotError('NODE_UNSUITED', `bootc has no way to ${verb} a deployment of this node`, {
        hint: 'its deployments are composefs images; `bootc rollback` gives up what is staged',
      });
    }
    const shown = parseOstreeStatus((await this.#tools.run(['ostree', 'admin', 'status'], [])).stdout);
    const index = shown.findIndex(({ checksum, serial }) => `${checksum}.${serial}` === id);
    if (index === -1) throw new IngotError('NOT_FOUND', `the deployment ${id} is gone`);
    return index;
  }

  #isOstree(booted: BootcEntry | undefined): boolean {
    return booted?.ostree !== undefined;
  }

  get #repo(): string {
    return join(this.#sysroot, 'ostree/repo');
  }

  async #layers(): Promise<ReadonlySet<string>> {
    if (!this.#isOstree((await this.#host()).status.booted)) return new Set();
    const argv = ostreeListRefsArgv(this.#repo, BOOTC_LAYER_BRANCHES);
    return parseBootcLayerBranches((await this.#tools.run(argv, [])).stdout);
  }

  /** What bootc's status does not tell; commits of ostree have the image's own documents. */
  async #described(
    entry: BootcEntry,
  ): Promise<{ readonly facts: ImageFacts; readonly layers: readonly Descriptor[] | undefined }> {
    const architecture = entry.image?.architecture;
    if (entry.ostree === undefined) return { facts: { architecture }, layers: undefined };
    const { stateroot, checksum } = entry.ostree;
    const { manifest, config } = await readCommitMetadata(this.#repo, checksum);
    const said = parseFacts(manifest?.annotations ?? config?.config?.Labels ?? {});
    const modules = join(this.#sysroot, 'ostree/deploy', stateroot, 'deploy', idOf(entry), 'usr/lib/modules');
    const [release, ...more] = said.kernel === undefined ? await readdir(modules).catch(() => []) : [];
    const kernel = release === undefined || more.length > 0 ? {} : { kernel: { release } };
    const facts = { ...said, ...kernel, architecture: said.architecture ?? architecture };
    return { facts, layers: manifest?.layers };
  }
}

/** Whether bootc manages what runs: it was started from an image, and no other tool has changed it since. */
export function isBootcHost({ status }: BootcHost): boolean {
  return status.booted?.image !== undefined && !status.booted.incompatible;
}

function idOf({ ostree, composefs, image }: BootcEntry): string {
  if (ostree !== undefined) return `${ostree.checksum}.${ostree.deploySerial}`;
  return composefs?.verity ?? image?.imageDigest ?? 'unknown';
}

/** As a person writes it for Ingot. */
function referenceOf({ image, transport }: BootcImageReference): string {
  return transport === 'registry' ? image : `${transport}:${image}`;
}

function bootcReference(reference: string): Pick<BootcImageReference, 'image' | 'transport'> {
  const location = parseLocation(reference, '/');
  if (location.kind === 'registry') return { transport: 'registry', image: reference };
  const name = location.name === undefined ? '' : `:${location.name}`;
  return {
    transport: location.kind === 'layout' ? 'oci' : 'oci-archive',
    image: `${location.path}${name}`,
  };
}
