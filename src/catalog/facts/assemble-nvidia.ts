/** NVIDIA's tables put together: references followed, exceptions applied, first releases spelled out. */
import type * as z from 'zod';

import type { FactTable, Placed } from './table-reader.ts';
import type {
  ArchitecturesTable,
  BranchesTable,
  CompatTable,
  CudaTable,
  FabricTable,
  GpusTable,
  IssuesTable,
  KernelsTable,
  ModulesTable,
  ReleasesTable,
} from './tables-nvidia.ts';
import type {
  DriverBranch,
  DriverRelease,
  FabricSystem,
  NvidiaArchitecture,
  NvidiaFacts,
  NvidiaGpu,
} from './types.ts';
import { branchOf, compareVersions, isDriverVersion, type DriverVersion } from './versions.ts';

type Table<T extends z.ZodType<{ readonly sources: z.infer<typeof GpusTable>['sources'] }>> = FactTable<
  z.infer<T>
>;

export interface NvidiaTables {
  readonly architectures: Table<typeof ArchitecturesTable>;
  readonly branches: Table<typeof BranchesTable>;
  readonly releases: Table<typeof ReleasesTable>;
  readonly gpus: readonly Table<typeof GpusTable>[];
  readonly modules: Table<typeof ModulesTable>;
  readonly kernels: Table<typeof KernelsTable>;
  readonly cuda: Table<typeof CudaTable>;
  readonly compat: Table<typeof CompatTable>;
  readonly fabric: Table<typeof FabricTable>;
  readonly issues: Table<typeof IssuesTable>;
}

/** Told of what does not fit together. */
export type Report = (message: string, row: { readonly location: NvidiaGpu['location'] }) => void;

export function assembleNvidia(tables: NvidiaTables, report: Report): NvidiaFacts {
  const { value: architectureRows } = tables.architectures;
  const architectures = keyed(
    tables.architectures
      .rows('architectures', architectureRows.architectures)
      .map((row, index): NvidiaArchitecture => ({ ...row, order: index + 1 })),
    ({ name }) => name,
    (name) => `the architecture ${name}`,
    report,
  );
  const capabilities = keyed(
    tables.architectures.rows('capabilities', architectureRows.capabilities),
    ({ capability }) => capability,
    (capability) => `compute capability ${capability}`,
    report,
  );
  const releases = keyed(
    tables.releases
      .rows('releases', tables.releases.value.releases)
      .map((row): DriverRelease => ({ ...row, branch: branchOf(row.version) }))
      .sort((left, right) => compareVersions(left.version, right.version)),
    ({ version }) => version,
    (version) => `driver ${version}`,
    report,
  );
  const branches = keyed(
    tables.branches
      .rows('branches', tables.branches.value.branches)
      .map((row): DriverBranch => ({ ...row, newest: newestOf(row.branch, releases) }))
      .sort((left, right) => left.branch - right.branch),
    ({ branch }) => branch,
    (branch) => `branch ${branch}`,
    report,
  );
  const fabrics = keyed(
    tables.fabric.rows('systems', tables.fabric.value.systems),
    ({ name }) => name,
    (name) => `the fabric ${name}`,
    report,
  );
  const gpus = tables.gpus.flatMap((table) =>
    table.rows('gpus', table.value.gpus).flatMap((row) => {
      const gpu = makeGpu(row, table.value.class, { architectures, capabilities, branches, fabrics }, report);
      return gpu === undefined ? [] : [gpu];
    }),
  );
  const { cuda, compat, kernels, modules, issues } = tables;
  return {
    architectures,
    capabilities,
    branches,
    releases,
    gpus,
    fabrics,
    moduleRules: modules.rows('rules', modules.value.rules).map(({ when, default: isDefault, ...rule }) => ({
      ...rule,
      ...when,
      isDefault,
    })),
    kernelMinimums: kernels.rows('minimums', kernels.value.minimums),
    kernelReports: kernels.rows('reports', kernels.value.reports),
    distributionDrivers: kernels.rows('distributions', kernels.value.distributions),
    toolkits: keyed(
      cuda
        .rows('toolkits', cuda.value.toolkits)
        .sort((left, right) => compareVersions(left.version, right.version)),
      ({ version }) => version,
      (version) => `CUDA ${version}`,
      report,
    ),
    minorCompatibility: keyed(
      cuda.rows('minorVersions', cuda.value.minorVersions),
      ({ major }) => major,
      (major) => `CUDA ${major}`,
      report,
    ),
    forwardCompatibility: keyed(
      compat.rows('compat', compat.value.compat),
      (row) => row.cuda,
      (version) => `cuda-compat of CUDA ${version}`,
      report,
    ),
    floors: issues.rows('floors', issues.value.floors),
    issues: issues.rows('issues', issues.value.issues),
  };
}

