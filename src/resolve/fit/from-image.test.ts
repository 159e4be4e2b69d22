import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { FACTS, NOW, rulesOf } from '../../../test/support/fit.ts';
import { loadCatalog } from '../../catalog/load.ts';
import type { KernelImage } from '../../packages/kernels.ts';
import { loadSpec } from '../../spec/load.ts';
import type { NodeImage } from '../../spec/node-image.ts';
import { parseSpec } from '../../spec/parse.ts';
import { choose } from '../choose.ts';
import type { Lock } from '../lock.ts';
import { judgeFit, type Fit } from './fit.ts';
import { offersOfIndex } from './from-index.ts';
import { offersOfLock, requestOfLock } from './from-lock.ts';
import { asksForAccelerators, offersOf, requestOf, settle } from './from-image.ts';
import { kernelsOn } from './kernel-candidates.ts';
import type { FitOffers } from './request.ts';

const PRODUCT = join(import.meta.dirname, '../../..');
const catalog = await loadCatalog([join(PRODUCT, 'layers')], { onOverride: () => undefined });

async function parse(text: string): Promise<NodeImage> {
  return (await parseSpec(`name: node\nbase: debian@13\n${text}`, 'node.yaml', {})).image;
}

function judge(image: NodeImage): Fit {
  return judgeFit(requestOf(image, catalog), { facts: FACTS, now: NOW, offers: offersOf(image, catalog) });
}

const images = readdirSync(join(PRODUCT, 'images')).filter((name) => /^[\w-]+\.yaml$/.test(name));

describe.each(images)('%s', (name) => {
  it('fits, and what is chosen for it answers it', async () => {
    const { image } = await loadSpec(join(PRODUCT, 'images', name), { cwd: PRODUCT });
    if (!asksForAccelerators(image)) return;
    const { verdict, chosen } = judge(image);
    expect(verdict).not.toBe('refused');
    if (chosen === undefined) throw new TypeError('nothing was chosen');
    const { choice, problems } = choose(settle(image, chosen), catalog);
    expect(problems).toEqual([]);
    expect(choice.driver?.layer.definition.name).toBe(chosen.driver?.offer?.layer);
    expect(choice.driver?.offer?.version).toBe(chosen.driver?.version);
    expect(choice.runtimes.map(({ layer }) => layer.definition.name)).toEqual(
      chosen.runtimes.map(({ layer }) => layer),
    );
  });
});

describe('a request', () => {
  it('is the declaration in other words', async () => {
    const image = await parse(
      'gpus: [a30]\nkernel: {flavour: cloud, version: "6.12"}\ndriver: {use: nvidia, version: "550", modules: open}\n' +
        'cuda: {version: "12.4", toolkit: true}\nruntimes: [pytorch@2.6]\naddons: [ssh]\n' +
        'kernelArguments: [nokaslr]\nfiles:\n  - {path: /etc/modprobe.d/uvm.conf, content: "options nvidia-uvm uvm_disable_hmm=1\\n"}\n',
    );
    expect(requestOf(image, catalog)).toEqual({
      architecture: 'amd64',
      distribution: 'debian@13',
      gpus: ['a30'],
      kernel: { flavour: 'cloud', version: '6.12' },
      driver: { use: 'nvidia', version: '550', modules: 'open' },
      cuda: { version: '12.4', compat: false, toolkit: true },
      runtimes: [{ use: 'pytorch', version: '2.6' }],
      addons: ['ssh'],
      kernelArguments: ['nokaslr', 'nvidia-uvm.uvm_disable_hmm=1'],
      mig: [],
    });
  });

  it('has the driver and the CUDA that a runtime brings along', async () => {
    const image = await parse('gpus: [a30]\nruntimes: [pytorch]\n');
    expect(requestOf(image, catalog)).toMatchObject({
      driver: { use: 'auto', modules: 'auto' },
      cuda: { compat: false },
    });
    // There is a newer CUDA, which PyTorch is not built for.
    expect(judge(image).chosen).toMatchObject({
      cuda: { version: '12.4' },
      runtimes: [{ layer: 'pytorch-cuda' }],
    });
  });

  it('for the CPU has neither', async () => {
    const image = await parse('runtimes: [pytorch]\n');
    const request = requestOf(image, catalog);
    expect([request.driver, request.cuda]).toEqual([undefined, undefined]);
    expect(judge(image)).toMatchObject({ verdict: 'ok', chosen: { runtimes: [{ layer: 'pytorch-cpu' }] } });
  });

  it('by the facts alone calls a layer by what it provides', async () => {
    const image = await parse('gpus: [a30]\ndriver: auto\nruntimes: [pytorch-cuda]\n');
    expect(requestOf(image, catalog, FACTS).runtimes).toEqual([{ use: 'pytorch' }]);
  });
});

