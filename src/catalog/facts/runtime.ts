/** What is known of model servers and libraries: the types of `drivers/runtimes.yaml`. */
import type { CpuArchitecture, Row } from './row.ts';
import type { ComputeCapability, CudaVersion, DriverVersion, Range, SoftwareVersion } from './versions.ts';

export type RuntimeStatus = 'active' | 'maintenance' | 'archived';

export interface Runtime extends Row {
  /** As a declaration writes it: `vllm`, `llama.cpp`. */
  readonly name: string;
  readonly title: string;
  readonly aliases: readonly string[];
  readonly status: RuntimeStatus;
  /** `2026-03`: since when `status` holds. */
  readonly statusSince?: string;
  /** Names of runtimes to take instead. */
  readonly successors: readonly string[];
  /** In ascending order; each holds until the next. Empty when nothing is known by version. */
  readonly releases: readonly RuntimeRelease[];
}

export interface RuntimeRelease extends Row {
  readonly runtime: string;
  readonly version: SoftwareVersion;
  readonly date?: string;
  /** The CUDA its default artefact is built for; undefined when it has none. */
  readonly cuda?: CudaVersion;
  /** Other CUDA series with published artefacts. */
  readonly alsoCuda: readonly CudaVersion[];
  readonly rocm: readonly SoftwareVersion[];
  /** The PyTorch it is built on: its wheels are then the second gate. */
  readonly torch?: SoftwareVersion;
  readonly python?: string;
  /** The lowest compute capability with shipped kernels. */
  readonly minCapability?: ComputeCapability;
  /** Exactly these have kernels, where that is published. */
  readonly capabilities?: readonly ComputeCapability[];
  /** Drivers it asks for itself; `capability` narrows a rule to some GPUs. */
  readonly drivers: readonly {
    readonly needs: Range<DriverVersion>;
    readonly capability?: Range<ComputeCapability>;
  }[];
}

/** Which GPUs the wheels of one CUDA series have kernels for. A capability that is missing has none. */
export interface WheelSet extends Row {
  /** `pytorch`. */
  readonly project: string;
  readonly versions: Range<SoftwareVersion>;
  readonly cuda: readonly CudaVersion[];
  readonly architectures: ReadonlyMap<CpuArchitecture, WheelArchitectures>;
}

export interface WheelArchitectures {
  readonly capabilities: readonly ComputeCapability[];
  /** The capability whose PTX is in the wheel too: later ones work through JIT. */
  readonly ptx?: ComputeCapability;
}

/** What a feature of a runtime asks of the GPU, such as fp8. */
export interface RuntimeFeature extends Row {
  readonly runtime: string;
  readonly feature: string;
  readonly minCapability: ComputeCapability;
}
