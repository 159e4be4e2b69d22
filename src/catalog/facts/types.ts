/**
 * What is known about accelerators, their drivers and what runs on them: the tables of `drivers/`, typed, with
 * every reference resolved. `load.ts` makes this value; the solver reads it and nothing else.
 *
 * How to think of it:
 *
 * - A **row** is one statement with its sources and how sure they make us. Rows of low confidence may warn, and
 *   should not refuse on their own. `location` is the row's place, for "which fact says so".
 * - An NVIDIA **architecture** gives the gates: module flavours, first and last branch, last CUDA major. The first
 *   CUDA goes by **compute capability**. A **GPU** carries both, resolved, with its own exceptions applied (a GH200
 *   is Hopper and takes open modules only), so a rule about a GPU asks the GPU.
 * - Support of a GPU is decided by exact **release**, never by the order of branches: `gpu.since` holds the first
 *   release of each branch that lists its PCI id. A branch's list has been read up to `listed.last`; beyond it, or
 *   in a branch that was never read, silence says nothing. `driverSupport` in `lookup.ts` does this right.
 * - A **branch** row speaks of a line of releases (580), a **release** row of one (`580.142`).
 * - Ceilings of kernels are evidence, not promises: `release.kernel` is the newest series whose interfaces the
 *   release was prepared for. A `KernelReport` is a build that was tried, and beats the ceiling.
 * - Runtime releases hold from their version until the next row's: `runtimeRelease` finds the one that applies.
 *
 * Versions are branded strings with an order (`versions.ts`). Absent members mean "not known" unless they say more.
 */
import type { Digest } from '../../digest.ts';
import type { Confidence, CpuArchitecture, PciId, Row, Source, SupportStatus } from './row.ts';
import type {
  Runtime,
  RuntimeFeature,
  RuntimeRelease,
  RuntimeStatus,
  WheelArchitectures,
  WheelSet,
} from './runtime.ts';
import type {
  ComputeCapability,
  CudaVersion,
  DriverVersion,
  KernelVersion,
  Range,
  SoftwareVersion,
} from './versions.ts';

export type {
  Confidence,
  CpuArchitecture,
  PciId,
  Row,
  Runtime,
  RuntimeFeature,
  RuntimeRelease,
  RuntimeStatus,
  Source,
  SupportStatus,
  WheelArchitectures,
  WheelSet,
};

// ───────────────────────────── NVIDIA ─────────────────────────────

export type ModuleFlavour = 'open' | 'proprietary';

/** Flavours of kernel modules that work: only the one, or both. */
export type ModuleChoice = ModuleFlavour | 'either';

export interface NvidiaArchitecture extends Row {
  /** As users and GPUs name it: `hopper`, `ada-lovelace`. */
  readonly name: string;
  readonly title: string;
  /** Other names for it: `ada`. */
  readonly aliases: readonly string[];
  /** Older architectures first: 1, 2, …. */
  readonly order: number;
  readonly modules: ModuleChoice;
  readonly firstBranch: number;
  /** The last branch that supports it; undefined while none is announced. */
  readonly lastBranch?: number;
  /** The last CUDA major that compiles for it; undefined while none is announced. */
  readonly lastCudaMajor?: number;
}

export interface NvidiaCapability extends Row {
  readonly capability: ComputeCapability;
  readonly architecture: string;
  /** The first CUDA series with its code generator. */
  readonly firstCuda: CudaVersion;
}

export type BranchType = 'new-feature' | 'production' | 'long-term' | 'unknown';

export interface DriverBranch extends Row {
  readonly branch: number;
  readonly type: BranchType;
  readonly status: SupportStatus;
  /** `2028-06`; the earlier one where sources differ. */
  readonly endOfLife?: string;
  /** The CUDA series of the branch's own libcuda: what runs without any compatibility. */
  readonly cuda?: CudaVersion;
  /** Kernel module flavours the branch offers. */
  readonly flavours: readonly ModuleFlavour[];
  /** First and last release whose table of PCI ids was read; undefined when none was. */
  readonly listed?: { readonly first: DriverVersion; readonly last: DriverVersion };
  /** Newest release there is a row of. */
  readonly newest: DriverVersion | undefined;
}

export interface DriverRelease extends Row {
  readonly version: DriverVersion;
  readonly branch: number;
  /** `2026-03-10`. */
  readonly date?: string;
  /** The newest kernel series whose interfaces this release was prepared for. */
  readonly kernel?: KernelVersion;
}

export type GpuClass = 'data-center' | 'workstation' | 'desktop' | 'laptop' | 'embedded';

/** How GPUs of a host are linked. `reduced` links are the same to software. */
export type GpuLink = 'none' | 'bridge' | 'nvlink' | 'c2c' | 'unknown';

