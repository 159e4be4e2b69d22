/** The solver on the product's own facts, with requests written as short as they can be, and random ones. */
import { join } from 'node:path';

import fc from 'fast-check';

import { gpuNames } from '../../src/catalog/facts/find-gpus.ts';
import { loadFacts } from '../../src/catalog/facts/load.ts';
import type { Facts } from '../../src/catalog/facts/types.ts';
import { judgeFit, type Fit } from '../../src/resolve/fit/fit.ts';
import type { FitContext, FitOffers, FitRequest } from '../../src/resolve/fit/request.ts';

export const FACTS: Facts = await loadFacts(join(import.meta.dirname, '../../drivers'));
export const NOW = '2026-11-22';
export const BY_FACTS: FitContext = { facts: FACTS, now: NOW };

/** `driver: '550'`, `cuda: '12.4'`, `runtimes: ['vllm@0.20', 'vllm#fp8']`; `auto` leaves the version open. */
export interface ShortRequest {
  readonly architecture?: 'amd64' | 'arm64';
  readonly distribution?: string;
  readonly gpus?: readonly string[];
  readonly kernel?: string;
  readonly flavour?: string;
  readonly driver?: string;
  readonly use?: string;
  readonly modules?: 'open' | 'proprietary';
  readonly cuda?: string;
  readonly compat?: boolean;
  readonly toolkit?: boolean;
  readonly runtimes?: readonly string[];
  readonly addons?: readonly string[];
  readonly kernelArguments?: readonly string[];
  /** Of the first GPU; with a count, as in `1g.10gb*7`. */
  readonly mig?: readonly string[];
}

/** Keeps the warning that any driver would give out of tests that are about something else. */
export const NO_HMM = 'nvidia_uvm.uvm_disable_hmm=1';

export function requestOf(short: ShortRequest): FitRequest {
  const { driver, use = 'nvidia', modules = 'auto', cuda, compat = false, kernel, flavour, toolkit } = short;
  return {
    architecture: short.architecture ?? 'amd64',
    ...(short.distribution !== undefined && { distribution: short.distribution }),
    gpus: short.gpus ?? [],
    ...((kernel !== undefined || flavour !== undefined) && {
      kernel: { ...(flavour !== undefined && { flavour }), ...(kernel !== undefined && { version: kernel }) },
    }),
    ...(driver !== undefined && { driver: { use, modules, ...versionOf(driver) } }),
    ...(cuda !== undefined && {
      cuda: { compat, ...versionOf(cuda), ...(toolkit !== undefined && { toolkit }) },
    }),
    runtimes: (short.runtimes ?? []).map((text) => {
      const [named = '', ...features] = text.split('#');
      const [name = '', version] = named.split('@', 2);
      return {
        use: name,
        ...(version !== undefined && { version }),
        ...(features.length > 0 && { features }),
      };
    }),
    addons: short.addons ?? [],
    kernelArguments: short.kernelArguments ?? [NO_HMM],
    mig: (short.mig ?? []).map((text) => {
      const [profile = '', count = '1'] = text.split('*', 2);
      return { gpu: 0, profile, count: Number(count) };
    }),
  };
}

function versionOf(text: string): { readonly version?: string } {
  return text === 'auto' ? {} : { version: text };
}

export function fitOf(short: ShortRequest, offers?: FitOffers, now = NOW): Fit {
  const context = { facts: FACTS, now, ...(offers !== undefined && { offers }) };
  return judgeFit(requestOf(short), offers === undefined && now === NOW ? BY_FACTS : context);
}

/** Ids of the rules that refuse or warn, sorted. */
export function rulesOf({ findings }: Fit): string[] {
  return [...new Set(findings.map(({ rule }) => rule))].sort();
}

const { nvidia, runtimes, otherGpus } = FACTS;

/** Mostly names that there are, and some that there are not. */
function among(known: readonly string[], unknown: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...known) },
    { weight: 1, arbitrary: fc.constantFrom(...unknown) },
  );
}

const gpu = among(
  [...gpuNames(FACTS), ...[...nvidia.gpus, ...otherGpus].flatMap(({ pci }) => pci)],
  ['h10o', '10de:ffff', 'gpu', 'b20', 'rtx-9090'],
);
const driverVersion = among([...nvidia.branches.keys()].map(String).concat([...nvidia.releases.keys()]), [
  '999',
  '580.999',
  '58',
  '550.163',
  '1.2.3',
  '620',
]);
const cudaVersion = among(
  [...nvidia.toolkits.keys()].flatMap((version) => [version, version.replace(/\.\d+$/, '')]),
  ['14.0', '12', '9.9', '13.0.77'],
);
const runtimeName = among(
  [...runtimes.values()].flatMap(({ name, releases }) => [
    name,
    ...releases.map(({ version }) => `${name}@${version}`),
  ]),
  [
    'vlm',
    'vllm#fp8',
    'vllm#bfloat16#fp8',
    'vllm#fp9',
    'sglang#fp8',
    'vllm@0.1',
    'tgi@9',
    'pytorch@next',
    'llama.cpp@b1234',
  ],
);
const kernelVersion = among(
  ['5.10', '6.1', '6.12', '6.12.94', '6.12.107', '6.17', '6.19.7', '7.0', '7.1.2'],
  ['6', '99.1', 'six'],
);
const profile = fc
  .tuple(
    among([...new Set(nvidia.gpus.flatMap(({ mig = [] }) => mig))], ['9g.99gb', '1g.1gb', '']),
    fc.integer({ min: 1, max: 7 }),
  )
  .map(([name, count]) => `${name}*${count}`);
const addon = among(['fabric-manager', 'nvlsm', 'imex', 'nvidia-fs', 'container-toolkit', 'ssh'], ['nope']);

/** With nothing left out at times, and with nothing at all at others. */
export const randomRequest: fc.Arbitrary<FitRequest> = fc
  .record(
    {
      architecture: fc.constantFrom('amd64', 'amd64', 'arm64'),
      distribution: fc.constantFrom('debian@13', 'debian@sid', 'sles-16'),
      gpus: fc.array(gpu, { maxLength: 4 }),
      mig: fc.array(profile, { maxLength: 2 }),
      kernel: kernelVersion,
      driver: fc.oneof(fc.constant('auto'), driverVersion),
      use: among(['nvidia', 'nvidia', 'nvidia', 'auto', 'nvidia-open', 'amdgpu', 'intel'], ['nvidai']),
      modules: fc.constantFrom('open', 'proprietary'),
      cuda: fc.oneof(fc.constant('auto'), cudaVersion),
      compat: fc.boolean(),
      toolkit: fc.boolean(),
      runtimes: fc.array(runtimeName, { maxLength: 3 }),
      addons: fc.uniqueArray(addon, { maxLength: 4 }),
      kernelArguments: fc.subarray([NO_HMM, 'nokaslr', 'quiet']),
    },
    { requiredKeys: ['architecture', 'gpus'] },
  )
  .map((short) => requestOf(short as ShortRequest))
  // A layout is written below a GPU: without one there is none.
  .map((request) => (request.gpus.length === 0 ? { ...request, mig: [] } : request));
