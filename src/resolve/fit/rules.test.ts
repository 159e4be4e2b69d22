/** Every rule by name, on the product's own facts. What a test says of versions, the tables say with their sources. */
import { describe, expect, it } from 'vitest';

import { BY_FACTS, fitOf, NO_HMM, requestOf, rulesOf, type ShortRequest } from '../../../test/support/fit.ts';
import { judgeFit } from './fit.ts';
import { poseProblem } from './problem.ts';
import type { DriverOffer, FitOffers } from './request.ts';
import { search } from './search.ts';

const FABRIC = ['fabric-manager', 'nvlsm'];

function expectRefused(short: ShortRequest, rule: string, offers?: FitOffers): void {
  const fit = fitOf(short, offers);
  expect({ verdict: fit.verdict, rules: rulesOf(fit) }).toEqual({ verdict: 'refused', rules: [rule] });
  for (const { rows, message } of fit.findings) {
    expect(message).not.toBe('');
    for (const { sources } of rows) expect(sources.length).toBeGreaterThan(0);
  }
}

function expectOk(short: ShortRequest, offers?: FitOffers): void {
  const fit = fitOf(short, offers);
  expect({ verdict: fit.verdict, findings: fit.findings.map(({ message }) => message) }).toEqual({
    verdict: 'ok',
    findings: [],
  });
}

function expectWarning(short: ShortRequest, rules: readonly string[], offers?: FitOffers): void {
  const fit = fitOf(short, offers);
  expect({ verdict: fit.verdict, rules: rulesOf(fit) }).toEqual({ verdict: 'warning', rules: [...rules] });
}

describe('GPUs before Turing', () => {
  it('take proprietary modules', () => {
    expect(fitOf({ gpus: ['v100'], driver: 'auto' }).chosen?.driver?.flavour).toBe('proprietary');
    expectRefused({ gpus: ['v100'], driver: '580', modules: 'open' }, 'modules-gpu');
  });

  it('end at R580', () => {
    expect(fitOf({ gpus: ['p100-pcie-16gb'], driver: 'auto' }).chosen?.driver?.branch?.branch).toBe(580);
    expectRefused({ gpus: ['v100'], driver: '595' }, 'driver-architecture');
  });

  it('end at CUDA 12', () => {
    expectOk({ gpus: ['v100'], driver: '580', cuda: '12.9' });
    expectRefused({ gpus: ['v100'], driver: '580', cuda: '13.0' }, 'cuda-architecture');
  });

  it('mixed with Turing make the whole host proprietary', () => {
    expect(fitOf({ gpus: ['v100', 't4'], driver: 'auto' }).chosen?.driver?.flavour).toBe('proprietary');
  });
});

describe('open kernel modules', () => {
  it('are what Blackwell needs', () => {
    expect(fitOf({ gpus: ['rtx-5090'], driver: 'auto' }).chosen?.driver?.flavour).toBe('open');
    expectRefused({ gpus: ['rtx-5090'], driver: '580', modules: 'proprietary' }, 'modules-gpu');
  });

  it('are what Hopper with Grace needs, and Hopper alone does not', () => {
    expectRefused(
      { architecture: 'arm64', gpus: ['gh200'], driver: '580', modules: 'proprietary' },
      'modules-gpu',
    );
    expectOk({ gpus: ['h100-pcie'], driver: '580', modules: 'proprietary' });
  });

  it('cannot be had beside what needs proprietary ones: one host, one flavour', () => {
    const fit = fitOf({ gpus: ['v100-sxm2-16gb', 'b200'], driver: 'auto', addons: FABRIC });
    expect(rulesOf(fit)).toEqual(['modules-mixed']);
    expect(fit.findings[0]?.elements).toEqual([
      { kind: 'gpu', index: 1 },
      { kind: 'gpu', index: 0 },
    ]);
  });

  it('are the default from R560 on', () => {
    const flavour = (driver: string): unknown =>
      fitOf({ gpus: ['rtx-4090'], driver }).chosen?.driver?.flavour;
    expect([flavour('550'), flavour('560'), flavour('580')]).toEqual(['proprietary', 'open', 'open']);
    // For data-center GPUs they are taken before that too.
    expect(fitOf({ gpus: ['a10'], driver: '550' }).chosen?.driver?.flavour).toBe('open');
  });

  it('are what nvidia-fs needs', () => {
    expectRefused(
      { gpus: ['a10'], driver: '580', modules: 'proprietary', addons: ['nvidia-fs'] },
      'modules-addon',
    );
    expectOk({ gpus: ['a10'], driver: '580', addons: ['nvidia-fs'] });
  });
});