export interface NvidiaGpu extends Row {
  readonly vendor: 'nvidia';
  /** `H100 SXM5 80GB`. */
  readonly product: string;
  /** Short names, the preferred first: `h100-sxm`. Unique over all GPUs. */
  readonly aliases: readonly string[];
  /** Names that stand for several products: `h100` for every H100, `grace-hopper`. */
  readonly series: readonly string[];
  /** Several products can share an id (A2 and A16), then `subsystems` tells them apart. */
  readonly pci: readonly PciId[];
  readonly subsystems: readonly PciId[];
  readonly class: GpuClass;
  readonly architecture: NvidiaArchitecture;
  readonly capability: NvidiaCapability;
  /** The architecture's, or the device's own. */
  readonly modules: ModuleChoice;
  /** Of one GPU, in GiB, as it is sold. */
  readonly memory?: number;
  readonly link: GpuLink;
  readonly nvlinkGeneration?: number;
  /** Set for GPUs that sit behind NVSwitches: what such a system needs. */
  readonly fabric?: FabricSystem;
  /** Undefined: no MIG. Empty: MIG, names not known. */
  readonly mig?: readonly string[];
  /** Set when the host's CPU can only be this one (Grace). */
  readonly cpu?: CpuArchitecture;
  /** First release that lists it, by branch. */
  readonly since: ReadonlyMap<number, DriverVersion>;
  /** From this branch on it is in every branch from the start; undefined where that cannot be said. */
  readonly sinceEvery?: number;
  /** True when lists of ids are known to leave it out: its architecture alone decides. */
  readonly byArchitecture: boolean;
}

/** A module rule that goes beyond one GPU: judged over the host, the branch or an addon. */
export interface ModuleRule extends Row {
  readonly name: string;
  /** Applies to hosts whose GPUs need or admit all of these. */
  readonly mixes?: readonly ModuleChoice[];
  /** Applies to these driver versions. */
  readonly driver?: Range<DriverVersion>;
  /** Applies to this addon at these versions. */
  readonly addon?: { readonly name: string; readonly versions: Range<SoftwareVersion> };
  /** What follows: a flavour, what the branch makes its default, or that nothing works. */
  readonly then: ModuleFlavour | 'refuse';
  /** True when `then` is only what is taken if nobody says otherwise. */
  readonly isDefault: boolean;
  readonly message: string;
}

export interface KernelMinimum extends Row {
  readonly driver: Range<DriverVersion>;
  readonly kernel: KernelVersion;
}

/** A build that somebody tried. */
export interface KernelReport extends Row {
  /** `driver`, or what else brings modules: `nvidia-fs`. */
  readonly component: string;
  readonly driver?: Range<DriverVersion>;
  readonly kernel: Range<KernelVersion>;
  readonly result: 'works' | 'fails';
  /** Holds for one kind of a driver's modules only. */
  readonly modules?: ModuleFlavour;
  /** Holds for the packages of one distribution only, at these exact package versions. */
  readonly packages?: {
    readonly distribution: string;
    /** Source package versions, such as `550.163.01-2`. */
    readonly versions: readonly string[];
  };
  /** What goes wrong, in a few words. */
  readonly symptom?: string;
  /** First release of the branch with the fix. */
  readonly fixedBy?: DriverVersion;
  /** A patch that Ingot can apply to the module sources. */
  readonly patch?: string;
}

/** A unified diff for module sources, from `drivers/nvidia/patches/`. */
export interface ModulePatch {
  readonly name: string;
  readonly text: string;
  readonly sha256: string;
}

/** A distribution's driver package and the newest kernel series its maintainers test it with. */
export interface DistributionDriver extends Row {
  readonly distribution: string;
  readonly package: string;
  /** Exact, or a prefix of it. */
  readonly version: string;
  readonly kernel: KernelVersion;
}

export interface CudaToolkit extends Row {
  readonly version: CudaVersion;
  readonly title?: string;
  /** The Linux driver released with it; undefined when it was not seen. */
  readonly driver?: DriverVersion;
  readonly preview: boolean;
}

/** Within one CUDA major, any minor runs on any driver from `driver` on, with a limited feature set. */
export interface MinorVersionCompatibility extends Row {
  readonly major: number;
  /** A bound such as `>= 525.60.13`; undefined when the major has no such promise. */
  readonly driver?: Range<DriverVersion>;
}

/** The hosts on which `cuda-compat` of one CUDA series lifts an older driver. Data-center GPUs only. */
export interface ForwardCompatibility extends Row {
  readonly cuda: CudaVersion;
  readonly package: string;
  /** Branches that are allowed besides those that run this CUDA anyway. */
  readonly branches: readonly number[];
  /** False when only a part of the list was seen: a branch that is missing is then not excluded. */
  readonly complete: boolean;
  readonly classes: readonly GpuClass[];
}

export interface FabricComponent {
  /** `fabric-manager`, `nvlsm`, `imex`. */
  readonly name: string;
  /** `driver`: carries exactly the version of the driver. */
  readonly version: 'driver' | 'any';
}

