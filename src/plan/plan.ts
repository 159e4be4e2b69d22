/**
 * The plan: the graph of layer builds with their input keys. Pure: which steps are in the store already is looked
 * up by the caller.
 */
import type { Digest } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Group, HealthCheck, User } from '../spec/node-image.ts';
import type { PlanChunk } from './chunks.ts';
import type { LockedBaseImage } from '../resolve/lock.ts';
import type { ImageFacts } from './image-facts.ts';

/** A file that is written into a tree as is: its text, or a blob of the store; or a symbolic link. */
export type PlannedFile = PlannedText | PlannedBlob | PlannedLink;

/** Of root's, as all links are. */
export interface PlannedLink {
  readonly path: string;
  /** Where it leads. */
  readonly link: string;
}

export interface PlannedText extends FilePlace {
  readonly content: string;
}

/** For what is large, or no text. */
export interface PlannedBlob extends FilePlace {
  readonly blob: { readonly digest: Digest; readonly size: number };
}

interface FilePlace {
  readonly path: string;
  readonly mode: number;
  /** Names, looked up in the image when the file is written. */
  readonly user: string;
  readonly group: string;
}

export interface PlannedUnit {
  readonly name: string;
  readonly enabled?: boolean;
  readonly masked: boolean;
  readonly content?: string;
  /** Who asks for it, for messages: `the layer addon-ssh`, `units`. */
  readonly origin: string;
  /** Index in the declaration's `units`, for positions. */
  readonly declared?: number;
}

/** What a step of the kind `modules` builds, and with what. */
export interface ModulesInput {
  readonly kernelRelease: string;
  /** Debian's name of it. */
  readonly architecture: string;
  /** The package with the source. */
  readonly source: LockedPackage;
  /** Unified diffs, in the order in which they are applied. */
  readonly patches: readonly { readonly name: string; readonly text: string }[];
  /** The root with headers and compiler, which becomes a tree and never a blob. */
  readonly compile: PlannedTree;
  /** Fingerprint of the certificate that the modules are signed for. */
  readonly signer?: Digest;
  /** What the facts say of this source and this kernel, for messages. */
  readonly known: readonly string[];
}

/** An image whose layers are the lowest of the planned one, as they are. */
export interface PlannedImage {
  /** As the declaration has it. */
  readonly reference: string;
  readonly digest: Digest;
  readonly family: LockedBaseImage['family'];
  /** Folder of its package database. */
  readonly database?: string;
  /** Lowest first. */
  readonly layers: LockedBaseImage['layers'];
}

/** A tree of files to make: a layer, kernel modules, the initramfs, the seal, or the tools root. */
export interface PlannedTree {
  /** `base`, `settle`, a layer's name, `modules-` and the layer they are of, `initramfs`, `seal`, or `tools`. */
  readonly name: string;
  readonly kind: 'base' | 'image-base' | 'settle' | 'unpack' | 'install' | 'modules' | 'initramfs' | 'seal';
  /** Digest over everything that can change the tree's bits. */
  readonly treeKey: Digest;
  /** Names of the steps this one is built on, lowest first. */
  readonly needs: readonly string[];
  readonly packages: readonly LockedPackage[];
  readonly files: readonly PlannedFile[];
  /** SOURCE_DATE_EPOCH of this step, seconds. */
  readonly epoch: number;
  /** One line for people: what the step holds. */
  readonly summary: string;
  /** Of the kind `modules` alone. */
  readonly modules?: ModulesInput;
  /** Of the kinds `image-base` and `settle`. */
  readonly image?: PlannedImage;
  /** Of the kinds `install` and `seal`, on a base that rpm packages are added to. */
  readonly rpm?: RpmInput;
}

/** What installs rpm packages. */
export interface RpmInput {
  /** The root that rpm runs from, which becomes a tree and never a blob. */
  readonly tools: PlannedTree;
  /** Folder of the package database in the image, below /usr. */
  readonly database: string;
}

/** Where rpm's database is in an image that is built on one with its database in /var. */
export const RPM_DATABASE_PLACE = '/usr/lib/sysimage/rpm';

/** A tree that becomes blobs of the image. */
export interface PlanStep extends PlannedTree {
  /** Digest over everything that can change the bits of its blobs. */
  readonly key: Digest;
  /** What its blobs are, in the order in which they are applied. */
  readonly chunks: readonly PlanChunk[];
}

/** What is computed once over the whole stack: accounts, units, kernel arguments, identity. */
export interface SealInput {
  readonly imageName: string;
  readonly version: string;
  readonly kernelRelease: string;
  readonly hostname?: string;
  readonly groups: readonly Group[];
  readonly users: readonly User[];
  readonly units: readonly PlannedUnit[];
  /** By who asks for them, lowest layer first. */
  readonly kernelArguments: readonly { readonly origin: string; readonly values: readonly string[] }[];
  readonly health: readonly HealthCheck[];
  /** Of dpkg's: packages that nobody asked for, and that came because others need them. */
  readonly automatic?: readonly { readonly name: string; readonly architecture: string }[];
  /** The others, where the base is an image, which may have them already. */
  readonly manual?: readonly string[];
  /** For an image on another one: what packages that has. */
  readonly family?: LockedBaseImage['family'];
}

export interface Plan {
  readonly name: string;
  readonly version: string;
  /** One line that says what the image is for. */
  readonly description?: string;
  /** SOURCE_DATE_EPOCH of the image, seconds. */
  readonly epoch: number;
  readonly architecture: string;
  readonly kernelRelease: string;
  readonly facts: ImageFacts;
  /** Digest of the lock this plan was made from. */
  readonly lock: Digest;
  readonly compressionLevel: number;
  /** Bottom to top; the last is the seal. */
  readonly steps: readonly PlanStep[];
  readonly seal: SealInput;
  /** Digest over all keys and the image's configuration: names the image before it is built. */
  readonly key: Digest;
}