/** A kernel layer `small` without some modules, and one that has all. */
function kernelLayers(lacks: readonly string[]): FitOffers {
  return {
    kernelLayers: [
      { layer: 'small', lacks },
      { layer: 'whole', lacks: [] },
    ],
  };
}

describe('a driver that is part of the kernel', () => {
  it.each([
    ['mi300x', 'amdgpu', ['amdgpu']],
    ['flex-170', 'intel', ['habanalabs', 'i915', 'xe']],
  ])('of %s must be in the kernel', (gpu, use, modules) => {
    const short = { gpus: [gpu], driver: 'auto', use, flavour: 'small' };
    expectRefused(short, 'kernel-module', kernelLayers(modules));
    const [finding] = fitOf(short, kernelLayers(modules)).findings;
    expect(finding?.suggestions.map(({ text }) => text)).toContain('kernel: whole');
    expectOk(short, kernelLayers(['nvme']));
    expectOk({ ...short, flavour: 'whole' }, kernelLayers(modules));
  });

  it('is a warning where the sources do not say for sure which one it is', () => {
    const short = { gpus: ['flex-170'], driver: 'auto', use: 'intel', flavour: 'small' };
    expectWarning(short, ['kernel-module'], kernelLayers(['i915']));
  });
});

describe('B200', () => {
  it('needs R570', () => {
    expectRefused({ gpus: ['b200'], driver: '550', addons: FABRIC }, 'driver-architecture');
  });

  it('really needs 570.133.20, later than the first release that lists it', () => {
    expectRefused({ gpus: ['b200'], driver: '570.124.06', addons: FABRIC }, 'product-floor');
    expect(fitOf({ gpus: ['b200'], driver: '570.133.20', addons: FABRIC }).verdict).not.toBe('refused');
  });

  it('needs CUDA 12.8', () => {
    expectRefused({ gpus: ['b200'], driver: '580', cuda: '12.6', addons: FABRIC }, 'cuda-architecture');
    expectOk({ gpus: ['b200'], driver: '580', cuda: '12.8', addons: FABRIC });
  });

  it('needs a fabric manager and nvlsm', () => {
    const fit = fitOf({ gpus: ['b200'], driver: '580' });
    expect(rulesOf(fit)).toEqual(['fabric-components']);
    expect(fit.findings[0]?.suggestions[0]?.text).toBe('addons: add fabric-manager and nvlsm');
  });

  it('needs ib_umad in the kernel', () => {
    const short = { gpus: ['b200'], driver: '580', addons: FABRIC, flavour: 'small' };
    expectRefused(short, 'fabric-kernel-modules', kernelLayers(['ib_umad']));
    const [finding] = fitOf(short, kernelLayers(['ib_umad'])).findings;
    expect(finding?.message).toContain('ib_umad, which the layer kernel/small lacks');
    expect(finding?.path).toEqual(['kernel', 'version']);
    expect(finding?.suggestions[0]?.text).toBe('kernel: whole');
    expectOk(short, kernelLayers([]));
    expectOk({ ...short, gpus: ['h100-pcie'] }, kernelLayers(['ib_umad']));
    expectOk({ ...short, flavour: 'whole' }, kernelLayers(['ib_umad']));
  });
});

describe('B300', () => {
  it('needs 580.82.07', () => {
    expectRefused({ gpus: ['b300'], driver: '580.65.06', addons: FABRIC }, 'driver-lists-gpu');
    expectOk({ gpus: ['b300'], driver: '580.82.07', addons: FABRIC });
  });
});

describe('a driver supports a GPU by exact release', () => {
  it('10de:2c3a is in 580.142 and not in 595.45.04', () => {
    expectOk({ gpus: ['10de:2c3a'], driver: '580.142' });
    expectRefused({ gpus: ['10de:2c3a'], driver: '595.45.04' }, 'driver-lists-gpu');
    expectRefused({ gpus: ['10de:2c3a'], driver: '580.126.18' }, 'driver-lists-gpu');
  });
});

