import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { imageOf } from '../../test/support/resolve.ts';
import { loadCatalog, type LoadedCatalog } from '../catalog/load.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { choose, type ChoiceResult } from './choose.ts';
import { layersOf } from './layers.ts';

let catalog: LoadedCatalog;

beforeAll(async () => {
  catalog = await loadCatalog([join(import.meta.dirname, '../../layers')]);
});

const SID = { name: 'debian', release: 'sid' };
const NVIDIA = { use: 'nvidia', modules: 'auto' } as const;
const CUDA = { compat: false, toolkit: false };

/** Names of the chosen layers, with the versions that they have. */
function chosen(image: Partial<NodeImage>): string[] {
  const { choice, problems } = choose(imageOf(image), catalog);
  expect(problems).toEqual([]);
  const { driver, cuda, runtimes, addons } = choice;
  return [...(driver === undefined ? [] : [driver]), ...cuda, ...runtimes, ...addons].map(
    ({ layer, offer }) => `${layer.definition.name}${offer === undefined ? '' : `@${offer.version}`}`,
  );
}

function problem(image: Partial<NodeImage>): ChoiceResult['problems'][0] | undefined {
  const { problems } = choose(imageOf(image), catalog);
  expect(problems).toHaveLength(1);
  return problems[0];
}

