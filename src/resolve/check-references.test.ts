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
    [`${HEAD}kernel: {flavour: rt}`, '3:19 unknown kernel "rt" (known: cloud, generic)', undefined],
    [`${HEAD}addons: [ssh, podman]`, '3:15 unknown addon "podman" (known: ssh)', undefined],
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
      '3:9 unknown kernel "b" (known: cloud, generic)',
      '4:10 unknown addon "c" (known: ssh)',
      '4:18 unknown addon "d" (known: ssh)',
    ]);
  });

  it('warns of keys that nothing takes', async () => {
    const users = `users:\n  - name: ada\n    sshKeys: [${SSH_KEY}]\n`;
    const [warning] = await check(HEAD + users);
    expect(warning).toMatchObject({ severity: 'warning', location: { line: 5, column: 5 } });
    expect(await check(`${HEAD}addons: [ssh]\n${users}`)).toEqual([]);
  });
});
