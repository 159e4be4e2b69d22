/** Bills of materials beside images in a registry: put there by push, and found again. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { type Digest, digestOf, hexOf } from '../../src/digest.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { run, type RunResult } from '../../src/proc/run.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { packLayer, writeSmallImage, writeTree } from '../support/small-image.ts';
import { sidTools } from '../support/sid-tools.ts';
import { readSpdx } from '../support/spdx-rules.ts';

const TYPES = ['application/spdx+json', 'application/vnd.cyclonedx+json'];

let folder: string;
let registry: TestRegistry;
let amd64: string;
let arm64: string;
let env: Record<string, string>;

async function image(name: string, architecture: string): Promise<string> {
  const base = await packLayer(folder, 'base', (tree) =>
    writeTree(tree, {
      'usr/lib/os-release': 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n',
      'usr/lib/sysimage/dpkg/status': [
        'Package: hello\nStatus: install ok installed\nVersion: 1:2.10-3+b1\nSource: hello-src (2.10-3)',
        `Architecture: ${architecture}\nMaintainer: A Team <team@lists.example.org>\nDepends: greeting`,
        '',
        'Package: salute\nStatus: install ok installed\nVersion: 1\nProvides: greeting\nArchitecture: all',
        '',
        'Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n',
      ].join('\n'),
      'usr/share/doc/hello/copyright':
        'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: x\nLicense: GPL-3+\n',
      'usr/share/doc/salute/copyright': 'It is free.\n',
    }),
  );
  return writeSmallImage(join(folder, name), [base], {}, { os: 'linux', architecture });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ingot sbom-'));
  registry = await startRegistry();
  env = { INGOT_STORE: join(folder, 'store') };
  amd64 = await image('amd64', 'amd64');
  arm64 = await image('arm64', 'arm64');
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const insecure = (): string[] => ['--insecure', registry.host];
const both = ['--sbom', 'spdx', '--sbom', 'cyclonedx'];

interface Pushed {
  readonly images: readonly { readonly digest: string; readonly referrers: readonly string[] }[];
  readonly sboms: readonly { readonly digest: string; readonly artifactType: string }[];
}
const push = (from: string, ref: string, ...more: string[]): Promise<Pushed> =>
  ingotJson(['push', from, ref, ...more, ...insecure()], { env }) as unknown as Promise<Pushed>;
const typesAt = async (ref: string): Promise<string[]> => {
  const { referrers } = await ingotJson(['inspect', ref, ...insecure()], { env });
  return (referrers as { artifactType: string }[]).map(({ artifactType }) => artifactType).sort();
};

it('are what `sbom` prints, are there once, and travel with the image', async () => {
  const ref = `${registry.host}/ai/node:1`;
  const { sboms } = await push(amd64, ref, ...both);
  expect(sboms.map(({ artifactType }) => artifactType)).toEqual(TYPES);
  expect(await typesAt(ref)).toEqual(TYPES);
  expect((await push(amd64, ref, ...both)).sboms).toEqual(sboms);
  expect(await typesAt(ref)).toEqual(TYPES);

  const made = await ingot(['sbom', amd64, '--format', 'spdx'], { env });
  const attached = await ingot(['sbom', ref, '--format', 'spdx', '--attached', ...insecure()], { env });
  expect(attached.stdout).toBe(made.stdout);
  const spdx = readSpdx(attached.stdout);
  const hello = spdx.packages.find(({ name }) => name === 'hello');
  expect(hello).toMatchObject({
    versionInfo: '1:2.10-3+b1',
    supplier: 'Organization: A Team (team@lists.example.org)',
    sourceInfo: 'built from the source package hello-src 2.10-3',
    licenseDeclared: 'GPL-3.0-or-later',
    externalRefs: [{ referenceLocator: 'pkg:deb/debian/hello@1:2.10-3%2Bb1?arch=amd64&distro=trixie' }],
  });
  const salute = spdx.packages.find(({ name }) => name === 'salute');
  expect(salute?.licenseDeclared).toBe('NOASSERTION');
  expect(spdx.packages.map(({ name }) => name)).not.toContain('gone');
  expect(spdx.relationships).toContainEqual({
    spdxElementId: hello?.SPDXID,
    relationshipType: 'DEPENDS_ON', // by what the other provides
    relatedSpdxElement: salute?.SPDXID,
  });

  const second = `${registry.host}/ai/second:1`;
  await ingotJson(['copy', ref, second, ...insecure()], { env });
  expect(await typesAt(second)).toEqual(TYPES);
  await ingotJson(['pull', ref, '--output', join(folder, 'pulled'), ...insecure()], { env });
  const file = join(folder, 'out.json');
  const layout = `oci:${join(folder, 'pulled')}:1`;
  await ingotJson(['sbom', layout, '--format', 'spdx', '--attached', '--output', file], { env });
  expect(readFileSync(file, 'utf8')).toBe(`${made.stdout}\n`);
});

it('are found by oras, and come along with what it copies', async () => {
  const tools = await sidTools(['oras']);
  const oras = (...args: string[]): Promise<RunResult> =>
    run(tools.argv('oras', ...args), { env: { HOME: folder } });
  const ref = `${registry.host}/ai/for-oras:1`;
  await push(amd64, ref, ...both);
  const { stdout } = await oras('discover', '--plain-http', '--format', 'json', ref);
  const { referrers } = JSON.parse(stdout) as {
    readonly referrers: readonly { readonly artifactType: string }[];
  };
  expect(referrers.map(({ artifactType }) => artifactType).sort()).toEqual(TYPES);

  const layout = join(folder, 'by-oras');
  await oras('copy', '--no-tty', '--recursive', '--from-plain-http', ref, '--to-oci-layout', `${layout}:1`);
  const again = `${registry.host}/ai/from-oras:1`;
  await oras('copy', '--no-tty', '--recursive', '--from-oci-layout', `${layout}:1`, '--to-plain-http', again);
  const pulled = join(folder, 'from-oras');
  await ingotJson(['pull', again, '--output', pulled, ...insecure()], { env });
  const attached = await ingot(['sbom', `oci:${pulled}:1`, '--format', 'spdx', '--attached'], { env });
  const made = await ingot(['sbom', amd64, '--format', 'spdx'], { env });
  expect(attached.stdout).toBe(made.stdout);
});

it('are of each image of an index', async () => {
  const layout = `oci:${join(folder, 'index')}:1`;
  await ingotJson(['index', layout, amd64, arm64], { env });
  const ref = `${registry.host}/ai/both:1`;
  const { sboms } = await push(layout, ref, '--sbom', 'spdx');
  expect(new Set(sboms.map(({ digest }) => digest)).size).toBe(2);
  const { manifests } = await ingotJson(['inspect', ref, ...insecure()], { env });
  for (const { digest } of manifests as { digest: string }[]) {
    expect(await typesAt(`${registry.host}/ai/both@${digest}`)).toEqual(['application/spdx+json']);
  }
});

it('are of images alone where a builder put more into an index', async () => {
  const layout = join(folder, 'attested');
  await ingotJson(['index', `oci:${layout}:1`, amd64, arm64], { env });
  // As BuildKit does it (https://docs.docker.com/build/metadata/attestations/attestation-storage/).
  const put = (value: object): { readonly digest: string; readonly size: number } => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = digestOf(bytes);
    writeFileSync(join(layout, 'blobs/sha256', hexOf(digest)), bytes);
    return { digest, size: bytes.length };
  };
  const read = (path: string): { manifests: object[] } =>
    JSON.parse(readFileSync(join(layout, path), 'utf8')) as never;
  const names = read('index.json') as { manifests: { digest: Digest; size: number }[] };
  const [named] = names.manifests;
  if (named === undefined) throw new TypeError('the layout has a name');
  const index = read(`blobs/sha256/${hexOf(named.digest)}`);
  const [mediaType, predicate] = ['application/vnd.in-toto+json', 'https://slsa.dev/provenance/v1'];
  const statement = { _type: 'https://in-toto.io/Statement/v1', predicateType: predicate, subject: [] };
  const config = { architecture: 'unknown', os: 'unknown', config: {}, rootfs: { type: 'layers' } };
  const attestation = put({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...put(config) },
    layers: [{ mediaType, ...put(statement), annotations: { 'in-toto.io/predicate-type': predicate } }],
  });
  index.manifests.push({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    ...attestation,
    platform: { architecture: 'unknown', os: 'unknown' },
    annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
  });
  Object.assign(named, put(index));
  writeFileSync(join(layout, 'index.json'), JSON.stringify(names));

  const ref = `${registry.host}/ai/attested:1`;
  const { sboms } = await push(`oci:${layout}:1`, ref, '--sbom', 'spdx');
  expect(sboms).toHaveLength(2);

  Object.assign(named, { mediaType: 'application/vnd.oci.image.manifest.v1+json', ...attestation });
  writeFileSync(join(layout, 'index.json'), JSON.stringify(names));
  const alone = await ingot(['push', `oci:${layout}:1`, ref, '--sbom', 'spdx', ...insecure()], { env });
  expect([alone.exitCode, alone.stderr]).toEqual([1, expect.stringContaining('IMAGE_INVALID')]);
  expect(alone.stderr).toContain('no image that packages could be in');
});

it('say when there is none', async () => {
  const ref = `${registry.host}/ai/plain:1`;
  await push(amd64, ref);
  expect(await typesAt(ref)).toEqual([]);
  const { exitCode, stderr } = await ingot(['sbom', ref, '--format', 'spdx', '--attached', ...insecure()], {
    env,
  });
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('NOT_FOUND')]);
});

it('keep the tag where it was when they cannot be put', async () => {
  const ref = 'ai/unlisted:1';
  await push(arm64, `${registry.host}/${ref}`);
  const before = await ingotJson(['inspect', `${registry.host}/${ref}`, ...insecure()], { env });
  // The list of referrers cannot be written.
  await using proxy = await startFaultProxy(registry.host, ({ method, url }) =>
    method === 'PUT' && url.includes('/manifests/sha256-') ? { answer: 403 } : undefined,
  );
  const args = ['push', amd64, `${proxy.host}/${ref}`, '--sbom', 'spdx', '--insecure', proxy.host];
  const { exitCode, stderr } = await ingot(args, { env });
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('REGISTRY_DENIED')]);
  const after = await ingotJson(['inspect', `${registry.host}/${ref}`, ...insecure()], { env });
  expect(after['digest']).toBe(before['digest']);
});

it('leave an image unsent that cannot be read', async () => {
  const damaged = await image('damaged', 'amd64');
  const { manifest } = await resolveImage(damaged);
  const [layer] = manifest.layers;
  if (layer === undefined) throw new TypeError('an image has layers');
  truncateSync(join(folder, 'damaged/blobs/sha256', hexOf(layer.digest)), layer.size - 1);
  const ref = `${registry.host}/ai/damaged:1`;
  const { exitCode } = await ingot(['push', damaged, ref, '--sbom', 'spdx', ...insecure()], { env });
  expect(exitCode).toBe(2);
  expect((await ingot(['inspect', ref, ...insecure()], { env })).stderr).toContain('NOT_FOUND');
});
