import { describe, expect, it } from 'vitest';

import { HEAD } from '../../test/support/complaints.ts';
import type { NodeImage } from './node-image.ts';
import { declarationDigest } from './normalise.ts';
import { parseSpec } from './parse.ts';

async function parse(text: string, variant?: string): Promise<NodeImage> {
  return (await parseSpec(HEAD + text, 'node.yaml', { variant })).image;
}

const DIGEST = `sha256:${'0a'.repeat(32)}`;

describe('GPUs, driver, CUDA and runtimes', () => {
  it.each([
    ['driver: auto', { driver: { use: 'auto', modules: 'auto' } }],
    ['driver: nvidia', { driver: { use: 'nvidia', modules: 'auto' } }],
    ['driver: nvidia@auto', { driver: { use: 'nvidia', modules: 'auto' } }],
    ['driver: nvidia@550', { driver: { use: 'nvidia', version: '550', modules: 'auto' } }],
    ['driver: amdgpu', { driver: { use: 'amdgpu', modules: 'auto' } }],
    [
      'driver: {use: nvidia, version: "550.163.01", modules: open}',
      { driver: { use: 'nvidia', version: '550.163.01', modules: 'open' } },
    ],
    ['cuda: auto', { cuda: { compat: false, toolkit: false } }],
    ['cuda: "12.4"', { cuda: { version: '12.4', compat: false, toolkit: false } }],
    ['cuda: {version: "13.0", compat: true}', { cuda: { version: '13.0', compat: true, toolkit: false } }],
    ['cuda: {toolkit: true}', { cuda: { compat: false, toolkit: true } }],
    [
      'gpus: [l4, {use: h100-sxm, mig: {1g.10gb: 2, 3g.40gb: 1}}, {use: a30}]',
      {
        gpus: ['l4', 'h100-sxm', 'a30'],
        mig: [{ gpu: 1, devices: { '1g.10gb': 2, '3g.40gb': 1 } }],
      },
    ],
    ['gpus: [h100-sxm, hopper, 10de:2330]', { gpus: ['h100-sxm', 'hopper', '10de:2330'] }],
    [
      `runtimes: [llama.cpp, vllm@0.20, {use: ollama, version: auto, features: [fp8]}, {use: sglang, digest: "${DIGEST}"}]`,
      {
        runtimes: [
          { use: 'llama.cpp' },
          { use: 'vllm', version: '0.20' },
          { use: 'ollama', features: ['fp8'] },
          { use: 'sglang', digest: DIGEST },
        ],
      },
    ],
  ])('%s', async (text, wanted) => {
    expect(await parse(text)).toMatchObject(wanted);
  });

  it('are not there when nothing is said of them, so that older locks hold', async () => {
    const image = await parse('');
    for (const key of ['gpus', 'mig', 'driver', 'cuda', 'runtimes']) expect(image).not.toHaveProperty(key);
    expect(declarationDigest(await parse('gpus: []\nruntimes: []'))).toBe(declarationDigest(image));
    expect(declarationDigest(image)).toBe(
      'sha256:f38549d093e732b0a47c74bfb3a3d7631772664dd10f9a1afcc9d1c0e0389517',
    );
  });

  it('of a variant replace the MIG layout of the same GPU', async () => {
    const text = `gpus: [{use: h100-sxm, mig: {1g.10gb: 7}}, l4]
variants:
  - {name: halves, gpus: [{use: h100-sxm, mig: {3g.40gb: 2}}]}
  - {name: whole, gpus: [h100-sxm]}
`;
    expect(await parse(text, 'halves')).toMatchObject({
      gpus: ['h100-sxm', 'l4'],
      mig: [{ gpu: 0, devices: { '3g.40gb': 2 } }],
    });
    expect(await parse(text, 'whole')).not.toHaveProperty('mig');
  });

  it('are replaced by a variant’s, runtimes by name', async () => {
    const text = `driver: nvidia@550
gpus: [l40s]
runtimes: [llama.cpp, vllm@0.19]
variants:
  - name: next
    gpus: [h100-sxm]
    driver: {use: nvidia, version: "580"}
    runtimes: [{use: vllm, version: "0.20"}]
`;
    expect(await parse(text, 'next')).toMatchObject({
      gpus: ['l40s', 'h100-sxm'],
      driver: { use: 'nvidia', version: '580' },
      runtimes: [{ use: 'llama.cpp' }, { use: 'vllm', version: '0.20' }],
    });
  });

  it('have places, also in their short forms', async () => {
    const { sources } = await parseSpec(
      `${HEAD}driver: nvidia@550\ncuda: {version: "12.4"}\nruntimes: [llama.cpp, {use: vllm, version: "0.20"}]\n`,
      'node.yaml',
    );
    expect(sources.at(['driver', 'version'])).toMatchObject({ line: 3, column: 9 });
    expect(sources.keyAt(['driver'])).toMatchObject({ line: 3, column: 1 });
    expect(sources.at(['cuda', 'version'])).toMatchObject({ line: 4, column: 17 });
    expect(sources.at(['runtimes', 0, 'use'])).toMatchObject({ line: 5, column: 12 });
    expect(sources.at(['runtimes', 1, 'version'])).toMatchObject({ line: 5, column: 44 });
  });
});