/** What a system with NVSwitches needs besides the driver. */
export interface FabricSystem extends Row {
  /** `nvswitch-3`. */
  readonly name: string;
  readonly title: string;
  readonly components: readonly FabricComponent[];
  /** Kernel modules that must be there and load before the components start. */
  readonly kernelModules: readonly string[];
  /** False when boards without switches exist too: then the components must not be enabled there. */
  readonly always: boolean;
  /** What it looks like when something is missing. */
  readonly symptom?: string;
}

/** The first driver with which a product really works, where that is later than the first that lists it. */
export interface ProductFloor extends Row {
  readonly product: string;
  /** Aliases of the GPUs it holds for. */
  readonly gpus: readonly string[];
  readonly driver?: Range<DriverVersion>;
  readonly cuda?: Range<CudaVersion>;
  /** It holds only where the product is split by MIG. */
  readonly mig?: true;
}

/** Something that goes wrong though the versions fit. Every member of `when` must hold. */
export interface KnownIssue extends Row {
  readonly name: string;
  readonly when: {
    readonly cuda?: Range<CudaVersion>;
    readonly driver?: Range<DriverVersion>;
    readonly kernel?: Range<KernelVersion>;
    /** GPU aliases, series or architectures. */
    readonly gpus?: readonly string[];
    readonly distribution?: string;
    readonly addon?: string;
    /** A GPU is split by MIG. */
    readonly mig?: true;
    /** A property of the system that versions do not show. */
    readonly condition?: string;
  };
  readonly message: string;
  readonly advice: string;
  /** A module option that avoids it. */
  readonly moduleOption?: { readonly module: string; readonly option: string; readonly value: string };
}

export interface NvidiaFacts {
  readonly architectures: ReadonlyMap<string, NvidiaArchitecture>;
  readonly capabilities: ReadonlyMap<ComputeCapability, NvidiaCapability>;
  /** In ascending order. */
  readonly branches: ReadonlyMap<number, DriverBranch>;
  /** In ascending order. */
  readonly releases: ReadonlyMap<DriverVersion, DriverRelease>;
  readonly gpus: readonly NvidiaGpu[];
  readonly moduleRules: readonly ModuleRule[];
  readonly kernelMinimums: readonly KernelMinimum[];
  readonly kernelReports: readonly KernelReport[];
  readonly distributionDrivers: readonly DistributionDriver[];
  /** In ascending order. */
  readonly toolkits: ReadonlyMap<CudaVersion, CudaToolkit>;
  readonly minorCompatibility: ReadonlyMap<number, MinorVersionCompatibility>;
  /** By CUDA series, such as `13.2`. */
  readonly forwardCompatibility: ReadonlyMap<CudaVersion, ForwardCompatibility>;
  readonly fabrics: ReadonlyMap<string, FabricSystem>;
  readonly floors: readonly ProductFloor[];
  readonly issues: readonly KnownIssue[];
}

// ───────────────────────────── AMD and Intel ─────────────────────────────

export interface OtherGpu extends Row {
  readonly vendor: 'amd' | 'intel';
  readonly product: string;
  readonly aliases: readonly string[];
  readonly series: readonly string[];
  readonly pci: readonly PciId[];
  readonly class: GpuClass;
  /** AMD's target (`gfx942`) or Intel's architecture (`xe2`). */
  readonly architecture: string;
  readonly memory?: number;
  /** The kernel driver: `amdgpu`, `i915`, `xe`, `habanalabs`. */
  readonly kernelDriver: string;
  /** The first kernel that drives it; undefined when not known, or when no mainline kernel does. */
  readonly kernel?: KernelVersion;
  /** False when the kernel's own driver does not, and the vendor's module is needed. */
  readonly mainline: boolean;
}

/** A release of a vendor's compute stack: ROCm, Gaudi software. */
export interface ComputeStack extends Row {
  readonly vendor: 'amd' | 'intel';
  readonly name: string;
  readonly version: SoftwareVersion;
  /** Architectures it is released for; undefined when the list was not seen. */
  readonly architectures?: readonly string[];
  /** Versions of the vendor's kernel driver it works with. */
  readonly kernelDrivers: readonly string[];
  readonly kernel?: Range<KernelVersion>;
}

export type Gpu = NvidiaGpu | OtherGpu;

export interface Facts {
  /** Changes with any statement: the version of the facts that a lock records. */
  readonly digest: Digest;
  readonly nvidia: NvidiaFacts;
  /** Patches that reports of builds name, by name. */
  readonly patches: ReadonlyMap<string, ModulePatch>;
  /** AMD's and Intel's. */
  readonly otherGpus: readonly OtherGpu[];
  readonly computeStacks: readonly ComputeStack[];
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly wheels: readonly WheelSet[];
  readonly runtimeFeatures: readonly RuntimeFeature[];
}
