/** Questions that the facts answer, with the care that each takes. Pure; what is not known is said, not guessed. */
import type {
  CudaToolkit,
  DriverBranch,
  DriverRelease,
  Facts,
  NvidiaArchitecture,
  NvidiaFacts,
  NvidiaGpu,
  Row,
  Runtime,
  RuntimeRelease,
  WheelSet,
} from './types.ts';
import {
  branchOf,
  compareVersions,
  majorOf,
  rangeAdmits,
  seriesOf,
  type CudaVersion,
  type DriverVersion,
  type KernelVersion,
  type SoftwareVersion,
} from './versions.ts';

export interface DriverSupport {
  /** `unknown`: no list that was read could have named the GPU, so its architecture's gate is all there is. */
  readonly answer: 'yes' | 'no' | 'unknown';
  readonly reason:
    | 'listed'
    | 'before-its-first-release'
    | 'not-in-the-list'
    | 'before-its-architecture'
    | 'after-its-architecture'
    | 'by-architecture'
    | 'in-every-branch-since'
    | 'list-not-read';
  /** First release of the branch that has it, where that is known. */
  readonly first?: DriverVersion;
  /** The row that says so. */
  readonly row: Row;
}

/**
 * Whether one driver release supports a GPU. The architecture's gates come first; then the lists of PCI ids, branch
 * by branch, as far as they were read.
 */
export function driverSupport(facts: NvidiaFacts, gpu: NvidiaGpu, version: DriverVersion): DriverSupport {
  const number = branchOf(version);
  const { architecture } = gpu;
  if (number < architecture.firstBranch) {
    return { answer: 'no', reason: 'before-its-architecture', row: architecture };
  }
  if (architecture.lastBranch !== undefined && number > architecture.lastBranch) {
    return { answer: 'no', reason: 'after-its-architecture', row: architecture };
  }
  if (gpu.byArchitecture) return { answer: 'yes', reason: 'by-architecture', row: gpu };
  const first = gpu.since.get(number);
  if (first !== undefined) {
    return compareVersions(version, first) >= 0
      ? { answer: 'yes', reason: 'listed', first, row: gpu }
      : { answer: 'no', reason: 'before-its-first-release', first, row: gpu };
  }
  const listed = facts.branches.get(number)?.listed;
  if (listed !== undefined && compareVersions(version, listed.last) <= 0) {
    return { answer: 'no', reason: 'not-in-the-list', row: gpu };
  }
  if (listed === undefined && gpu.sinceEvery !== undefined && number >= gpu.sinceEvery) {
    return { answer: 'yes', reason: 'in-every-branch-since', row: gpu };
  }
  return { answer: 'unknown', reason: 'list-not-read', row: gpu };
}

/** The releases of a branch, oldest first. */
export function releasesOf(facts: NvidiaFacts, branch: number): DriverRelease[] {
  return [...facts.releases.values()].filter((release) => release.branch === branch);
}

export interface PreparedKernel {
  /** The newest kernel series the driver was prepared for. */
  readonly kernel: KernelVersion;
  /** False when this is the nearest older release of the branch: the driver itself can only know more. */
  readonly exact: boolean;
  readonly release: DriverRelease;
}

/** Undefined when no release of the branch up to this one says. */
export function preparedKernel(facts: NvidiaFacts, version: DriverVersion): PreparedKernel | undefined {
  const known = releasesOf(facts, branchOf(version)).findLast(
    (release) => release.kernel !== undefined && compareVersions(release.version, version) <= 0,
  );
  if (known?.kernel === undefined) return undefined;
  return { kernel: known.kernel, exact: compareVersions(known.version, version) === 0, release: known };
}

/** The architectures that a branch supports, oldest first. */
export function architecturesOf(facts: NvidiaFacts, branch: DriverBranch): NvidiaArchitecture[] {
  return [...facts.architectures.values()].filter(
    ({ firstBranch, lastBranch = Number.POSITIVE_INFINITY }) =>
      firstBranch <= branch.branch && branch.branch <= lastBranch,
  );
}

