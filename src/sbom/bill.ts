/** A bill of materials: what an image is made of, apart from any format that says so. */
import type { Digest } from '../digest.ts';
import type { Licence } from './copyright.ts';

export type ComponentKind =
  /** A binary package that is installed. */
  | 'package'
  /** Kernel modules that were built for the image. */
  | 'kernel-modules'
  /** What kernel modules were built from; not in the image. */
  | 'source'
  /** An image that the node pulls and runs. */
  | 'container'
  /** Files that the node pulls as an artifact. */
  | 'model'
  /** A file of Ingot itself. */
  | 'agent-file';

export interface Supplier {
  readonly name: string;
  readonly email?: string | undefined;
}

export interface Component {
  /** Unique in the bill, and the same for the same thing in another bill: `package/bash`. */
  readonly id: string;
  readonly kind: ComponentKind;
  readonly name: string;
  readonly version?: string | undefined;
  readonly purl?: string | undefined;
  readonly architecture?: string | undefined;
  /** The step whose layer brings it. */
  readonly layer?: string | undefined;
  /** Undefined where nothing certain is known. */
  readonly licence?: Licence | undefined;
  readonly supplier?: Supplier | undefined;
  /** Of the package file, or of the file. */
  readonly sha256?: string | undefined;
  readonly source?: { readonly name: string; readonly version?: string | undefined } | undefined;
  readonly homepage?: string | undefined;
  /** Of kernel modules. */
  readonly build?: ModuleBuild | undefined;
}

export interface ModuleBuild {
  /** Id of the source. */
  readonly from: string;
  /** `uname -r` of the kernel that they are for. */
  readonly kernel: string;
  /** `open` or `proprietary`, where the source has both. */
  readonly flavour?: string | undefined;
  readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  /** Packages that they were built with. */
  readonly tools: readonly { readonly name: string; readonly version: string; readonly sha256: string }[];
}

export interface Subject {
  readonly name: string;
  readonly version: string;
  readonly description?: string | undefined;
  /** Of the image's manifest; undefined for what only a lock tells. */
  readonly digest?: Digest | undefined;
  readonly lock?: Digest | undefined;
  readonly architecture: string;
  /** Such as `debian@13`. */
  readonly base?: string | undefined;
  /** Code name of the distribution's release, such as `trixie`. */
  readonly distribution?: string | undefined;
  /** In ISO 8601, to the second. */
  readonly created: string;
}

export interface Bill {
  readonly subject: Subject;
  /** What is known to be missing, as a sentence each. */
  readonly gaps: readonly string[];
  /** Names of the layers that components are in, lowest first where that is known. */
  readonly layers: readonly string[];
  /** In the order of their ids. */
  readonly components: readonly Component[];
  /** Ids of what a component needs, by its id; both in order. */
  readonly dependencies: ReadonlyMap<string, readonly string[]>;
}

/** What a program that makes a document says of itself. */
export interface BillTool {
  readonly name: string;
  readonly version: string;
}
