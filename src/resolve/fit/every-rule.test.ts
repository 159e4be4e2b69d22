/** For each rule a request that it alone speaks against: without the rule nothing would. */
import { describe, expect, it } from 'vitest';

import { FACTS, NOW, requestOf, rulesOf, type ShortRequest } from '../../../test/support/fit.ts';
import { parseConstraint } from '../../catalog/constraint.ts';
import type { Facts, ProductFloor } from '../../catalog/facts/types.ts';
import { parseRange, type CudaVersion, type SoftwareVersion } from '../../catalog/facts/versions.ts';
import { judgeFit } from './fit.ts';
import { poseProblem } from './problem.ts';
import type { DriverOffer, FitOffers } from './request.ts';
import { RULES } from './rules.ts';
import { search } from './search.ts';

type Verdict = 'refused' | 'warning';
/** With offers, and with facts of its own where the product's have no row that the rule could go by. */
type Case = readonly [Verdict, ShortRequest, FitOffers?, Facts?];

/** What these refuse nothing could be chosen for; without them it is told in the words of another rule. */
const TELL_BETTER: readonly string[] = ['modules-mixed', 'one-vendor', 'cuda-vendor'];

const FABRIC = ['fabric-manager', 'nvlsm'];
const SMALL = { kernelLayers: [{ layer: 'small', lacks: ['amdgpu', 'ib_umad'] }] };
const DRIVER: DriverOffer = {
  layer: 'vendor',
  vendor: 'nvidia',
  version: '580.142' as never,
  flavours: ['open'],
};

function requires(layer: string, constraint: string): FitOffers {
  return { requires: new Map([[layer, [parseConstraint(constraint)]]]) };
}

function withNvidia(change: Partial<Facts['nvidia']>): Facts {
  return { ...FACTS, nvidia: { ...FACTS.nvidia, ...change } };
}

const [FLOOR] = FACTS.nvidia.floors;
const PREVIEWS = [...FACTS.nvidia.toolkits].map(
  ([version, toolkit]) => [version, { ...toolkit, preview: true }] as const,
);
const [STACK] = FACTS.computeStacks;
if (FLOOR === undefined || STACK === undefined) throw new TypeError('the facts have no such rows');
const { driver: _driver, ...FLOOR_OF_CUDA } = { ...FLOOR, cuda: parseRange<CudaVersion>('>= 12.9') };
const WITH_FLOOR = withNvidia({ floors: [FLOOR_OF_CUDA as ProductFloor] });
const WITH_PREVIEW = withNvidia({ toolkits: new Map(PREVIEWS) });
const WITH_STACK: Facts = {
  ...FACTS,
  computeStacks: [{ ...STACK, version: '7.1' as SoftwareVersion, architectures: ['gfx942'] }],
};