describe('choose', () => {
  it('leaves alone what asks for nothing', () => {
    expect(chosen({})).toEqual([]);
    expect(chosen({ addons: ['ssh', 'chrony'] })).toEqual([]);
  });

  it.each<[string, Partial<NodeImage>, string[]]>([
    ['the open modules first', { driver: NVIDIA }, ['nvidia-open@550.163.01']],
    [
      'the modules that are asked for',
      { driver: { ...NVIDIA, modules: 'proprietary' } },
      ['nvidia-proprietary@550.163.01'],
    ],
    [
      'a layer by its own name',
      { driver: { ...NVIDIA, use: 'nvidia-proprietary' } },
      ['nvidia-proprietary@550.163.01'],
    ],
    ['a branch', { driver: { ...NVIDIA, version: '550' } }, ['nvidia-open@550.163.01']],
    ['a driver that comes with the kernel', { driver: { ...NVIDIA, use: 'amdgpu' } }, ['amdgpu']],
    ['a driver with CUDA', { cuda: CUDA }, ['nvidia-open@550.163.01', 'runtime@12.4']],
    [
      'the compiler with CUDA',
      { cuda: { ...CUDA, version: '12', toolkit: true } },
      ['nvidia-open@550.163.01', 'runtime@12.4', 'full@12.4'],
    ],
    ['llama.cpp without a GPU', { base: SID, runtimes: [{ use: 'llama.cpp' }] }, ['llama.cpp-cpu@0.7']],
    [
      'llama.cpp for the GPU that is declared',
      { base: SID, gpus: ['l40s'], runtimes: [{ use: 'llama.cpp' }] },
      ['nvidia-open@550.163.01', 'runtime@12.4', 'llama.cpp-cuda@0.7'],
    ],
    [
      'llama.cpp without CUDA beside another driver',
      { base: SID, driver: { ...NVIDIA, use: 'intel' }, runtimes: [{ use: 'llama.cpp' }] },
      ['intel', 'llama.cpp-cpu@0.7'],
    ],
    [
      'what a runtime named by its layer needs',
      { runtimes: [{ use: 'pytorch-cuda' }] },
      ['nvidia-open@550.163.01', 'runtime@12.4', 'pytorch-cuda@2.6'],
    ],
    [
      'what an addon needs',
      { addons: ['persistenced'] },
      ['nvidia-open@550.163.01', 'persistenced@550.163.01'],
    ],
  ])('takes %s', (_what, image, wanted) => {
    expect(chosen(image)).toEqual(wanted);
  });

  it('has a container pinned by the declaration, where the catalogue has no digest', () => {
    const use = 'vllm';
    const { path, message } = problem({ gpus: ['h100-sxm'], driver: NVIDIA, runtimes: [{ use }] }) ?? {};
    expect(path).toEqual(['runtimes', 0]);
    expect(message).toMatch(
      /^vllm is the container docker\.io\/vllm\/vllm-openai, .*: add `version` \(0\.28\.0, .*\) and its `digest`$/,
    );
  });

  it('refuses a digest where it is open which release it is of', () => {
    const digest = `sha256:${'0'.repeat(64)}` as NonNullable<NodeImage['runtimes']>[0]['digest'] & string;
    const asked = (runtime: object): ChoiceResult['problems'] =>
      choose(
        imageOf({ gpus: ['h100-sxm'], driver: NVIDIA, runtimes: [{ use: 'vllm', digest, ...runtime }] }),
        catalog,
      ).problems;
    const [open, ...others] = asked({});
    expect(others).toEqual([]);
    expect(open?.path).toEqual(['runtimes', 0, 'digest']);
    expect(open?.message).toMatch(
      /^a digest is of one release of vllm: add its `version` \(0\.28\.0, 0\.20\.2, .*\)$/,
    );
    expect(asked({ version: '0' })).toMatchObject([{ path: ['runtimes', 0, 'digest'] }]);
    expect(asked({ version: '0.20.2' })).toEqual([]);
    expect(asked({ version: '0.20' })).toEqual([]);
    // There is just one of it.
    expect(asked({ use: 'ollama' })).toEqual([]);
  });

  it('refuses a digest of what is no container', () => {
    const digest = `sha256:${'0'.repeat(64)}` as NonNullable<NodeImage['runtimes']>[0]['digest'] & string;
    expect(problem({ runtimes: [{ use: 'onnxruntime', digest }] })?.path).toEqual(['runtimes', 0, 'digest']);
  });

  it('answers any declaration, twice the same, with layers that stack or with problems that say where', () => {
    const word = fc.constantFrom('auto', 'nvidia', 'nvidia-open', 'amdgpu', 'intel', 'full', 'vllm', 'x');
    const version = fc.constantFrom('550', '12.4', '12', '0.7', '13.0', '9');
    const image = fc.record(
      {
        base: fc.constantFrom('13', '14', 'sid').map((release) => ({ name: 'debian', release })),
        gpus: fc.constant(['l40s']),
        driver: fc.record(
          {
            use: word,
            version,
            modules: fc.constantFrom('open' as const, 'proprietary' as const, 'auto' as const),
          },
          { requiredKeys: ['use', 'modules'] },
        ),
        cuda: fc.record(
          { version, compat: fc.boolean(), toolkit: fc.boolean() },
          { requiredKeys: ['compat', 'toolkit'] },
        ),
        runtimes: fc.uniqueArray(
          fc
            .constantFrom('llama.cpp', 'llama.cpp-cuda', 'pytorch', 'onnxruntime', 'vllm', 'x')
            .map((use) => ({ use })),
          { maxLength: 3, selector: ({ use }) => use },
        ),
        addons: fc.subarray(['ssh', 'persistenced', 'nvidia-fs', 'podman']),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(image, (parts) => {
        const node = imageOf(parts);
        const result = choose(node, catalog);
        expect(choose(node, catalog)).toEqual(result);
        if (result.problems.length > 0) {
          for (const { path, message } of result.problems) {
            expect(path.length).toBeGreaterThan(0);
            expect(message).not.toBe('');
          }
          return;
        }
        const names = layersOf(node, catalog, result.choice).map(({ name }) => name);
        expect(new Set(names).size).toBe(names.length);
        for (const layer of layersOf(node, catalog, result.choice)) {
          const under = layer.below.map((name) => names.indexOf(name));
          expect(under.every((index) => index >= 0 && index < names.indexOf(layer.name))).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