/** The toolkit of a version; of a series such as `13.0`, its newest that is no preview. */
export function findToolkit(facts: NvidiaFacts, version: CudaVersion): CudaToolkit | undefined {
  const exact = facts.toolkits.get(version);
  if (exact !== undefined) return exact;
  const series = [...facts.toolkits.values()].filter((toolkit) => seriesOf(toolkit.version) === version);
  return series.findLast(({ preview }) => !preview) ?? series.at(-1);
}

/** The first release of a version's series. */
function firstToolkit(facts: NvidiaFacts, version: CudaVersion): CudaToolkit | undefined {
  return [...facts.toolkits.values()].find(
    (toolkit) => !toolkit.preview && seriesOf(toolkit.version) === seriesOf(version),
  );
}

export interface CudaSupport {
  /**
   * `native`: the driver is at least that of the series' first toolkit. `minor-version`: it runs, with the features of the driver's
   * own CUDA, and without JIT of newer PTX. `compat`: only with the series' `cuda-compat` package, on the classes of
   * GPU it is for. `unknown`: the list of allowed branches was seen in part only.
   */
  readonly answer: 'native' | 'minor-version' | 'compat' | 'unknown' | 'no';
  /** The row that says so; undefined when nothing is known of the CUDA version. */
  readonly row: Row | undefined;
}

/** How a driver runs programs of a CUDA version. `cuda` may be a series or a full version. */
export function cudaSupport(facts: NvidiaFacts, driver: DriverVersion, cuda: CudaVersion): CudaSupport {
  const toolkit = findToolkit(facts, cuda);
  const first = firstToolkit(facts, cuda);
  if (first?.driver !== undefined) {
    // The libcuda of a series serves all of its updates.
    if (compareVersions(driver, first.driver) >= 0) return { answer: 'native', row: toolkit ?? first };
  } else {
    const branch = facts.branches.get(branchOf(driver));
    if (branch?.cuda !== undefined && compareVersions(branch.cuda, seriesOf(cuda)) >= 0) {
      return { answer: 'native', row: branch };
    }
  }
  const minor = facts.minorCompatibility.get(majorOf(cuda));
  if (minor?.driver !== undefined && rangeAdmits(minor.driver, driver)) {
    return { answer: 'minor-version', row: minor };
  }
  const forward = facts.forwardCompatibility.get(seriesOf(cuda));
  if (forward !== undefined) {
    if (forward.branches.includes(branchOf(driver))) return { answer: 'compat', row: forward };
    return { answer: forward.complete ? 'no' : 'unknown', row: forward };
  }
  return { answer: 'no', row: minor ?? toolkit };
}

/** The oldest driver that runs a CUDA version without the compatibility package. */
export function minimumDriver(facts: NvidiaFacts, cuda: CudaVersion): string | undefined {
  const range = facts.minorCompatibility.get(majorOf(cuda))?.driver;
  const bound = range?.bounds.find(({ operator }) => operator === '>=')?.version;
  return bound ?? findToolkit(facts, cuda)?.driver;
}

export interface RuntimeReleaseMatch {
  readonly release: RuntimeRelease;
  /** False when the row is of an older version, and holds until the next. */
  readonly exact: boolean;
}

/** The row that holds for a version of a runtime; without one, that of the newest. Undefined before the first row. */
export function runtimeRelease(runtime: Runtime, version?: SoftwareVersion): RuntimeReleaseMatch | undefined {
  const release =
    version === undefined
      ? runtime.releases.at(-1)
      : runtime.releases.findLast((row) => compareVersions(row.version, version) <= 0);
  if (release === undefined) return undefined;
  return { release, exact: version === undefined || compareVersions(release.version, version) === 0 };
}

/** The wheels of a project's version for one CUDA, by series. Undefined: nothing is known of them. */
export function findWheels(
  facts: Facts,
  project: string,
  version: SoftwareVersion,
  cuda: CudaVersion,
): WheelSet | undefined {
  return facts.wheels.find(
    (set) =>
      set.project === project &&
      rangeAdmits(set.versions, version) &&
      set.cuda.some((series) => series === seriesOf(cuda)),
  );
}