const CASES: Readonly<Record<string, Case>> = {
  'gpu-cpu': ['refused', { gpus: ['gh200'], driver: '580' }],
  'one-vendor': ['refused', { gpus: ['mi300x', 'h100-pcie'], driver: 'auto', use: 'auto' }],
  'driver-vendor': ['refused', { gpus: ['mi300x'], driver: '580' }],
  'driver-missing': ['warning', { gpus: ['a30'] }],
  'driver-architecture': ['refused', { gpus: ['v100'], driver: '595' }],
  'driver-lists-gpu': ['refused', { gpus: ['10de:2c3a'], driver: '595.45.04' }],
  'product-floor': ['refused', { gpus: ['b200'], driver: '570.124.06', addons: FABRIC }],
  'mig-profile': ['refused', { gpus: ['h100-pcie'], driver: '580', mig: ['1g.5gb'] }],
  'mig-slices': ['refused', { gpus: ['h100-pcie'], driver: '580', mig: ['1g.10gb*8'] }],
  'mig-driver': ['refused', { gpus: ['h100-pcie'], driver: '525.60.13', mig: ['1g.10gb'] }],
  'modules-mixed': ['refused', { gpus: ['v100-sxm2-16gb', 'b200'], driver: 'auto', addons: FABRIC }],
  'modules-gpu': ['refused', { gpus: ['v100'], driver: '580', modules: 'open' }],
  'modules-driver': [
    'refused',
    { gpus: ['a30'], driver: 'auto' },
    { drivers: [{ ...DRIVER, version: '470.256.02' as never }] },
  ],
  'modules-addon': [
    'refused',
    { gpus: ['a10'], driver: '580', modules: 'proprietary', addons: ['nvidia-fs'] },
  ],
  'one-version': [
    'refused',
    { driver: '580' },
    { drivers: [{ ...DRIVER, parts: { firmware: '580.95.05' as never } }] },
  ],
  'driver-end-of-life': ['warning', { gpus: ['a30'], driver: '550' }],
  'driver-known': ['warning', { driver: 'auto' }, { drivers: [{ ...DRIVER, version: '999.10' as never }] }],
  'kernel-minimum': ['refused', { driver: '580', kernel: '4.14' }],
  'kernel-report': ['refused', { driver: '580.142', kernel: '7.1' }],
  'kernel-headers': [
    'refused',
    { gpus: ['a30'], driver: '580' },
    {
      kernels: [
        {
          layer: 'generic',
          version: '6.12.96' as never,
          image: {
            name: 'linux-image-6.12.96+deb13-amd64',
            version: '6.12.96-1',
            metapackage: { name: 'linux-image-amd64' },
            lacksHeaders: true,
          },
        },
      ],
    },
  ],
  'kernel-prepared': ['warning', { driver: '580.105.08', kernel: '6.17' }],
  'kernel-gpu': ['refused', { gpus: ['mi300x'], driver: 'auto', use: 'amdgpu', kernel: '5.10' }],
  'kernel-module': ['refused', { gpus: ['mi300x'], driver: 'auto', use: 'amdgpu', flavour: 'small' }, SMALL],
  'cuda-vendor': ['refused', { gpus: ['mi300x'], driver: 'auto', use: 'auto', cuda: 'auto' }],
  'cuda-architecture': ['refused', { gpus: ['v100'], driver: '580', cuda: '13.0' }],
  'cuda-floor': ['refused', { gpus: ['b200'], driver: '580', cuda: '12.8', addons: FABRIC }, {}, WITH_FLOOR],
  'cuda-preview': ['warning', { gpus: ['a30'], driver: '580', cuda: '13.0' }, {}, WITH_PREVIEW],
  'cuda-driver': ['refused', { gpus: ['rtx-4090'], driver: '575', cuda: '13.0' }],
  'runtime-archived': ['warning', { gpus: ['h100-pcie'], driver: '580', runtimes: ['tgi'] }],
  'runtime-cuda': ['refused', { gpus: ['h100-pcie'], driver: '580', cuda: '11.8', runtimes: ['vllm@0.20'] }],
  'runtime-capability': [
    'refused',
    { gpus: ['v100'], driver: '580', cuda: '12.9', runtimes: ['sglang@0.5.14'] },
  ],
  'runtime-architecture': [
    'refused',
    { gpus: ['v100'], driver: '580', runtimes: ['ollama'], addons: ['container-toolkit'] },
    {
      runtimes: [
        {
          layer: 'ollama',
          runtime: 'ollama',
          version: '0.32.15' as never,
          cuda: '13.0' as never,
          selfContained: true,
        },
      ],
    },
  ],
  'runtime-wheels': [
    'refused',
    { architecture: 'arm64', gpus: ['t4'], driver: '580', runtimes: ['pytorch@2.13'] },
  ],
  'runtime-vendor': [
    'refused',
    { gpus: ['mi300x'], driver: 'auto', use: 'auto', runtimes: ['triton@25.06'] },
  ],
  'runtime-cpu': [
    'warning',
    { gpus: ['v100'], driver: '580', runtimes: ['pytorch'] },
    {
      runtimes: [
        {
          layer: 'pytorch-cpu',
          runtime: 'pytorch',
          version: '2.6.0' as never,
          cuda: null,
          selfContained: false,
        },
        {
          layer: 'pytorch-cuda',
          runtime: 'pytorch',
          version: '2.6.0' as never,
          cuda: '13.0' as never,
          selfContained: false,
        },
      ],
    },
  ],
  'runtime-driver': ['refused', { gpus: ['h100-pcie'], driver: '550', runtimes: ['vllm@0.20'] }],
  'runtime-asks-driver': ['refused', { gpus: ['a10'], driver: '570', runtimes: ['triton@25.06'] }],
  'runtime-feature': ['refused', { gpus: ['a10'], driver: '580', runtimes: ['vllm#fp8'] }],
  'fabric-components': ['refused', { gpus: ['b200'], driver: '580' }],
  'fabric-version': [
    'refused',
    { gpus: ['h100-sxm'], driver: '580.142', addons: ['fabric-manager'] },
    { addons: [{ layer: 'fabric-manager', version: '580.126.18' }] },
  ],
  'fabric-kernel-modules': [
    'refused',
    { gpus: ['b200'], driver: '580', addons: FABRIC, flavour: 'small' },
    SMALL,
  ],
  'container-toolkit': [
    'refused',
    { gpus: ['a10'], driver: '580', runtimes: ['vllm'] },
    {
      runtimes: [
        {
          layer: 'vllm',
          runtime: 'vllm',
          version: '0.28.0' as never,
          cuda: '13.0' as never,
          selfContained: true,
        },
      ],
    },
  ],
  'compute-stack': [
    'refused',
    { gpus: ['w7900'], driver: 'auto', use: 'auto', runtimes: ['vllm@0.17.1'] },
    {},
    WITH_STACK,
  ],
  'known-issue': ['warning', { gpus: ['rtx-pro-6000-server'], driver: '580', kernelArguments: [] }],
  'layer-requires': [
    'refused',
    { driver: '580' },
    { drivers: [DRIVER], ...requires('driver/vendor', 'driver >= 590') },
  ],
};

describe('every rule', () => {
  it('has a case here', () => {
    expect(Object.keys(CASES).sort()).toEqual([...new Set(RULES.map(({ id }) => id))].sort());
  });

  it.each(Object.entries(CASES))(
    '%s is what stands against its case',
    (id, [verdict, short, offers, facts]) => {
      const context = { facts: facts ?? FACTS, now: NOW, ...(offers !== undefined && { offers }) };
      const fit = judgeFit(requestOf(short), context);
      expect([fit.verdict, ...rulesOf(fit)]).toEqual([verdict, id]);
      const { chosen, judgements } = search(poseProblem(requestOf(short), context), new Set([id]));
      expect(judgements.map(({ rule }) => rule.id)).not.toContain(id);
      if (verdict === 'warning' || !TELL_BETTER.includes(id)) expect(chosen).toBeDefined();
    },
  );
});