describe('CUDA 13', () => {
  it('needs R580', () => {
    expectRefused({ gpus: ['rtx-4090'], driver: '575', cuda: '13.0' }, 'cuda-driver');
    expectOk({ gpus: ['rtx-4090'], driver: '580', cuda: '13.0' });
  });

  it('runs on an allow-listed branch with the compatibility package on data-center GPUs', () => {
    const short = { gpus: ['a30'], driver: '535', cuda: '13.2' };
    expectRefused(short, 'cuda-driver');
    expectWarning({ ...short, compat: true }, ['driver-end-of-life']);
  });

  it('is not lifted on a branch that is not on the list: 565 for 13.2', () => {
    expectRefused({ gpus: ['a30'], driver: '565', cuda: '13.2', compat: true }, 'cuda-driver');
  });

  it('is not lifted on other GPUs, whatever the branch', () => {
    expectRefused({ gpus: ['rtx-4090'], driver: '535', cuda: '13.2', compat: true }, 'cuda-driver');
  });

  it('runs by minor version compatibility on an older driver of its major, with a warning about JIT', () => {
    const fit = fitOf({ gpus: ['a30'], driver: '580', cuda: '13.2' });
    expect({ verdict: fit.verdict, rules: rulesOf(fit) }).toEqual({
      verdict: 'warning',
      rules: ['cuda-driver'],
    });
    expect(fit.findings[0]?.message).toContain('PTX');
    expect(fit.findings[0]?.suggestions[0]?.text).toBe('driver: nvidia@595');
  });
});

const DEBIAN: DriverOffer = {
  layer: 'nvidia-open',
  vendor: 'nvidia',
  version: '550.163.01' as never,
  flavours: ['open'],
  packageVersion: '550.163.01-2',
};

function onDebian(kernels: readonly string[], driver: Partial<DriverOffer> = {}): FitOffers {
  return {
    drivers: [{ ...DEBIAN, ...driver }],
    kernels: kernels.map((version) => ({ layer: 'generic', version: version as never })),
  };
}

describe('modules, firmware and libraries', () => {
  it('carry one version', () => {
    const parts = { modules: '550.163.01' as never, firmware: '550.144.03' as never };
    expectRefused({ driver: '550' }, 'one-version', onDebian([], { parts }));
    expectWarning(
      { driver: '550' },
      ['driver-end-of-life'],
      onDebian([], { parts: { modules: '550.163.01' as never } }),
    );
  });

  it('and the fabric manager carries it too', () => {
    const addons = (version: string): FitOffers => ({ addons: [{ layer: 'fabric-manager', version }] });
    const short = { gpus: ['h100-sxm'], driver: '580.142', addons: ['fabric-manager'] };
    expectOk(short, addons('580.142'));
    expectRefused(short, 'fabric-version', addons('580.126.18'));
  });

  it('a fabric manager is a warning where boards without switches exist', () => {
    expectWarning({ gpus: ['h100-sxm'], driver: '580' }, ['fabric-components']);
  });
});

describe('kernels', () => {
  const short = { distribution: 'debian@13', driver: 'auto' };

  it('6.12.94 is fine for Debian’s 550.163.01-2', () => {
    expectWarning({ ...short, use: 'nvidia' }, ['driver-end-of-life'], onDebian(['6.12.94']));
  });

  it('6.12.107 needs a patch of it', () => {
    const fit = fitOf(short, onDebian(['6.12.107']));
    expect(rulesOf(fit)).toEqual(['driver-end-of-life', 'kernel-report']);
    expect(fit.findings.find(({ rule }) => rule === 'kernel-report')?.message).toContain(
      'pci-resize-resource',
    );
  });

  it('left open, the newest is taken, also where that needs a patch that Ingot has', () => {
    const fit = fitOf(short, onDebian(['6.12.94', '6.12.117', '6.12.107']));
    expect(fit.chosen?.kernel?.version).toBe('6.12.117');
    expect(rulesOf(fit)).toContain('kernel-report');
  });

  it('left open, an older one is taken where the newest is refused', () => {
    const of590 = { version: '590.48.01' as never, packageVersion: '590.48.01-1' };
    const kernels = ['6.19.5', '6.19.9', '6.19.7', '6.19.6'];
    const fit = fitOf({ driver: '590' }, onDebian(kernels, of590));
    expect(fit.chosen?.kernel?.version).toBe('6.19.6');
    expectRefused({ driver: '590' }, 'kernel-report', onDebian(['6.19.7', '6.19.9'], of590));
    const asked = fitOf({ driver: '590', kernel: '6.19.9' }, onDebian(kernels, of590));
    expect(rulesOf(asked)).toEqual(['kernel-report']);
    expect(asked.findings[0]?.suggestions.map(({ text }) => text)).toContain('kernel: {version: "6.19"}');
  });

  it('of the lock stays, with a limit too, unless it is refused', () => {
    const locked = (version: string): FitOffers => {
      const { kernels = [], ...rest } = onDebian(['6.19.5', '6.19.6', '6.19.9', '7.1.0'], {
        version: '590.48.01' as never,
      });
      return {
        ...rest,
        kernels: kernels.map((one) => (one.version === version ? { ...one, isLocked: true as const } : one)),
      };
    };
    const chosen = (version: string): string | undefined =>
      fitOf({ driver: '590' }, locked(version)).chosen?.kernel?.version;
    expect(['6.19.5', '7.1.0', '6.19.9', 'none'].map(chosen)).toEqual([
      '6.19.5',
      '7.1.0',
      '6.19.6',
      '6.19.6',
    ]);
    expect(rulesOf(fitOf({ driver: '590' }, locked('7.1.0')))).toContain('kernel-prepared');
  });

  it('a package of another version is not meant', () => {
    expect(rulesOf(fitOf(short, onDebian(['6.12.107'], { packageVersion: '550.163.01-5' })))).toEqual([
      'driver-end-of-life',
    ]);
  });

  it('that a build failed on are refused, up to the release that mends it', () => {
    expectRefused({ driver: '580.142', kernel: '7.1' }, 'kernel-report');
    expect(fitOf({ driver: '580', kernel: '7.1' }).chosen?.driver?.version).toBe('580.178.04');
  });

  it('newer than those a driver was prepared for are a warning', () => {
    expectWarning({ driver: '580.105.08', kernel: '6.17' }, ['kernel-prepared']);
    expectOk({ driver: '580.142', kernel: '7.0' });
  });

  it('older than a driver’s minimum are refused', () => {
    expectRefused({ driver: '580', kernel: '4.14' }, 'kernel-minimum');
  });

  it('fail for nvidia-fs too', () => {
    expectRefused({ driver: '580', kernel: '6.17', addons: ['nvidia-fs'] }, 'kernel-report');
  });
});