describe('the kernel layers', () => {
  it('are refused for what the cloud kernel lacks, by the name of the layer', async () => {
    const { verdict, findings } = judge(await parse('kernel: cloud\ngpus: [mi300x]\ndriver: auto\n'));
    expect(verdict).toBe('refused');
    expect(findings.map(({ rule }) => rule)).toEqual(['kernel-module']);
    expect(findings[0]?.message).toContain('amdgpu, which the layer kernel/cloud lacks');
    expect(findings[0]?.suggestions.map(({ text }) => text)).toContain('kernel: generic');
    expect(judge(await parse('kernel: generic\ngpus: [mi300x]\ndriver: auto\n')).verdict).toBe('ok');
  });

  it('have the InfiniBand modules of an NVLink fabric, the cloud kernel too', async () => {
    const { findings } = judge(await parse('kernel: cloud\ngpus: [b200]\n'));
    expect(findings.map(({ rule }) => rule)).not.toContain('fabric-kernel-modules');
  });
});

describe('GPUs whose last driver is past its end of life', () => {
  it.each(['auto', 'nvidia'])('are told of it, and of nothing else, with driver: %s', async (driver) => {
    const { verdict, findings } = judge(
      await parse(`gpus: [v100-sxm2-32gb]\ndriver: ${driver}\ncuda: '12.4'\naddons: [persistenced]\n`),
    );
    expect(verdict).toBe('refused');
    expect(findings.map(({ rule }) => rule)).toEqual(['driver-end-of-life']);
    expect(findings[0]?.message).toContain('550.163.01 would fit');
    expect(findings[0]?.suggestions.map(({ text }) => text)).toContain('driver: nvidia@550');
  });
});

describe('boards with switches', () => {
  it('have a fabric manager for each driver there is', async () => {
    for (const [gpu, asked, version] of [
      ['b200', 'nvidia', '580.178.04'],
      ['h100-sxm', 'nvidia@580', '580.178.04'],
      ['h100-sxm', 'nvidia@550', '550.163.01'],
    ]) {
      const image = await parse(
        `gpus: [${gpu ?? ''}]\ndriver: ${asked ?? ''}\ncuda: auto\naddons: [fabric-manager, nvlsm]\n`,
      );
      const { verdict, chosen } = judge(image);
      expect(verdict).not.toBe('refused');
      if (chosen === undefined) throw new TypeError('nothing was chosen');
      expect(chosen.driver?.version).toBe(version);
      const { choice, problems } = choose(settle(image, chosen), catalog);
      expect(problems).toEqual([]);
      const manager = choice.addons.find(({ layer }) => layer.definition.name === 'fabric-manager');
      expect(manager?.offer?.version).toBe(version);
    }
  });
});

describe('the first thing that is said', () => {
  it.each(['[v100, b200]', '[b200, v100]'])(
    'of %s is that they cannot be together, not what one of them lacks',
    async (gpus) => {
      const { findings } = judge(await parse(`gpus: ${gpus}\ndriver: nvidia\n`));
      const rules = findings.map(({ rule }) => rule);
      expect(rules[0]).toBe('modules-mixed');
      expect(rules.at(-1)).toBe('fabric-components');
    },
  );

  it('of a runtime of another vendor’s is the runtime, and nothing of what it needs', async () => {
    const { findings } = judge(await parse('gpus: [mi300x]\ndriver: amdgpu\nruntimes: [vllm]\n'));
    expect(findings.map(({ message }) => message)).toEqual([
      expect.stringContaining('the runtime vllm requires vendor: nvidia'),
    ]);
  });

  it('of an addon of another vendor’s that was asked for is that addon', async () => {
    const { findings } = judge(
      await parse('gpus: [mi300x]\ndriver: amdgpu\nruntimes: [vllm]\naddons: [container-toolkit]\n'),
    );
    expect(findings.map(({ message }) => message)).toContainEqual(
      expect.stringContaining('the addon container-toolkit requires vendor: nvidia'),
    );
  });
});

