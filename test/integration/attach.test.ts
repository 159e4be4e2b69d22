/** Artifacts beside an image in a registry, with and without the referrers API. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { canonicalJson, digestOf } from '../../src/digest.ts';
import { IngotError } from '../../src/errors.ts';
import type { ManifestDocument } from '../../src/oci/image-transfer.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { parseImageReference } from '../../src/oci/reference.ts';
import { RegistryAccess } from '../../src/oci/registry/access.ts';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { type Artifact, attachArtifact, findArtifacts } from '../../src/publish/attach.ts';
import { copyImage } from '../../src/publish/copy-image.ts';
import { createReporter } from '../../src/report/events.ts';
import { startReferrersProxy } from '../support/referrers-proxy.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { makeTestImage, type TestImage } from '../support/test-image.ts';

let scratch: string;
let registry: TestRegistry;
let image: TestImage;
let count = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-attach-'));
  registry = await startRegistry();
  image = await makeTestImage(join(scratch, 'image'), [1000]);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

const note = (text: string): Artifact => ({
  artifactType: 'test/note',
  layers: [{ mediaType: 'text/plain', content: Buffer.from(text) }],
});

interface Pushed extends AsyncDisposable {
  readonly access: RegistryAccess;
  readonly reference: ReturnType<typeof parseImageReference>;
  readonly subject: Descriptor;
}

async function push(host: string): Promise<Pushed> {
  count += 1;
  const access = await RegistryAccess.open({ env: {}, insecure: [host], pace: 0.01 });
  const reference = parseImageReference(`${host}/attach-${count}`);
  await using source = await LayoutSource.open(image.layout);
  await using target = access.target(reference);
  await copyImage({ source, reference: '1.0', target, names: ['1'], reporter: createReporter([]) });
  const { descriptor: subject } = await source.manifest('1.0');
  return { access, reference, subject, [Symbol.asyncDispose]: () => access[Symbol.asyncDispose]() };
}

function document(value: object, mediaType: string = MEDIA_TYPES.manifest): ManifestDocument {
  const bytes = Buffer.from(canonicalJson({ schemaVersion: 2, mediaType, ...value }));
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

const places = [
  [
    'the fallback index',
    () => Promise.resolve({ host: registry.host, [Symbol.asyncDispose]: () => Promise.resolve() }),
  ],
  ['the API', () => startReferrersProxy(registry.host)],
] as const;

describe.each(places)('with %s', (_name, start) => {
  test('what several attach at once is found', async () => {
    await using place = await start();
    await using pushed = await push(place.host);
    const { access, reference, subject } = pushed;
    const texts = ['one', 'two', 'three'];
    // Each with a target of its own, as separate programs are.
    const put = await Promise.all(
      texts.map((text) => attachArtifact(access.target(reference), subject, note(text), { scratch })),
    );
    const found = await findArtifacts(access.source(reference), subject.digest, ['test/note']);
    expect(found.map(({ descriptor }) => descriptor.digest).sort()).toEqual(
      put.map(({ digest }) => digest).sort(),
    );
    expect(await findArtifacts(access.source(reference), subject.digest, ['test/other'])).toEqual([]);
  });
});

test('what another tool lists wrongly is read, and what is none is left out', async () => {
  await using pushed = await push(registry.host);
  const { access, reference, subject } = pushed;
  const target = access.target(reference);
  const good = await attachArtifact(target, subject, note('good'), { scratch });
  const gone = await attachArtifact(target, subject, note('gone'), { scratch });
  const { manifest } =
    (await findArtifacts(access.source(reference), subject.digest, ['test/note']))[0] ?? {};
  if (manifest === undefined) throw new Error('nothing attached');
  const another = document({ ...manifest, subject: { ...subject, digest: digestOf('another image') } });
  await target.putManifest(another, []);
  const entry = ({ mediaType, digest, size }: Descriptor): Descriptor => ({ mediaType, digest, size });
  const index = document(
    {
      manifests: [
        { ...entry(good), artifactType: 'application/vnd.oci.empty.v1+json' }, // as some write the config's type
        another.descriptor, // names another subject
        subject, // none at all
        entry(gone),
      ],
    },
    MEDIA_TYPES.index,
  );
  // Without a subject of its own, so that the target lists it nowhere.
  await target.putManifest(index, [`sha256-${subject.digest.slice(7)}`]);
  const url = `http://${registry.host}/v2/${reference.repository}/manifests/${gone.digest}`;
  expect((await fetch(url, { method: 'DELETE' })).status).toBe(202);
  const found = await findArtifacts(access.source(reference), subject.digest, ['test/note']);
  expect(found.map(({ descriptor }) => descriptor.digest)).toEqual([good.digest]);
});

test('one that cannot be read is told of, or thrown', async () => {
  await using pushed = await push(registry.host);
  const { access, reference, subject } = pushed;
  const target = access.target(reference);
  const good = await attachArtifact(target, subject, note('good'), { scratch });
  const bad = { ...good, size: good.size + 1, annotations: {} };
  const other = await attachArtifact(target, subject, note('other'), { scratch });
  await target.putManifest(document({ manifests: [bad, other] }, MEDIA_TYPES.index), [
    `sha256-${subject.digest.slice(7)}`,
  ]);
  const source = access.source(reference);
  const told: string[] = [];
  const found = await findArtifacts(source, subject.digest, ['test/note'], {
    onUnreadable: (referrer, error) => told.push(`${referrer.digest} ${error.code}`),
  });
  expect(found.map(({ descriptor }) => descriptor.digest)).toEqual([other.digest]);
  expect(told).toEqual([`${good.digest} DIGEST_MISMATCH`]);
  await expect(findArtifacts(source, subject.digest, ['test/note'])).rejects.toBeInstanceOf(IngotError);
});

test('a list without end is not read', async () => {
  await using pushed = await push(registry.host);
  const { reference, subject } = pushed;
  let manifests = Array.from({ length: 1025 }, (_, at) => ({ ...subject, digest: digestOf(String(at)) }));
  await using proxy = await startReferrersProxy(registry.host, () => manifests);
  const through = await RegistryAccess.open({ env: {}, insecure: [proxy.host] });
  await using _closed = through;
  const source = through.source({ ...reference, registry: proxy.host });
  await expect(findArtifacts(source, subject.digest, ['test/note'])).rejects.toMatchObject({
    code: 'IMAGE_INVALID',
  });
  // Those that say that they are something else keep nobody busy.
  manifests = manifests.map((one) => ({ ...one, artifactType: 'test/other' }));
  expect(await findArtifacts(source, subject.digest, ['test/note'])).toEqual([]);
});
