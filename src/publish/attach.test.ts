/** Artifacts beside an image in a layout. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { makeTestImage, type TestImage } from '../../test/support/test-image.ts';
import { digestOf } from '../digest.ts';
import { ArchiveSource } from '../oci/archive-source.ts';
import { ArchiveTarget } from '../oci/archive-target.ts';
import { layoutBlobPath } from '../oci/blob.ts';
import { LayoutSource } from '../oci/layout-source.ts';
import { LayoutTarget } from '../oci/layout-target.ts';
import type { Descriptor } from '../oci/schema.ts';
import { createReporter } from '../report/events.ts';
import { type Artifact, attachArtifact, findArtifacts, readArtifactBlob } from './attach.ts';
import { copyImage } from './copy-image.ts';

let scratch: string;
let image: TestImage;
let subject: Descriptor;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-attach-'));
  image = await makeTestImage(join(scratch, 'image'), [100]);
  await using source = await LayoutSource.open(image.layout);
  subject = (await source.manifest('1.0')).descriptor;
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

const note = (text: string, artifactType = 'test/note'): Artifact => ({
  artifactType,
  layers: [{ mediaType: 'text/plain', content: Buffer.from(text), annotations: { of: 'the layer' } }],
  annotations: { text },
});

async function attach(...artifacts: readonly Artifact[]): Promise<readonly Descriptor[]> {
  await using target = await LayoutTarget.open(image.layout, scratch);
  const put: Descriptor[] = [];
  for (const artifact of artifacts) put.push(await attachArtifact(target, subject, artifact, { scratch }));
  await target.finish();
  return put;
}

test('what is attached is found by its type, with what it holds', async () => {
  const [one] = await attach(note('one'), note('two'), note('other', 'test/other'));
  await using source = await LayoutSource.open(image.layout);
  const found = await findArtifacts(source, image.digest, ['test/note']);
  expect(found.map(({ manifest }) => manifest.annotations)).toEqual([{ text: 'one' }, { text: 'two' }]);
  expect(found[0]).toMatchObject({
    descriptor: { digest: one?.digest },
    manifest: {
      artifactType: 'test/note',
      config: { mediaType: 'application/vnd.oci.empty.v1+json', size: 2 },
      subject,
    },
  });
  const [layer] = found[0]?.manifest.layers ?? [];
  if (layer === undefined) throw new Error('no layer');
  expect(layer.annotations).toEqual({ of: 'the layer' });
  expect((await readArtifactBlob(source, layer, 3)).toString()).toBe('one');
  await expect(readArtifactBlob(source, layer, 2)).rejects.toMatchObject({ code: 'IMAGE_INVALID' });
  expect(await findArtifacts(source, image.digest, ['test/note', 'test/other'])).toHaveLength(3);
  expect(await findArtifacts(source, digestOf('another image'), ['test/note'])).toEqual([]);
});

test('a blob may come from a file, which must be what it is said to be', async () => {
  const path = join(scratch, 'large');
  const bytes = Buffer.alloc(300_000, 'large');
  await writeFile(path, bytes);
  const file = { path, digest: digestOf(bytes), size: bytes.length };
  const artifactType = 'test/large';
  await attach({ artifactType, layers: [{ mediaType: 'test/blob', content: file }] });
  await using source = await LayoutSource.open(image.layout);
  const [found] = await findArtifacts(source, image.digest, [artifactType]);
  const [layer] = found?.manifest.layers ?? [];
  if (layer === undefined) throw new Error('no layer');
  expect((await readArtifactBlob(source, layer, bytes.length)).equals(bytes)).toBe(true);
  const other = { ...file, digest: digestOf('other') };
  await expect(
    attach({ artifactType, layers: [{ mediaType: 'test/blob', content: other }] }),
  ).rejects.toMatchObject({ code: expect.stringMatching(/DIGEST_MISMATCH|STORE_CORRUPT/) as string });
});

test('the same twice is there once', async () => {
  await attach(note('one'));
  const before = await readFile(join(image.layout, 'index.json'), 'utf8');
  await attach(note('one'));
  expect(await readFile(join(image.layout, 'index.json'), 'utf8')).toBe(before);
});

test('it goes along into an archive', async () => {
  await attach(note('one'));
  const path = join(scratch, 'image.tar');
  {
    await using source = await LayoutSource.open(image.layout);
    await using target = await ArchiveTarget.open(path);
    const reporter = createReporter([]);
    await copyImage({ source, reference: '1.0', target, names: ['1.0'], reporter });
  }
  await using source = await ArchiveSource.open(path);
  expect(await findArtifacts(source, image.digest, ['test/note'])).toHaveLength(1);
});

test('an artifact without layers is a manifest all the same', async () => {
  await attach({ artifactType: 'test/empty', layers: [], annotations: { said: 'all' } });
  await using source = await LayoutSource.open(image.layout);
  const [found] = await findArtifacts(source, image.digest, ['test/empty']);
  expect(found?.manifest.layers).toHaveLength(1);
});

test('nothing is attached to an image that is not there', async () => {
  await using target = await LayoutTarget.open(image.layout, scratch);
  const absent = { ...subject, digest: digestOf('another image') };
  await expect(attachArtifact(target, absent, note('one'), { scratch })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});

test('a blob that was changed since is noticed', async () => {
  await attach(note('one'));
  await using source = await LayoutSource.open(image.layout);
  const [found] = await findArtifacts(source, image.digest, ['test/note']);
  const [layer] = found?.manifest.layers ?? [];
  if (layer === undefined) throw new Error('no layer');
  const path = layoutBlobPath(image.layout, layer.digest);
  await rm(path); // it may be a link to what we hold elsewhere
  await writeFile(path, 'two');
  await expect(readArtifactBlob(source, layer, 100)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
});
