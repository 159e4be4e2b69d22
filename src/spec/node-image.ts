/**
 * The declaration after parsing: every short form opened, every default filled in, `extends` and the chosen
 * variant applied. `parse.ts` makes it from YAML; everything after the spec works on this value alone.
 *
 * Its digest ties a lock to it. A member that came later is therefore left out when nothing is said of it: the
 * digest of a declaration changes only when the declaration does.
 */

import type { Digest } from '../digest.ts';
import type { Finding, Location } from '../errors.ts';
import type { UpdateSource } from './update-schema.ts';

/** Of the node's processor, as Debian names it. */
export type Architecture = 'amd64' | 'arm64';

export interface User {
  readonly name: string;
  /** Allocated from the system range when left out. */
  readonly uid?: number;
  readonly gecos: string;
  readonly shell: string;
  /** Groups besides the user's own; they must exist in the image or in `groups`. */
  readonly groups: readonly string[];
  readonly sshKeys: readonly string[];
}

export interface Group {
  readonly name: string;
  readonly gid?: number;
}

export interface FileEntry {
  /** Absolute path in the image; under /etc or /usr. */
  readonly path: string;
  readonly content: string;
  /** Permission bits, such as 0o644. */
  readonly mode: number;
  readonly user: string;
  readonly group: string;
}

export interface UnitEntry {
  /** With suffix, such as `chrony.service`. */
  readonly name: string;
  /** Undefined leaves the unit as the distribution presets it. */
  readonly enabled?: boolean;
  readonly masked: boolean;
  /** Text of the unit file, for a unit that no package brings. */
  readonly content?: string;
}

export interface HealthCheck {
  readonly name: string;
  /** A shell command run as root on the node; exit status 0 is healthy. */
  readonly run: string;
  readonly timeoutSeconds: number;
}

/** What was asked of the GPU driver; `auto` and what is left out are the solver's to choose. */
export interface DriverRequest {
  /** Name of a driver, such as `nvidia`, or of one layer that brings it, such as `nvidia-open`; or `auto`. */
  readonly use: string;
  /** Exact version or the start of one: `550.163.01`, `550`. Undefined: any. */
  readonly version?: string;
  readonly modules: 'open' | 'proprietary' | 'auto';
}

export interface CudaRequest {
  /** Version or the start of one: `12.4`, `12`. Undefined: any. */
  readonly version?: string;
  /** Forward compatibility libraries, for a driver that is older than this CUDA. */
  readonly compat: boolean;
  /** With compiler and headers. */
  readonly toolkit: boolean;
}

export interface RuntimeRequest {
  /** Name of a runtime, such as `llama.cpp`, or of one layer that brings it, such as `llama.cpp-cuda`. */
  readonly use: string;
  /** Version or the start of one. Undefined: any. */
  readonly version?: string;
  /** Of the container image, for a runtime that is one. */
  readonly digest?: Digest;
  /** What it must be able to do on every GPU, such as `fp8`. */
  readonly features?: readonly string[];
}

/** A container that belongs to the image. */
export interface ContainerRequest {
  /** Of its service, without `.service`. */
  readonly name: string;
  /** With its registry, and a tag, a digest or both. */
  readonly image: string;
  /** Text of its quadlet, with the image as it was written. */
  readonly quadlet: string;
}

/** Files out of an artifact that belong to the image. */
export interface ModelRequest {
  readonly name: string;
  /** As an image is written. */
  readonly artifact: string;
  /** Where the node sees them. */
  readonly path: string;
}

export interface MigLayout {
  /** Index in `gpus`. */
  readonly gpu: number;
  /** Counts by profile, such as `1g.10gb`. */
  readonly devices: Readonly<Record<string, number>>;
}

/** Stands for name and release of a base that is an image. */
export const IMAGE_BASE = 'image';

/** The kernel of a declaration that does not say which. */
export const USUAL_KERNEL = 'generic';

/** Which kernel it is, is left open: of those with all drivers the one that goes with the rest. */
export const ANY_KERNEL = 'auto';

/** The kernel of an image base: none is added. */
export const OWN_KERNEL = 'own';

export interface NodeImage {
  readonly name: string;
  /** Declared image version; undefined means the lock makes one from its date and a counter. */
  readonly version?: string;
  /** Name of the variant this value is, or undefined for the declaration itself. */
  readonly variant?: string;
  /** One line that says what the image is for. */
  readonly summary?: string;
  readonly architecture: Architecture;
  /**
   * Layer reference into the catalogue, such as `debian` and `13`; or an image as it was written, which has the name
   * and release of `IMAGE_BASE`: what it is, the lock tells.
   */
  readonly base: { readonly name: string; readonly release: string; readonly image?: string };
  /** Name of a kernel layer, such as `cloud`, and an optional version prefix such as `6.12`. */
  readonly kernel: { readonly flavour: string; readonly version?: string };
  /** What it must run on: names, families or PCI ids, as the facts know them. Undefined: no GPU is asked for. */
  readonly gpus?: readonly string[];
  /** Of those GPUs that are to be split: how many devices of which MIG profile each gets, in the order of `gpus`. */
  readonly mig?: readonly MigLayout[];
  readonly driver?: DriverRequest;
  readonly cuda?: CudaRequest;
  readonly runtimes?: readonly RuntimeRequest[];
  /** Name of the agent layer: Ingot on the node. Undefined: none. */
  readonly agent?: string;
  readonly containers?: readonly ContainerRequest[];
  readonly models?: readonly ModelRequest[];
  /** Names of addon layers. */
  readonly addons: readonly string[];
  readonly packages: readonly string[];
  readonly hostname?: string;
  readonly groups: readonly Group[];
  readonly users: readonly User[];
  readonly files: readonly FileEntry[];
  readonly units: readonly UnitEntry[];
  readonly kernelArguments: readonly string[];
  readonly health: readonly HealthCheck[];
  /** Where the next image comes from, and what the node takes. Undefined: as its packages and its owner have it. */
  readonly update?: UpdateSource;
}

/**
 * Where each value of a NodeImage was written, for findings made after parsing. Paths are those of the NodeImage:
 * `at(['units', 0, 'name'])` gives the place of the value, `keyAt` that of the key before it. What was left out
 * has the place of its nearest parent.
 */
export interface SourceMap {
  at(path: readonly (string | number)[]): Location;
  keyAt(path: readonly (string | number)[]): Location;
}

export interface ParsedSpec {
  readonly image: NodeImage;
  readonly sources: SourceMap;
  /** The declaration's own file. */
  readonly file: string;
  /** Names of the variants it declares, in order. */
  readonly variants: readonly string[];
  /** What looks wrong but need not be. */
  readonly warnings: readonly Finding[];
}
