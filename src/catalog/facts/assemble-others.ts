/** The tables of the other vendors and of the runtimes, put together. */
import type * as z from 'zod';

import { keyed, type Report } from './assemble-nvidia.ts';
import type { FactTable } from './table-reader.ts';
import type { RuntimesTable, VendorTable } from './tables-others.ts';
import type {
  ComputeStack,
  CpuArchitecture,
  OtherGpu,
  Runtime,
  RuntimeFeature,
  WheelArchitectures,
  WheelSet,
} from './types.ts';
import { compareVersions } from './versions.ts';

export function assembleGpus(
  vendor: OtherGpu['vendor'],
  table: FactTable<z.infer<typeof VendorTable>>,
): OtherGpu[] {
  return table
    .rows('gpus', table.value.gpus)
    .map(({ names, ...members }) => ({ ...members, vendor, aliases: names }));
}

export function assembleStacks(
  vendor: ComputeStack['vendor'],
  table: FactTable<z.infer<typeof VendorTable>>,
): ComputeStack[] {
  return table.rows('stacks', table.value.stacks).map((row) => ({ ...row, vendor }));
}

export interface RuntimeFacts {
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly wheels: readonly WheelSet[];
  readonly runtimeFeatures: readonly RuntimeFeature[];
}

export function assembleRuntimes(
  table: FactTable<z.infer<typeof RuntimesTable>>,
  report: Report,
): RuntimeFacts {
  const { value } = table;
  const releases = keyed(
    table.rows('releases', value.releases),
    ({ runtime, version }) => `${runtime} ${version}`,
    (name) => name,
    report,
  );
  const runtimes = keyed(
    table.rows('runtimes', value.runtimes).map((runtime) => ({
      ...runtime,
      releases: [...releases.values()]
        .filter((release) => release.runtime === runtime.name)
        .sort((left, right) => compareVersions(left.version, right.version)),
    })),
    ({ name }) => name,
    (name) => `the runtime ${name}`,
    report,
  );
  const wheels = table.rows('wheels', value.wheels).map(({ amd64, arm64, ...row }) => {
    const architectures = new Map<CpuArchitecture, WheelArchitectures>();
    if (amd64 !== undefined) architectures.set('amd64', amd64);
    if (arm64 !== undefined) architectures.set('arm64', arm64);
    return { ...row, architectures };
  });
  const features = keyed(
    table.rows('features', value.features),
    ({ runtime, feature }) => `${feature} of ${runtime}`,
    (name) => name,
    report,
  );
  for (const row of [...releases.values(), ...features.values()]) {
    if (!runtimes.has(row.runtime)) report(`there is no runtime ${JSON.stringify(row.runtime)}`, row);
  }
  return { runtimes, wheels, runtimeFeatures: [...features.values()] };
}
