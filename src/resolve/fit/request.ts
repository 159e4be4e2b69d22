/**
 * What the solver is asked, and what it can take. A request is written in the words of a declaration and nothing is
 * resolved in it, so that a suggested change is a request too and can be judged in its turn.
 *
 * Everything here is JSON. A member that is left out is the solver's to choose.
 */
import type { KernelImage } from '../../packages/kernels.ts';
import type { Constraint } from '../../catalog/constraint.ts';
import type { CpuArchitecture, Facts, ModuleFlavour } from '../../catalog/facts/types.ts';
import type {
  CudaVersion,
  DriverVersion,
  KernelVersion,
  SoftwareVersion,
} from '../../catalog/facts/versions.ts';

/** An empty name in a list asks nothing: it keeps the places of the others. */
export interface FitRequest {
  /** Undefined: any. */
  readonly architecture?: CpuArchitecture;
  /** Of the base, such as `debian@13`. */
  readonly distribution?: string;
  /** Names, series, architectures or PCI ids. The image must run on each. */
  readonly gpus: readonly string[];
  readonly kernel?: KernelAsk;
  readonly driver?: DriverAsk;
  readonly cuda?: CudaAsk;
  readonly runtimes: readonly RuntimeAsk[];
  readonly addons: readonly string[];
  /** Those of them that nobody asked for: what is asked for needs them. */
  readonly brought?: readonly string[];
  /** Addons that are taken to be there: they meet needs, and nothing is asked of them. */
  readonly assumed?: readonly string[];
  /** Of the kernel command line; `module.option=value` sets a module's option. */
  readonly kernelArguments: readonly string[];
  /** MIG devices that are to be made. */
  readonly mig: readonly MigAsk[];
}

export interface MigAsk {
  /** Which of `gpus` is split. */
  readonly gpu: number;
  /** Such as `1g.10gb`; an empty one asks nothing. */
  readonly profile: string;
  /** How many of them each such GPU gets. */
  readonly count: number;
}

export interface KernelAsk {
  /** Name of a kernel layer, or `auto` for those with all drivers. */
  readonly flavour?: string;
  /** Version, or the start of one. */
  readonly version?: string;
}

export interface DriverAsk {
  /** A driver (`nvidia`), one layer that brings it (`nvidia-open`), `auto` for what the GPUs want, or `any`. */
  readonly use: string;
  /** Version, or the start of one. */
  readonly version?: string;
  readonly modules: ModuleFlavour | 'auto';
  /** True admits drivers that nobody mends any more; naming a version does so too. */
  readonly endOfLife?: boolean;
}

export interface CudaAsk {
  readonly version?: string;
  /** The forward compatibility libraries are in the image. */
  readonly compat: boolean;
  /** Programs are compiled with it on the node. */
  readonly toolkit?: boolean;
}

export interface RuntimeAsk {
  readonly use: string;
  readonly version?: string;
  /** What it must be able to do on every GPU, such as `fp8`. */
  readonly features?: readonly string[];
}

/** What sources of packages and images can deliver. A list that is left out was not looked at: facts alone judge. */
export interface FitOffers {
  readonly drivers?: readonly DriverOffer[];
  readonly kernels?: readonly KernelOffer[];
  /** Kernel layers there are, whether or not their kernels were looked at. */
  readonly kernelLayers?: readonly KernelLayer[];
  readonly cuda?: readonly CudaOffer[];
  readonly runtimes?: readonly RuntimeOffer[];
  readonly addons?: readonly AddonOffer[];
  /** What layers require, by kind and name: `driver/nvidia-open`. */
  readonly requires?: ReadonlyMap<string, readonly Constraint[]>;
}

export type GpuVendor = 'nvidia' | 'amd' | 'intel';

export interface DriverOffer {
  /** Name of the layer, such as `nvidia-open`. */
  readonly layer: string;
  readonly vendor: GpuVendor;
  /** Undefined for a driver that is part of the kernel. */
  readonly version?: DriverVersion;
  readonly flavours: readonly ModuleFlavour[];
  /** Of the source package, such as `550.163.01-2`. */
  readonly packageVersion?: string;
  /** Upstream versions of the parts, where they were looked at: `modules`, `firmware`, `libraries`. */
  readonly parts?: Readonly<Record<string, DriverVersion>>;
}

export interface KernelOffer {
  /** Name of the layer, such as `cloud`. */
  readonly layer: string;
  /** A series such as `6.12` when the release is not decided yet. */
  readonly version: KernelVersion;
  /** The very package, where an index was looked at. */
  readonly image?: KernelImage;
  /** Modules that the layer is known to lack. */
  readonly lacks?: readonly string[];
  /** It is in the lock that is brought up to date: it stays unless a rule refuses it. */
  readonly isLocked?: true;
}

export interface KernelLayer {
  readonly layer: string;
  /** Names of modules that its kernels are known to lack. */
  readonly lacks: readonly string[];
}

export interface CudaOffer {
  readonly layer: string;
  readonly version: CudaVersion;
}

export interface RuntimeOffer {
  readonly layer: string;
  /** Name of the runtime, such as `vllm`. */
  readonly runtime: string;
  readonly version: SoftwareVersion;
  /** What it is built for; undefined: as the facts say; null: it does without. */
  readonly cuda?: CudaVersion | null;
  /** True when it brings its own CUDA libraries, as a container image does. */
  readonly selfContained: boolean;
}

export interface AddonOffer {
  readonly layer: string;
  /** Undefined when it was not looked at. */
  readonly version?: string;
}

export interface FitContext {
  readonly facts: Facts;
  /** Undefined: judge by the facts alone. */
  readonly offers?: FitOffers;
  /** Today, as `2026-11-22`: what is past its end of life. */
  readonly now: string;
}

export interface GpuElement {
  readonly kind: 'gpu';
  readonly index: number;
}

/** One thing that was asked for. Conflicts are sets of these. */
export type Element =
  | GpuElement
  | { readonly kind: 'runtime' | 'addon' | 'mig'; readonly index: number }
  | { readonly kind: 'architecture' | 'kernel' | 'driver' | 'driver-version' | 'modules' | 'cuda' };

/** Whether both stand under one key of the declaration, and at one place of a list. */
export function isSameKey(one: Element, other: Element): boolean {
  const [key, index] = pathOf(one);
  const [otherKey, otherIndex] = pathOf(other);
  return key === otherKey && (typeof index !== 'number' || index === otherIndex);
}

/** Where a declaration says it. */
export type SubjectPath = readonly (string | number)[];

export function pathOf(element: Element): SubjectPath {
  switch (element.kind) {
    case 'gpu':
      return ['gpus', element.index];
    case 'runtime':
      return ['runtimes', element.index];
    case 'addon':
      return ['addons', element.index];
    case 'mig':
      return ['mig', element.index];
    case 'architecture':
      return ['architecture'];
    case 'kernel':
      return ['kernel', 'version'];
    case 'driver':
      return ['driver', 'use'];
    case 'driver-version':
      return ['driver', 'version'];
    case 'modules':
      return ['driver', 'modules'];
    case 'cuda':
      return ['cuda', 'version'];
  }
}
