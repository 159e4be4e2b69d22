/**
 * A rule is one statement about what fits together and a pure function that judges a candidate by it.
 *
 * A candidate grows while it is searched: first nothing but the request, then a driver, then a kernel, a CUDA, a
 * runtime. A rule says which of these it looks at, and is judged as soon as they are there.
 */
import type {
  CudaToolkit,
  DriverBranch,
  ModuleFlavour,
  Row,
  Runtime,
  RuntimeRelease,
} from '../../catalog/facts/types.ts';
import type {
  CudaVersion,
  DriverVersion,
  KernelVersion,
  SoftwareVersion,
} from '../../catalog/facts/versions.ts';
import type { KernelImage } from '../../packages/kernels.ts';
import type { Problem } from './problem.ts';
import type { DriverOffer, Element, GpuVendor } from './request.ts';

export interface DriverCandidate {
  readonly vendor: GpuVendor;
  /** NVIDIA's release; undefined for drivers that are part of the kernel. */
  readonly version?: DriverVersion;
  readonly branch?: DriverBranch;
  readonly flavour?: ModuleFlavour;
  readonly offer?: DriverOffer;
}

export interface KernelCandidate {
  readonly version: KernelVersion;
  /** False when only its series is known. */
  readonly exact: boolean;
  readonly layer?: string;
  readonly image?: KernelImage;
  readonly isLocked?: true;
}

export interface CudaCandidate {
  readonly version: CudaVersion;
  readonly toolkit?: CudaToolkit;
  readonly layer?: string;
}

export interface RuntimeCandidate {
  /** Which of the request's runtimes. */
  readonly index: number;
  readonly name: string;
  readonly version?: SoftwareVersion;
  readonly runtime?: Runtime;
  readonly release?: RuntimeRelease;
  /** What this artefact is built for. */
  readonly cuda?: CudaVersion;
  /** False for an artefact besides the default one. */
  readonly isDefault: boolean;
  readonly selfContained: boolean;
  readonly layer?: string;
}

export interface Candidate {
  readonly driver?: DriverCandidate;
  readonly kernel?: KernelCandidate;
  readonly cuda?: CudaCandidate;
  readonly runtime?: RuntimeCandidate;
}

/** `refuse`: does not work. `warn`: works with a limit. `note`: worth knowing when the choice is explained. */
export type Severity = 'refuse' | 'warn' | 'note';

export interface Judgement {
  readonly severity: Severity;
  /** One sentence without its full stop that names the things by name. */
  readonly message: string;
  /** The facts it rests on. */
  readonly rows: readonly Row[];
  /** What of the request it is about, the most telling first. */
  readonly about: readonly Element[];
  /** An addon, a kernel argument or a patch that avoids it. */
  readonly remedy?: Remedy;
  /** True for what no row has to be trusted for, such as who made a GPU. */
  readonly isSure?: true;
}

export type Remedy =
  /** Addons, each under the names it may have. */
  | { readonly addons: readonly (readonly string[])[] }
  | { readonly kernelArgument: string }
  | { readonly patch: string }
  /** The compatibility package of this series. */
  | { readonly compat: CudaVersion }
  | { readonly successors: readonly string[] }
  /** A feature of a runtime to do without, or one that may have been meant. */
  | { readonly feature: string; readonly near: readonly string[] };

/** The part of a candidate whose arrival makes a rule ready to be judged. */
export type Stage =
  | 'host'
  | 'driver'
  | 'kernel'
  // Without and with a driver: what no driver can mend is found once, not for every driver.
  | 'cuda'
  | 'driver-cuda'
  | 'runtime'
  | 'driver-runtime'
  | 'whole';

export interface Rule {
  /** Stable: scripts match on it. */
  readonly id: string;
  /** What always holds, in one line. */
  readonly statement: string;
  readonly stage: Stage;
  readonly judge: (candidate: Candidate, problem: Problem) => Judgement[];
}

export interface RuledJudgement extends Judgement {
  readonly rule: Rule;
}

export function refuse(
  message: string,
  rows: readonly Row[],
  about: readonly Element[],
  remedy?: Remedy,
): Judgement {
  return { severity: 'refuse', message, rows, about, ...(remedy !== undefined && { remedy }) };
}

/** For what is beyond doubt, however sure the rows make us of other things. */
export function refuseSurely(message: string, rows: readonly Row[], about: readonly Element[]): Judgement {
  return { ...refuse(message, rows, about), isSure: true };
}

export function warn(
  message: string,
  rows: readonly Row[],
  about: readonly Element[],
  remedy?: Remedy,
): Judgement {
  return { severity: 'warn', message, rows, about, ...(remedy !== undefined && { remedy }) };
}

export function note(message: string, rows: readonly Row[], about: readonly Element[]): Judgement {
  return { severity: 'note', message, rows, about };
}