/** A map of rows in their order; a key's second row is reported and left out. */
export function keyed<K extends string | number, R extends { readonly location: NvidiaGpu['location'] }>(
  rows: readonly R[],
  keyOf: (row: R) => K,
  describe: (key: K) => string,
  report: Report,
): Map<K, R> {
  const map = new Map<K, R>();
  for (const row of rows) {
    const key = keyOf(row);
    const first = map.get(key);
    if (first === undefined) map.set(key, row);
    else report(`${describe(key)} is already in line ${first.location.line} of ${first.location.file}`, row);
  }
  return map;
}

function newestOf(
  branch: number,
  releases: ReadonlyMap<DriverVersion, DriverRelease>,
): DriverVersion | undefined {
  return [...releases.values()].findLast((release) => release.branch === branch)?.version;
}

type GpuRow = Placed<z.infer<typeof GpusTable>['gpus'][number]>;

interface Known extends Pick<NvidiaFacts, 'architectures' | 'capabilities' | 'branches'> {
  readonly fabrics: ReadonlyMap<string, FabricSystem>;
}

function makeGpu(
  row: GpuRow,
  gpuClass: NvidiaGpu['class'],
  known: Known,
  report: Report,
): NvidiaGpu | undefined {
  const { names, capability: capabilityText, fabric: fabricName, modules, since, ...members } = row;
  const capability = known.capabilities.get(capabilityText);
  const architecture = capability && known.architectures.get(capability.architecture);
  if (capability === undefined || architecture === undefined) {
    report(`compute capability ${capabilityText} is not in architectures.yaml`, row);
    return undefined;
  }
  const fabric = fabricName === undefined ? undefined : known.fabrics.get(fabricName);
  if (fabric === undefined && fabricName !== undefined) {
    report(`${JSON.stringify(fabricName)} is not a system of fabric.yaml`, row);
  }
  return {
    ...members,
    vendor: 'nvidia',
    aliases: names,
    class: gpuClass,
    architecture,
    capability,
    modules: modules ?? architecture.modules,
    ...(fabric !== undefined && { fabric }),
    byArchitecture: since === 'architecture',
    ...expandSince(since === 'architecture' ? [] : since, known.branches, row, report),
  };
}

/** `["525.85.05", "530+"]`: one branch from that release, and every branch from 530 on as far as lists were read. */
function expandSince(
  written: readonly string[],
  branches: ReadonlyMap<number, DriverBranch>,
  row: GpuRow,
  report: Report,
): Pick<NvidiaGpu, 'since' | 'sinceEvery'> {
  const since = new Map<number, DriverVersion>();
  let sinceEvery: number | undefined;
  const add = (branch: number, version: DriverVersion): void => {
    if (since.has(branch)) report(`\`since\` names branch ${branch} twice`, row);
    since.set(branch, version);
  };
  for (const text of written) {
    if (isDriverVersion(text)) {
      add(branchOf(text), text);
      continue;
    }
    const from = Number.parseInt(text, 10);
    if (sinceEvery !== undefined) report('`since` has more than one branch with a +', row);
    if (branches.get(from)?.listed === undefined) {
      report(`branch ${from} of \`since\` has no list that was read (branches.yaml, \`listed\`)`, row);
    }
    sinceEvery = from;
    for (const { branch, listed } of branches.values()) {
      if (branch >= from && listed !== undefined) add(branch, listed.first);
    }
  }
  return { since, ...(sinceEvery !== undefined && { sinceEvery }) };
}
