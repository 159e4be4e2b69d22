import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { describe, expect, it } from 'vitest';

import { fullLock, rpmSoftware, softwareOf } from '../../test/support/bills.ts';
import { readSpdx } from '../../test/support/spdx-rules.ts';
import { compareBills } from './compare-bills.ts';

import { makeBill, type BillInput } from './make-bill.ts';
import { renderDocument } from './render-document.ts';
import { selectComponents } from './select-components.ts';

const TOOL = { name: 'ingot', version: '0.1.0' };
const lock = fullLock();
const software = softwareOf(lock);
const packages = lock.layers.flatMap((layer) => layer.packages);

const INPUTS: readonly (readonly [string, BillInput])[] = [
  ['lock and image', { lock, software }],
  ['a lock', { lock }],
  ['an image', { software }],
  ['an image of rpm packages', { software: rpmSoftware() }],
  ['an image without a package database', { software: { ...software, packages: undefined } }],
];

describe.each(INPUTS)('documents of %s', (_name, input) => {
  const bill = makeBill(input);

  it('hold to the schema of CycloneDX 1.6', async () => {
    const text = renderDocument(bill, 'cyclonedx', TOOL);
    expect(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text)).toBeNull();
  });

  it('hold to the rules of SPDX 2.3', () => {
    expect(readSpdx(renderDocument(bill, 'spdx', TOOL)).packages.length).toBeGreaterThan(0);
  });

  it('are the same bytes again', () => {
    for (const format of ['spdx', 'cyclonedx'] as const) {
      expect(renderDocument(makeBill(structuredClone(input)), format, TOOL)).toBe(
        renderDocument(bill, format, TOOL),
      );
    }
  });
});

