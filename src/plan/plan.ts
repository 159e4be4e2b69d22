/**
 * The plan: the graph of layer builds with their input keys. Pure: made from a lock, a declaration and layer
 * contents; which steps are in the store is looked up by the caller.
 */
import type { Digest } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';

/** A file that is written into a layer tree as is. */
export interface PlannedFile {
  readonly path: string;
  readonly content: string;
  readonly mode: number;
  /** Names, resolved in the image when the seal writes them. */
  readonly user: string;
  readonly group: string;
}

export interface PlanStep {
  /** `base`, a layer's name, or `seal`. */
  readonly name: string;
  readonly kind: 'base' | 'unpack' | 'seal';
  /** Digest over everything that can change the step's bits. */
  readonly key: Digest;
  /** Names of the steps this one is built on, lowest first. */
  readonly needs: readonly string[];
  readonly packages: readonly LockedPackage[];
  /** One line for people: what the step holds. */
  readonly summary: string;
}

export interface Plan {
  readonly name: string;
  readonly version: string;
  /** SOURCE_DATE_EPOCH, seconds. */
  readonly epoch: number;
  readonly architecture: string;
  readonly kernelRelease: string;
  /** Bottom to top; the last is the seal. */
  readonly steps: readonly PlanStep[];
  /** Digest over all keys and the image configuration: names the image before it is built. */
  readonly key: Digest;
}
