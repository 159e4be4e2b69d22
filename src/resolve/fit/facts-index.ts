/** The facts, arranged for the questions that the solver asks often. Made once per value of facts. */
import { findGpus, type GpuMatch, type UnknownGpu } from '../../catalog/facts/find-gpus.ts';
import {
  cudaSupport,
  driverSupport,
  findToolkit,
  type CudaSupport,
  type DriverSupport,
} from '../../catalog/facts/lookup.ts';
import type { CudaToolkit, DriverRelease, Facts, NvidiaGpu, Runtime } from '../../catalog/facts/types.ts';
import {
  compareVersions,
  seriesOf,
  type CudaVersion,
  type DriverVersion,
} from '../../catalog/facts/versions.ts';

export interface FactsIndex {
  readonly facts: Facts;
  /** What a name of a declaration means. */
  findGpus(text: string): GpuMatch | UnknownGpu;
  /** Every release there is a row of, newest first. */
  readonly drivers: readonly DriverRelease[];
  /** The newest toolkit of each series, newest first. */
  readonly cudaSeries: readonly CudaToolkit[];
  /** By name and alias. */
  readonly runtimes: ReadonlyMap<string, Runtime>;
  driverSupport(gpu: NvidiaGpu, version: DriverVersion): DriverSupport;
  cudaSupport(driver: DriverVersion, cuda: CudaVersion): CudaSupport;
}

const indexes = new WeakMap<Facts, FactsIndex>();

export function indexFacts(facts: Facts): FactsIndex {
  const known = indexes.get(facts);
  if (known !== undefined) return known;
  const made = makeIndex(facts);
  indexes.set(facts, made);
  return made;
}

function makeIndex(facts: Facts): FactsIndex {
  const { nvidia } = facts;
  const series = new Set([...nvidia.toolkits.keys()].map(seriesOf));
  const runtimes = new Map<string, Runtime>();
  for (const runtime of facts.runtimes.values()) {
    for (const name of [runtime.name, ...runtime.aliases]) runtimes.set(name, runtime);
  }

  const names = new Map<string, GpuMatch | UnknownGpu>();
  const support = new Map<NvidiaGpu, Map<DriverVersion, DriverSupport>>();
  const cuda = new Map<string, CudaSupport>();
  return {
    facts,
    findGpus: (text) => remembered(names, text, () => findGpus(facts, text)),
    drivers: [...nvidia.releases.values()].sort((a, b) => compareVersions(b.version, a.version)),
    cudaSeries: [...series]
      .sort((a, b) => compareVersions(b, a))
      .flatMap((version) => findToolkit(nvidia, version) ?? []),
    runtimes,
    driverSupport: (gpu, version) => {
      const ofGpu = support.get(gpu) ?? new Map<DriverVersion, DriverSupport>();
      support.set(gpu, ofGpu);
      return remembered(ofGpu, version, () => driverSupport(nvidia, gpu, version));
    },
    cudaSupport: (driver, version) =>
      remembered(cuda, `${driver} ${version}`, () => cudaSupport(nvidia, driver, version)),
  };
}

function remembered<Key, Value>(memory: Map<Key, Value>, key: Key, compute: () => Value): Value {
  const known = memory.get(key);
  if (known !== undefined) return known;
  const value = compute();
  memory.set(key, value);
  return value;
}