interface CycloneDx {
  readonly serialNumber: string;
  readonly metadata: { readonly timestamp: string; readonly component: { readonly purl: string } };
  readonly components: readonly {
    readonly 'bom-ref': string;
    readonly type: string;
    readonly purl?: string;
    readonly scope?: string;
    readonly hashes?: readonly { readonly content: string }[];
    readonly properties: readonly { readonly name: string; readonly value: string }[];
  }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

it('the Node.js of the agent has a version of its own', () => {
  const versions = makeBill({ lock })
    .components.filter(({ kind }) => kind === 'agent-file')
    .map(({ name, version }) => [name, version]);
  expect(versions).toEqual([
    ['ingot.mjs', '0.1.0'],
    ['node', '24.0.0'],
  ]);
});

describe('a document', () => {
  const bill = makeBill({ lock, software });
  const cyclone = JSON.parse(renderDocument(bill, 'cyclonedx', TOOL)) as CycloneDx;
  const spdx = readSpdx(renderDocument(bill, 'spdx', TOOL));

  it('has every package with version and digest, in both formats', () => {
    const locked = packages.map(({ name, version, sha256 }) => `${name} ${version} ${sha256}`).sort();
    const ofSpdx = spdx.packages
      .filter((one) => one.primaryPackagePurpose === 'INSTALL')
      .map((one) => `${one.name} ${one.versionInfo ?? ''} ${one.checksums?.[0]?.checksumValue ?? ''}`);
    expect(ofSpdx.sort()).toEqual(locked);
    const purls = new Map(bill.components.map(({ id, purl }) => [id, purl]));
    for (const one of cyclone.components) expect(one.purl).toBe(purls.get(one['bom-ref']));
    expect(cyclone.components.filter(({ type }) => type === 'library').length).toBe(packages.length + 1);
  });

  it('tells what kernel modules were built from and with, and that the source is not in the image', () => {
    const modules = cyclone.components.find(({ type }) => type === 'device-driver');
    expect(modules?.properties).toEqual(
      expect.arrayContaining([
        { name: 'ingot:patch', value: `for-6.12 sha256:${'c'.repeat(64)}` },
        { name: 'ingot:built-with', value: `gcc-14 14.2.0-19 sha256:${'b'.repeat(64)}` },
        { name: 'ingot:kernel', value: lock.kernel.release },
      ]),
    );
    const source = cyclone.components.find(({ scope }) => scope === 'excluded');
    expect(source?.hashes?.[0]?.content).toBe('a'.repeat(64));
    const needs = cyclone.dependencies.find(({ ref }) => ref === modules?.['bom-ref']);
    expect(needs?.dependsOn).toEqual([source?.['bom-ref']]);
    const related = (type: string): string[] =>
      spdx.relationships
        .filter(({ relationshipType }) => relationshipType === type)
        .map((one) => one.relatedSpdxElement);
    const sourceId = spdx.packages.find((one) => one.primaryPackagePurpose === 'SOURCE')?.SPDXID;
    expect(related('GENERATED_FROM')).toEqual([sourceId]);
    expect(related('CONTAINS')).not.toContain(sourceId);
  });

  it('pins models by digest, and calls them what they are', () => {
    const model = cyclone.components.find(({ type }) => type === 'machine-learning-model');
    expect(model?.purl).toMatch(
      /^pkg:oci\/tiny@sha256%3A[0-9a-f]{64}\?repository_url=registry\.example\.com\/models\/tiny&tag=q4$/,
    );
  });

  it('pins containers by digest', () => {
    const container = cyclone.components.find(({ type }) => type === 'container');
    expect(container?.purl).toMatch(
      /^pkg:oci\/vllm-openai@sha256%3A[0-9a-f]{64}\?repository_url=docker\.io\/vllm\/vllm-openai&tag=v0\.20\.0$/,
    );
  });

  it('takes time and serial number from what it describes', () => {
    expect(cyclone.metadata.timestamp).toBe(lock.created.replace('Z', '.000Z'));
    const other = { ...lock, version: `${lock.version}.1` };
    const again = JSON.parse(
      renderDocument(makeBill({ lock: other, software }), 'cyclonedx', TOOL),
    ) as CycloneDx;
    expect(again.serialNumber).not.toBe(cyclone.serialNumber);
  });

  it('relates packages to what they need and layers to what they hold', () => {
    const named = new Map(spdx.packages.map(({ SPDXID, name }) => [SPDXID, name]));
    const pairs = new Set(
      spdx.relationships.map(
        (one) =>
          `${named.get(one.spdxElementId) ?? 'document'} ${one.relationshipType} ${named.get(one.relatedSpdxElement) ?? ''}`,
      ),
    );
    expect(pairs).toContain('bash DEPENDS_ON libc6');
    expect(pairs).toContain('layer base CONTAINS bash');
    expect(pairs).toContain(`${lock.name} CONTAINS layer base`);
    expect(pairs).toContain(`document DESCRIBES ${lock.name}`);
  });

  it('calls a vendor’s package the vendor’s', () => {
    const [base, ...others] = lock.layers;
    const [one, ...more] = base?.packages ?? [];
    if (base === undefined || one === undefined) throw new TypeError('a lock has packages');
    const foreign = {
      ...lock,
      archives: [
        ...lock.archives,
        { name: 'vendor', suites: ['/'], components: [], url: 'https://example.com/deb' },
      ],
      layers: [{ ...base, packages: [{ ...one, archive: 'vendor' }, ...more] }, ...others],
    };
    const found = makeBill({ lock: foreign }).components.find(({ id }) => id === `package/${one.name}`);
    expect(found?.purl).toMatch(/^pkg:deb\/vendor\/.*&repository_url=https:\/\/example\.com\/deb$/);
  });
});

describe('packages of rpm', () => {
  const bill = makeBill({ software: rpmSoftware() });

  it('are named as package URLs name them, each version by itself', () => {
    expect(bill.components.map(({ id, purl }) => [id, purl])).toEqual([
      ['package/bash', 'pkg:rpm/fedora/bash@5.2.37-1.fc42?arch=x86_64&distro=fedora-42&epoch=1'],
      ['package/kernel-core', 'pkg:rpm/fedora/kernel-core@6.14.0-1.fc42?arch=x86_64&distro=fedora-42'],
      [
        'package/kernel-core@6.15.0-1.fc42',
        'pkg:rpm/fedora/kernel-core@6.15.0-1.fc42?arch=x86_64&distro=fedora-42',
      ],
    ]);
  });

  it('are under the licences that are certain', () => {
    expect(bill.components.map(({ licence }) => licence?.expression)).toEqual([
      'GPL-3.0-or-later AND LicenseRef-Fedora-Public-Domain',
      undefined,
      undefined,
    ]);
  });
});

describe('questions', () => {
  const inBase = (name: string): boolean =>
    lock.layers[0]?.packages.some((one) => one.name === name) === true;
  const bill = makeBill({ lock, software });
  it.each([
    [{ package: 'libc6' }, ['libc6']],
    [{ package: 'LIBC6' }, ['libc6']],
    [
      { package: 'libc*', layer: 'base' },
      packages.map(({ name }) => name).filter((name) => name.startsWith('libc') && inBase(name)),
    ],
    [{ package: 'libc.' }, []],
    [{ licence: 'gpl-3*' }, []],
    [{ supplier: '*qa.debian.org', package: 'bash' }, ['bash']],
  ])('%j', (query, expected) => {
    expect(
      selectComponents(bill, query)
        .map(({ name }) => name)
        .sort(),
    ).toEqual([...expected].sort());
  });

  it('of licences know each that an expression names, and that none is told', () => {
    expect(selectComponents(bill, { licence: 'GPL-2.0-*' }).length).toBe(packages.length);
    expect(selectComponents(bill, { licence: 'mit' }).length).toBe(packages.length);
    expect(selectComponents(bill, { licence: 'NOASSERTION' }).map(({ kind }) => kind)).not.toContain(
      'package',
    );
  });
});

describe('a comparison', () => {
  it('finds nothing between a lock and its own image', () => {
    expect(compareBills(makeBill({ lock }), makeBill({ lock, software }))).toEqual({
      added: [],
      removed: [],
      changed: [],
    });
  });

  it('finds what came, went and changed', () => {
    const before = makeBill({ lock, software });
    const [first, second] = before.components;
    if (first === undefined || second === undefined) throw new TypeError('a bill has components');
    const after = {
      ...before,
      components: [
        { ...second, version: '2', licence: undefined },
        { ...first, id: 'package/new', name: 'new' },
      ],
    };
    const { added, removed, changed } = compareBills(before, after);
    expect(added.map(({ name }) => name)).toEqual(['new']);
    expect(removed.length).toBe(before.components.length - 1);
    expect(changed.map(({ changes }) => changes)).toEqual([
      [{ field: 'version', from: second.version, to: '2' }],
    ]);
  });
});
