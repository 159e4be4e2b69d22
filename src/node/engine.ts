/**
 * What makes updates of a host transactional, behind one small interface: ostree where the image is Debian's, bootc
 * where that is installed. An engine knows deployments and images; what may be deployed is decided above it.
 */
import type { Reboot } from '../compare/reboot.ts';
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { Descriptor, ImageConfig, Manifest } from '../oci/schema.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import type { ImageFacts } from '../plan/image-facts.ts';
import type { OfferedDelta } from './find-deltas.ts';
import type { Stage } from '../report/events.ts';

/** An image as a registry or a layout offers it, held to the digest that its name led to when it was asked. */
export interface OfferedImage {
  /** What the node follows: `HOST/PATH:TAG`, `oci:DIRECTORY[:NAME]`. */
  readonly reference: string;
  /** Of the manifest for this machine's architecture. */
  readonly digest: Digest;
  /** Of what the name led to: the image itself, or an index that holds it. */
  readonly root: Digest;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly version: string;
}

/** An installed system on this host. */
export interface Deployment {
  /** Place in the order of boot entries. */
  readonly index: number;
  /** Stays the same as long as the deployment is there; `COMMIT.SERIAL` with ostree. */
  readonly id: string;
  readonly isBooted: boolean;
  /** Prepared, and becomes the first when the system goes down. */
  readonly isStaged: boolean;
  /** Would be started by `rollback`. */
  readonly isRollback: boolean;
  readonly isPinned: boolean;
  /** What the node follows; undefined where nobody said yet. */
  readonly reference: string | undefined;
  /** Of the image's manifest. */
  readonly digest: Digest | undefined;
  readonly version: string | undefined;
  /** Seconds since the epoch, as the image says. */
  readonly created: number | undefined;
  readonly facts: ImageFacts;
  /** Of the image, lowest first; undefined when they are not known. */
  readonly layers: readonly Descriptor[] | undefined;
  /** Tells this boot entry from every other in GRUB's environment: `ingot.id` on the kernel command line. */
  readonly bootId: string | undefined;
  /** /usr can be written to, until the next restart: for debugging. */
  readonly isUnlocked: boolean;
}

export interface FetchPlan {
  /** Blobs that the host lacks, lowest first. */
  readonly missing: readonly Descriptor[];
  /** To be pulled for these: the blobs, or their deltas. */
  readonly bytes: number;
  /** What is pulled in the place of a blob. */
  readonly deltas: readonly OfferedDelta[];
  /** What fetching and importing them may take while it runs, and what is free. */
  readonly neededBytes: number;
  readonly freeBytes: number;
}

export interface FetchOptions {
  readonly stage: Stage;
  /** Told of what did not go as planned and is made good for. */
  readonly warn: (message: string) => void;
}

export interface Fetched {
  /** Blobs that were pulled in the place of deltas that could not be used. */
  readonly unplanned: readonly Descriptor[];
}

export interface Collected {
  /** Images that no deployment has, and layers that no image has. */
  readonly images: number;
  readonly layers: number;
  /** That became free. */
  readonly bytes: number;
}

export interface StageOptions {
  /** Who may have signed was checked, and is to be checked by whatever pulls, too. */
  readonly isSignatureWanted: boolean;
}

/** Going over to another deployment without restarting the kernel. */
export interface SoftReboot {
  /** What of this machine stands in the way, whatever the deployment. */
  obstacles(): Promise<readonly string[]>;
  /** Whether the kernel and all that it has loaded stays with this deployment, which is staged or starts next. */
  judge(to: Deployment): Promise<Reboot>;
  /** Returns when the running system is about to go down. @throws IngotError NODE_FAILED, and nothing goes down */
  start(to: Deployment): Promise<void>;
}

export interface Engine {
  readonly name: 'ostree' | 'bootc';
  readonly softReboot?: SoftReboot | undefined;
  /** In the order of boot entries: the first starts next. */
  deployments(): Promise<readonly Deployment[]>;
  /** @param deltas of its layers, made of layers that are here; not all of them need be taken */
  planFetch(image: OfferedImage, deltas?: readonly OfferedDelta[]): Promise<FetchPlan>;
  /** Those of these layers whose files deltas can be made of; undefined where they cannot. */
  readonly layersHere?: (layers: readonly Digest[]) => Promise<ReadonlySet<Digest>>;
  /** @throws IngotError NODE_UNSUITED where this image cannot be pulled and left at that */
  requireDownload(image: OfferedImage): Promise<void>;
  /**
   * Pulls what is missing, as it was planned last, and makes the image ready to be staged. Goes on where it was cut
   * short. Does nothing where the engine pulls as it stages.
   */
  fetch(image: OfferedImage, source: ImageSource, options: FetchOptions): Promise<Fetched>;
  /** Whether `fetch` has nothing to do. */
  isFetched(image: Pick<OfferedImage, 'digest'>): Promise<boolean>;
  /** An image that is here and not staged; undefined when it is not, or does not say all that must be known of it. */
  fetched(reference: string, digest: Digest): Promise<OfferedImage | undefined>;
  /** Prepares the image to start next, in the place of what was staged before. */
  stage(image: OfferedImage, options: StageOptions): Promise<Deployment>;
  /** Lets it start next. What is staged is given up. */
  makeDefault(deployment: Deployment): Promise<void>;
  setPinned(deployment: Deployment, isPinned: boolean): Promise<void>;
  remove(deployment: Deployment): Promise<void>;
  /** Makes /usr of the running system writable until the next restart. */
  unlockUsr(): Promise<void>;
  /** Removes what no deployment needs. @param keep images that are to stay, such as one that was downloaded */
  collect(keep: ReadonlySet<Digest>): Promise<Collected>;
}

/** @throws IngotError NODE_UNSUITED */
export function requireBooted(deployments: readonly Deployment[]): Deployment {
  const booted = deployments.find(({ isBooted }) => isBooted);
  if (booted !== undefined) return booted;
  throw new IngotError('NODE_UNSUITED', 'none of the deployments here is the running system', {
    hint: 'run it on the node itself, outside of containers',
  });
}