describe('the kernel on sid', () => {
  const DRIVER = 'gpus: [l4]\ndriver: {use: nvidia, modules: open}\n';

  function imageOf(version: string): KernelImage {
    return { name: `linux-image-${version}-amd64`, version: `${version}-1`, metapackage: { name: 'x' } };
  }

  async function onSid(text: string, ...layers: string[]): Promise<{ fit: Fit; offers: FitOffers }> {
    const image = (await parseSpec(`name: node\nbase: debian@sid\n${text}`, 'node.yaml', {})).image;
    const kernels = new Map(
      layers.map((layer) => [
        layer,
        (layer === 'lts' ? ['6.12.117', '6.12.94'] : ['7.2.13']).map((version) => imageOf(version)),
      ]),
    );
    const sources = new Map([['nvidia-open 550.163.01', '550.163.01-4']]);
    const offers = offersOfIndex(offersOf(image, catalog), { kernels, sources, locked: undefined });
    return { fit: judgeFit(requestOf(image, catalog), { facts: FACTS, now: NOW, offers }), offers };
  }

  it('is that of the stable release where it is left open and the driver fails on the newest', async () => {
    const { fit } = await onSid(`kernel: auto\n${DRIVER}`, 'cloud', 'generic', 'lts');
    expect(fit.chosen?.kernel).toMatchObject({ layer: 'lts', version: '6.12.117' });
    expect(fit.findings.map(({ rule }) => rule)).toContain('kernel-report');
  });

  it('is refused where it is named, and the one that does is suggested', async () => {
    const { fit } = await onSid(`kernel: generic\n${DRIVER}`, 'cloud', 'generic', 'lts');
    expect(fit.verdict).toBe('refused');
    const [finding] = fit.findings.filter(({ rule }) => rule === 'kernel-report');
    expect(finding?.message).toContain('driver 550.163.01-4 does not build on Linux 7.2.13');
    expect(finding?.suggestions.map(({ text }) => text)).toContain('kernel: lts');
  });

  it('is the newest with all drivers where no driver stands against it', async () => {
    const { offers } = await onSid('kernel: auto\n', 'cloud', 'generic', 'lts');
    const found = kernelsOn(offers.kernels ?? [], { flavour: 'auto' });
    expect(found.map(({ layer, version }) => `${layer ?? ''} ${version}`)).toEqual([
      'generic 7.2.13',
      'lts 6.12.117',
      'lts 6.12.94',
    ]);
  });
});

describe('a lock', () => {
  interface Parts {
    readonly modules?: string;
    readonly firmware?: string;
    readonly libraries?: string;
  }

  async function judged(kernel: string, packageVersion: string, parts: Parts = {}): Promise<Fit> {
    const image = await parse(
      'gpus: [a30]\ndriver: {use: nvidia, version: "550", modules: open}\nkernelArguments: [nokaslr]\n',
    );
    const lock = {
      kernel: { flavour: 'generic', package: 'linux-image', version: kernel, release: '' },
      driver: { name: 'nvidia', layer: 'driver-nvidia-open', version: '550.163.01', package: packageVersion },
      modules: [{ layer: 'driver-nvidia-open', source: { version: parts.modules ?? packageVersion } }],
      layers: [
        {
          name: 'driver-nvidia-open',
          packages: [
            { name: 'libcuda1', version: parts.libraries ?? packageVersion },
            { name: 'firmware-nvidia-gsp', version: parts.firmware ?? packageVersion },
          ],
        },
      ],
    } as unknown as Lock;
    const offers = offersOfLock(offersOf(image, catalog), lock);
    return judgeFit(requestOfLock(requestOf(image, catalog), lock), { facts: FACTS, now: NOW, offers });
  }

  it.each([
    [{ modules: '550.144.03-1' }, 'modules 550.144.03'],
    [{ firmware: '550.163-1' }, 'firmware 550.163'],
    [{ libraries: '1:550.163.02-1' }, 'libraries 550.163.02'],
  ])('is refused when the driver’s parts are of two releases: %j', async (parts, wanted) => {
    const { verdict, findings } = await judged('6.12.94-1', '550.163.01-2', parts);
    expect(verdict).toBe('refused');
    expect(findings.map(({ rule }) => rule)).toEqual(['one-version']);
    expect(findings[0]?.message).toContain(`the driver is 550.163.01 and its ${wanted}`);
  });

  it('has parts of one release with revisions of their own', async () => {
    const parts = { modules: '550.163.01-3', firmware: '1:550.163.01-1+b1', libraries: '550.163.01-2' };
    expect((await judged('6.12.94-1', '550.163.01-2', parts)).verdict).not.toBe('refused');
  });

  it('knows the very kernel and the very package: Debian’s pairs', async () => {
    expect(rulesOf(await judged('6.12.94-1', '550.163.01-2'))).toEqual(['driver-end-of-life']);
    expect(rulesOf(await judged('6.12.117-1', '550.163.01-2'))).toEqual([
      'driver-end-of-life',
      'kernel-report',
    ]);
    expect(rulesOf(await judged('6.12.117-1', '550.163.01-5'))).toEqual(['driver-end-of-life']);
  });
});

describe('the choice', () => {
  it('of a driver goes by the GPUs', async () => {
    const image = await parse('gpus: [mi300x]\ndriver: auto\n');
    const { chosen } = judge(image);
    if (chosen === undefined) throw new TypeError('nothing was chosen');
    expect(settle(image, chosen).driver).toEqual({ use: 'amdgpu', modules: 'auto' });
    expect(choose(settle(image, chosen), catalog).choice.driver?.layer.definition.name).toBe('amdgpu');
  });

  it('leaves an image without accelerators alone', async () => {
    expect(asksForAccelerators(await parse('addons: [ssh]\n'))).toBe(false);
  });
});
