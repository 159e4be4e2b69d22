/** What the product's own facts answer: the rules that must be right whatever is edited. */
import { resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

import { findGpus } from './find-gpus.ts';
import { loadFacts } from './load.ts';
import {
  cudaSupport,
  driverSupport,
  findToolkit,
  findWheels,
  preparedKernel,
  runtimeRelease,
} from './lookup.ts';
import type { Facts, NvidiaGpu, Runtime } from './types.ts';
import {
  parseCudaVersion,
  parseDriverVersion,
  parseKernelVersion,
  parseSoftwareVersion,
  rangeAdmits,
} from './versions.ts';

let facts: Facts;
beforeAll(async () => {
  facts = await loadFacts(resolve(import.meta.dirname, '../../../drivers'));
});

function gpu(name: string): NvidiaGpu {
  const found = findGpus(facts, name);
  const [first] = found.kind === 'unknown' ? [] : found.gpus;
  if (first?.vendor !== 'nvidia') throw new Error(`no GPU ${name}`);
  return first;
}

function runtime(name: string): Runtime {
  const found = facts.runtimes.get(name);
  if (found === undefined) throw new Error(`no runtime ${name}`);
  return found;
}

const support = (name: string, driver: string) =>
  driverSupport(facts.nvidia, gpu(name), parseDriverVersion(driver));

const cuda = (driver: string, version: string): string =>
  cudaSupport(facts.nvidia, parseDriverVersion(driver), parseCudaVersion(version)).answer;

describe('a GPU and a driver', () => {
  test.each([
    // Pre-Turing ends at 580, and lists of the open modules do not matter to it.
    ['v100-sxm2', '580.142', 'yes', 'by-architecture'],
    ['v100-sxm2', '590.48.01', 'no', 'after-its-architecture'],
    ['p100-pcie', '470.256.02', 'yes', 'by-architecture'],
    ['t4', '550.163.01', 'yes', 'by-architecture'],
    // The exact release decides.
    ['10de:2c3a', '580.142', 'yes', 'listed'],
    ['10de:2c3a', '580.126.20', 'no', 'before-its-first-release'],
    ['10de:2c3a', '590.48.01', 'no', 'not-in-the-list'],
    ['10de:2c3a', '595.45.04', 'no', 'not-in-the-list'],
    ['10de:2c3a', '595.91.97', 'unknown', 'list-not-read'],
    ['10de:2c3a', '610.57.04', 'unknown', 'list-not-read'],
    ['b200', '565.77', 'no', 'before-its-architecture'],
    ['b200', '570.86.15', 'yes', 'listed'],
    ['b300', '580.65.06', 'no', 'before-its-first-release'],
    ['b300', '580.82.07', 'yes', 'listed'],
    ['b300', '575.64.05', 'no', 'not-in-the-list'],
    ['h100-sxm', '550.163.01', 'yes', 'listed'],
    ['h100-sxm', '610.57.04', 'yes', 'in-every-branch-since'],
    ['h200-sxm', '535.288.01', 'no', 'not-in-the-list'],
    ['h200-sxm', '535.309.01', 'unknown', 'list-not-read'],
    ['h200-sxm', '550.76', 'no', 'before-its-first-release'],
    ['gh200-96gb', '580.65.06', 'yes', 'listed'],
    ['gh200-96gb', '535.104.05', 'no', 'before-its-first-release'],
    ['l40s', '535.98', 'no', 'before-its-first-release'],
  ])('%s with %s: %s, %s', (name, driver, answer, reason) => {
    expect(support(name, driver)).toMatchObject({ answer, reason });
  });

  test('B200 boards need more than the first release that lists B200', () => {
    const floor = facts.nvidia.floors.find(({ gpus }) => gpus.includes('b200'));
    expect(floor?.driver && rangeAdmits(floor.driver, parseDriverVersion('570.133.20'))).toBe(true);
    expect(floor?.driver && rangeAdmits(floor.driver, parseDriverVersion('570.133.07'))).toBe(false);
  });
});

test('what the newest list of a branch that gets fixes leaves out is old, rare, or named here', () => {
  const missing = facts.nvidia.gpus.filter(
    (each) => !each.byArchitecture && each.since.size > 0 && each.since.get(580) === undefined,
  );
  expect(missing.map(({ product }) => product)).toEqual(['H100 SXM 80GB HBM2e']);
});

describe('modules', () => {
  test.each([
    ['v100-sxm2', 'proprietary'],
    ['p40', 'proprietary'],
    ['t4', 'either'],
    ['h100-sxm', 'either'],
    ['gh200-96gb', 'open'],
    ['gb200', 'open'],
    ['rtx-5090', 'open'],
  ])('%s takes %s', (name, modules) => {
    expect(gpu(name).modules).toBe(modules);
  });

  test('no host has both Volta and Blackwell', () => {
    const rule = facts.nvidia.moduleRules.find(({ then }) => then === 'refuse');
    expect(rule?.mixes).toEqual(['proprietary', 'open']);
  });
});

describe('CUDA', () => {
  test.each([
    ['550.163.01', '12.4', 'native'],
    ['550.163.01', '12.4.1', 'native'],
    ['550.163.01', '12.9', 'minor-version'],
    ['525.53', '12.0', 'no'],
    ['525.60.13', '12.8', 'minor-version'],
    ['580.65.06', '13.0.2', 'native'],
    ['580.65.06', '13.2', 'minor-version'],
    ['595.91.97', '12.4', 'native'],
    ['535.288.01', '13.2', 'compat'],
    ['565.77', '13.2', 'no'],
    ['560.35.03', '13.0', 'unknown'],
    ['525.147.05', '13.2', 'no'],
    ['470.256.02', '11.8', 'minor-version'],
  ])('%s runs %s: %s', (driver, version, answer) => {
    expect(cuda(driver, version)).toBe(answer);
  });

  test('compat packages are for data-center GPUs', () => {
    for (const row of facts.nvidia.forwardCompatibility.values())
      expect(row.classes).toEqual(['data-center']);
  });

  test('every GPU knows its first and last', () => {
    expect(gpu('b200').capability.firstCuda).toBe('12.8');
    expect(gpu('v100-sxm2').architecture.lastCudaMajor).toBe(12);
    expect(gpu('h100-sxm').architecture.lastCudaMajor).toBeUndefined();
  });

  test('a series is its newest toolkit that is no preview', () => {
    expect(findToolkit(facts.nvidia, parseCudaVersion('12.4'))?.version).toBe('12.4.1');
    expect(findToolkit(facts.nvidia, parseCudaVersion('13.4'))?.preview).toBe(false);
    expect(findToolkit(facts.nvidia, parseCudaVersion('12.7'))).toBeUndefined();
  });
});

describe('kernels', () => {
  const reports = (kernel: string) =>
    facts.nvidia.kernelReports.filter(
      (row) =>
        row.packages?.distribution === 'debian' &&
        row.packages.versions.includes('550.163.01-2') &&
        rangeAdmits(row.kernel, parseKernelVersion(kernel)),
    );

  test('Debian’s own pair', () => {
    expect(reports('6.12.94+deb13-amd64').map(({ result }) => result)).toEqual(['works']);
    expect(reports('6.12.107+deb13-amd64')).toMatchObject([
      { result: 'fails', patch: 'pci-resize-resource' },
    ]);
    expect(reports('6.12.96')).toEqual([]);
  });

  test('a release without a row of its own has the ceiling of the one before', () => {
    expect(preparedKernel(facts.nvidia, parseDriverVersion('550.163.01'))).toMatchObject({
      kernel: '6.15',
      exact: true,
    });
    expect(preparedKernel(facts.nvidia, parseDriverVersion('595.91.97'))).toMatchObject({
      kernel: '6.19',
      exact: false,
      release: { version: '595.45.04' },
    });
    expect(preparedKernel(facts.nvidia, parseDriverVersion('610.57.04'))).toBeUndefined();
  });
});

describe('fabric', () => {
  test('HGX boards need fabric manager of the driver’s version, B200 and later the subnet manager too', () => {
    expect(gpu('h100-sxm').fabric).toMatchObject({
      components: [{ name: 'fabric-manager', version: 'driver' }],
      kernelModules: [],
      always: false,
    });
    for (const name of ['b200', 'b300']) {
      expect(gpu(name).fabric?.components).toContainEqual({ name: 'nvlsm', version: 'any' });
      expect(gpu(name).fabric?.kernelModules).toContain('ib_umad');
    }
    expect(gpu('h100-pcie').fabric).toBeUndefined();
  });
});

describe('MIG', () => {
  test('profiles are the device’s own', () => {
    expect(gpu('h100-sxm').mig).toContain('1g.10gb');
    expect(gpu('h200-sxm').mig).toContain('1g.18gb');
    expect(gpu('h200-sxm').mig).not.toContain('1g.10gb');
    expect(gpu('l40s').mig).toBeUndefined();
  });
});

describe('runtimes', () => {
  test('vLLM is built for CUDA 13 from 0.20 on', () => {
    const at = (version: string) => runtimeRelease(runtime('vllm'), parseSoftwareVersion(version));
    expect(at('0.19.1')?.release.cuda).toBe('12.9');
    expect(at('0.20')?.release.cuda).toBe('13.0');
    for (const release of runtime('vllm').releases) {
      const isNew = Number(release.version.split('.')[1]) >= 20;
      expect(release.cuda?.startsWith(isNew ? '13.' : '12.'), release.version).toBe(true);
    }
  });

  test('a version between rows is held by the row before; before the first nothing is known', () => {
    const between = runtimeRelease(runtime('vllm'), parseSoftwareVersion('0.23.0'));
    expect(between).toMatchObject({ release: { version: '0.22.1' }, exact: false });
    expect(runtimeRelease(runtime('vllm'), parseSoftwareVersion('0.2'))).toBeUndefined();
    expect(runtimeRelease(runtime('vllm'))?.exact).toBe(true);
  });

  test('TGI is archived, and names what to take instead', () => {
    expect(runtime('tgi')).toMatchObject({ status: 'archived', successors: ['vllm', 'sglang'] });
  });

  test('wheels are a second gate', () => {
    const wheels = (version: string) =>
      findWheels(facts, 'pytorch', parseSoftwareVersion('2.13'), parseCudaVersion(version))?.architectures;
    const old = wheels('12.6')?.get('amd64')?.capabilities ?? [];
    expect(old.some((capability) => Number(capability) >= 10)).toBe(false);
    expect(old).toContain('7.0');
    const amd64 = wheels('13.0')?.get('amd64')?.capabilities ?? [];
    expect(Math.min(...amd64.map(Number))).toBe(7.5);
    const arm64 = wheels('13.0')?.get('arm64')?.capabilities ?? [];
    expect(arm64).not.toContain('7.5');
    expect(arm64).not.toContain('8.6');
    expect(arm64).toContain('9.0');
  });
});

test('KASLR with HMM comes with the module option that avoids it', () => {
  expect(facts.nvidia.issues.find(({ name }) => name === 'kaslr-hmm')?.moduleOption).toEqual({
    module: 'nvidia_uvm',
    option: 'uvm_disable_hmm',
    value: '1',
  });
});

describe('a GPU’s name', () => {
  test.each([
    ['h100-sxm', 'product', 1],
    ['H100 SXM5 80GB', 'product', 1],
    ['NVIDIA GeForce RTX 4090', 'product', 1],
    ['rtx_4090', 'product', 1],
    ['gb200', 'product', 1],
    ['10DE:2330', 'product', 1],
    ['10de:25b6', 'pci', 2],
    ['h100', 'series', 5],
    ['grace-hopper', 'series', 2],
    ['gfx942', 'architecture', 4],
    ['mi300x', 'product', 1],
  ])('%s is a %s of %i', (text, kind, count) => {
    const found = findGpus(facts, text);
    expect(found.kind).toBe(kind);
    expect(found.kind === 'unknown' ? 0 : found.gpus.length).toBe(count);
  });

  test('an architecture is all of its GPUs', () => {
    for (const name of ['ada', 'Ada Lovelace']) {
      const found = findGpus(facts, name);
      expect(found).toMatchObject({ kind: 'architecture', architecture: { name: 'ada-lovelace' } });
    }
  });

  test.each([
    ['h10', ['a10', 'h100', 'h20']],
    ['l40x', ['l40', 'l40s']],
    ['10de:2332', ['10de:2232', '10de:2322', '10de:2330']],
    ['toaster', []],
  ])('%s is unknown; near it %j', (text, nearest) => {
    const found = findGpus(facts, text);
    expect(found.kind === 'unknown' && found.suggestions).toEqual(nearest);
  });
});