describe('wheels', () => {
  it('have no Blackwell in cu126', () => {
    const request = requestOf({
      gpus: ['rtx-5090'],
      driver: '580',
      cuda: '12.6',
      runtimes: ['pytorch@2.13'],
    });
    expect(judgeFit(request, BY_FACTS).verdict).toBe('refused');
    // CUDA 12.6 itself has no code generator for it, which is said first; the wheels refuse on their own too.
    const outcome = search(
      poseProblem(request, BY_FACTS),
      new Set(['cuda-architecture', 'runtime-architecture']),
    );
    expect(outcome.chosen).toBeUndefined();
    expect(outcome.judgements.map(({ rule }) => rule.id)).toContain('runtime-wheels');
  });

  it('have nothing below 7.5 in cu130', () => {
    const fit = fitOf({ gpus: ['v100'], driver: '580', runtimes: ['pytorch@2.13'] });
    expect({ verdict: fit.verdict, elements: fit.findings[0]?.elements }).toEqual({
      verdict: 'refused',
      elements: [
        { kind: 'gpu', index: 0 },
        { kind: 'runtime', index: 0 },
      ],
    });
    expectOk({ gpus: ['t4'], driver: '580', runtimes: ['pytorch@2.13'] });
  });

  it('lack 7.5 on arm64', () => {
    expectRefused(
      { architecture: 'arm64', gpus: ['t4'], driver: '580', runtimes: ['pytorch@2.13'] },
      'runtime-wheels',
    );
  });

  it('lack 8.6 on arm64, where kernels for 8.0 step in', () => {
    expectWarning({ architecture: 'arm64', gpus: ['a10'], driver: '580', runtimes: ['pytorch@2.13'] }, [
      'runtime-wheels',
    ]);
    expectOk({ gpus: ['a10'], driver: '580', runtimes: ['pytorch@2.13'] });
  });

  it('serve later GPUs of a major version: 8.9 by 8.6', () => {
    expectOk({ gpus: ['l4'], driver: '580', runtimes: ['pytorch@2.13'] });
  });
});

