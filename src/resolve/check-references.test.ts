import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

import { HEAD, show, SSH_KEY } from '../../test/support/complaints.ts';
import { loadCatalog, type LoadedCatalog } from '../catalog/load.ts';
import type { Finding } from '../errors.ts';
import { parseSpec } from '../spec/parse.ts';
import { checkReferences } from './check-references.ts';

let catalog: LoadedCatalog;

beforeAll(async () => {
  catalog = await loadCatalog([join(import.meta.dirname, '../../layers')]);
});

async function check(text: string): Promise<readonly Finding[]> {
  return checkReferences(await parseSpec(text, 'node.yaml'), catalog);
}

describe('checkReferences', () => {
  it('is content with what the catalogue has', async () => {
    expect(await check(`${HEAD}kernel: cloud\naddons: [ssh]\n`)).toEqual([]);
  });

  it.each([
    ['name: n\nbase: debain@13', '2:7 unknown base "debain"', ['debian']],
    ['name: n\nbase: debian@12', '2:7 unknown release of debian "12"', ['13', '14']],
    ['name: n\nbase: debian@3', '2:7 unknown release of debian "3"', ['13']],
    [
      'name: n\nbase: {use: debian, release: "99"}',
      '2:30 unknown release of debian "99" (known: 13, 14, sid)',
      undefined,
    ],
    [`${HEAD}kernel: clowd`, '3:9 unknown kernel "clowd"', ['cloud']],
    [
      `${HEAD}kernel: {flavour: rt}`,
      '3:19 unknown kernel "rt" (known: auto, cloud, generic, lts)',
      undefined,
    ],
    [`${HEAD}addons: [ssh, prodman]`, '3:15 unknown addon "prodman"', ['podman']],
    [`${HEAD}driver: nvdia@550`, '3:9 unknown driver "nvdia"', ['nvidia']],
    [
      `${HEAD}driver: nvidia@999`,
      '3:9 no layer has nvidia 999 on debian@13: there is 550.163.01, 580.178.04',
      ['550.163.01', '580.178.04'],
    ],
    [
      `${HEAD}driver: {use: nvidia, version: "1"}`,
      '3:32 no layer has nvidia 1 on debian@13',
      ['550.163.01', '580.178.04'],
    ],
    [`${HEAD}driver: {use: amdgpu, version: "6"}`, '3:32 amdgpu comes with the kernel', undefined],
    [`${HEAD}driver: {use: amdgpu, modules: open}`, '3:32 amdgpu has no open kernel modules', undefined],
    [`${HEAD}cuda: "11.8"`, '3:7 no layer has CUDA 11.8 on debian@13: there is 12.4', ['12.4', '13.0']],
    [
      `${HEAD}cuda: {compat: true}`,
      '3:16 no layer has compatibility libraries for CUDA 12.4 on debian@13',
      ['13.0'],
    ],
    [`${HEAD}runtimes: [lama.cpp]`, '3:12 unknown runtime "lama.cpp"', ['llama.cpp']],
    [
      `${HEAD}runtimes: [llama.cpp]`,
      '3:12 no layer has llama.cpp on debian@13: nothing of it is there; it is on debian@14, debian@sid',
      undefined,
    ],
    [
      `${HEAD}driver: amdgpu\nruntimes: [pytorch-cuda]`,
      '3:9 the image needs the driver nvidia, and declares amdgpu',
      undefined,
    ],
  ])('%s', async (text, wanted, suggestions) => {
    const [finding, ...more] = await check(text);
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ code: 'SPEC_INVALID', severity: 'error' });
    expect(finding === undefined ? '' : show(finding)).toContain(wanted);
    expect(finding?.suggestions).toEqual(suggestions);
  });

  it('finds all of them at once', async () => {
    expect((await check('name: n\nbase: a@1\nkernel: b\naddons: [c, ssh, d]\n')).map(show)).toEqual([
      '2:7 unknown base "a" (known: debian)',
      '3:9 unknown kernel "b" (known: auto, cloud, generic, lts)',
      expect.stringMatching(/^4:10 unknown addon "c" \(known: .*ssh\)$/),
      expect.stringMatching(/^4:18 unknown addon "d" \(known: .*ssh\)$/),
    ]);
  });

  it('warns of keys that nothing takes', async () => {
    const users = `users:\n  - name: ada\n    sshKeys: [${SSH_KEY}]\n`;
    const [warning] = await check(HEAD + users);
    expect(warning).toMatchObject({ severity: 'warning', location: { line: 5, column: 5 } });
    expect(await check(`${HEAD}addons: [ssh]\n${users}`)).toEqual([]);
  });
});