describe('runtimes', () => {
  it('vLLM 0.20 means CUDA 13, unless another is named', () => {
    expectRefused({ gpus: ['h100-pcie'], driver: '550', runtimes: ['vllm@0.20'] }, 'runtime-driver');
    expectRefused(
      { gpus: ['h100-pcie'], driver: '580', cuda: '11.8', runtimes: ['vllm@0.20'] },
      'runtime-cuda',
    );
    expectOk({ gpus: ['h100-pcie'], driver: '580', runtimes: ['vllm@0.20'] });
    expect(
      fitOf({ gpus: ['h100-pcie'], driver: '580', cuda: '12.9', runtimes: ['vllm@0.20'] }).chosen?.runtimes,
    ).toMatchObject([{ cuda: '12.9', isDefault: false }]);
  });

  it('left open, vLLM is the newest that the driver runs', () => {
    expect(
      fitOf({ gpus: ['h100-pcie'], driver: '575', runtimes: ['vllm'] }).chosen?.runtimes[0]?.version,
    ).toBe('0.19.1');
  });

  it('TGI is archived, and its successors are named', () => {
    const fit = fitOf({ gpus: ['h100-pcie'], driver: '580', runtimes: ['tgi'] });
    expect({ verdict: fit.verdict, rules: rulesOf(fit) }).toEqual({
      verdict: 'warning',
      rules: ['runtime-archived'],
    });
    expect(fit.findings[0]?.suggestions.map(({ text }) => text)).toEqual([
      'runtimes: vllm for tgi',
      'runtimes: sglang for tgi',
    ]);
  });

  it('have a lowest compute capability', () => {
    expectRefused(
      { gpus: ['v100'], driver: '580', cuda: '12.9', runtimes: ['sglang@0.5.14'] },
      'runtime-capability',
    );
  });

  it('may ask for a driver themselves', () => {
    expectRefused({ gpus: ['a10'], driver: '570', runtimes: ['triton@25.06'] }, 'runtime-asks-driver');
  });

  it('in containers need the container toolkit', () => {
    const offers: FitOffers = {
      runtimes: [
        {
          layer: 'vllm',
          runtime: 'vllm',
          version: '0.28.0' as never,
          cuda: '13.0' as never,
          selfContained: true,
        },
      ],
    };
    expectRefused({ gpus: ['a10'], driver: '580', runtimes: ['vllm'] }, 'container-toolkit', offers);
    expectOk({ gpus: ['a10'], driver: '580', runtimes: ['vllm'], addons: ['container-toolkit'] }, offers);
    // It brings its own CUDA, so the image may have another.
    expectOk(
      { gpus: ['a10'], driver: '580', cuda: '12.4', runtimes: ['vllm'], addons: ['container-toolkit'] },
      offers,
    );
  });
});

describe('KASLR with HMM', () => {
  const short = { gpus: ['rtx-pro-6000-server'], driver: '580', kernelArguments: [] };

  it('is a warning that names the module option', () => {
    const fit = fitOf(short);
    expect(rulesOf(fit)).toEqual(['known-issue']);
    expect(fit.findings[0]?.suggestions.map(({ text }) => text)).toEqual([`kernelArguments: add ${NO_HMM}`]);
  });

  it('is none with the option, nor without KASLR', () => {
    expectOk({ ...short, kernelArguments: [NO_HMM] });
    expectOk({ ...short, kernelArguments: ['nvidia-uvm.uvm_disable_hmm=1'] });
    expectOk({ ...short, kernelArguments: ['nokaslr'] });
  });
});

describe('vendors', () => {
  it('AMD’s GPUs need AMD’s driver', () => {
    expect(fitOf({ gpus: ['mi300x'], driver: 'auto', use: 'auto' }).chosen?.driver?.vendor).toBe('amd');
    expectRefused({ gpus: ['mi300x'], driver: 'auto' }, 'driver-vendor');
  });

  it('one image has one GPU driver', () => {
    expectRefused({ gpus: ['mi300x', 'h100-pcie'], driver: 'auto', use: 'auto' }, 'one-vendor');
  });

  it('CUDA is NVIDIA’s', () => {
    expectRefused({ gpus: ['mi300x'], driver: 'auto', use: 'auto', cuda: 'auto' }, 'cuda-vendor');
  });

  it('Grace’s GPUs need arm64', () => {
    expectRefused({ gpus: ['gh200'], driver: 'auto' }, 'gpu-cpu');
    // A family means those that the image's processor can carry.
    expect(fitOf({ gpus: ['hopper'], driver: 'auto', addons: ['fabric-manager'] }).verdict).toBe('ok');
  });
});

describe('weak facts', () => {
  it('warn, and never refuse alone', () => {
    // That compute capability 10.3 begins with CUDA 12.9 is known with low confidence.
    const fit = judgeFit(
      requestOf({ gpus: ['b300'], driver: '580', cuda: '12.8', addons: FABRIC }),
      BY_FACTS,
    );
    expect({ verdict: fit.verdict, rules: rulesOf(fit) }).toEqual({
      verdict: 'warning',
      rules: ['cuda-architecture'],
    });
  });
});
