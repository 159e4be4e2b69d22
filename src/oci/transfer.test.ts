/** Layouts and archives as sources and targets of images; tar(1) reads what we write, and writes what we read. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { canonicalJson, type Digest, digestOf, hexOf } from '../digest.ts';
import { run } from '../proc/run.ts';
import { ArchiveSource } from './archive-source.ts';
import { ArchiveTarget } from './archive-target.ts';
import { readImageGraph } from './image-graph.ts';
import type { ImageSource, ImageTarget, ManifestDocument } from './image-transfer.ts';
import { LayoutSource } from './layout-source.ts';
import { LayoutTarget } from './layout-target.ts';
import { type Descriptor, MEDIA_TYPES } from './schema.ts';

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-transfer-'));
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

const blobs = new Map<Digest, Buffer>();

function blob(text: string, mediaType: string = MEDIA_TYPES.layer): Descriptor {
  const bytes = Buffer.from(text);
  const digest = digestOf(bytes);
  blobs.set(digest, bytes);
  return { mediaType, digest, size: bytes.length };
}

function document(value: object, mediaType: string): ManifestDocument {
  const descriptor = blob(canonicalJson({ schemaVersion: 2, mediaType, ...value }), mediaType);
  return { descriptor, bytes: blobs.get(descriptor.digest) ?? Buffer.alloc(0) };
}

const config = blob('{}', MEDIA_TYPES.config);
const amd64 = document({ config, layers: [blob('one'), blob('two'.repeat(1000))] }, MEDIA_TYPES.manifest);
const arm64 = document({ config, layers: [blob('one'), blob('')] }, MEDIA_TYPES.manifest);
const index = document({ manifests: [amd64.descriptor, arm64.descriptor] }, MEDIA_TYPES.index);
const signature = document(
  { artifactType: 'test/signature', config, layers: [blob('signed')], subject: index.descriptor },
  MEDIA_TYPES.manifest,
);

async function fill(target: ImageTarget): Promise<void> {
  for (const { digest, size } of [
    config,
    ...['one', 'two'.repeat(1000), '', 'signed'].map((text) => blob(text)),
  ]) {
    const path = join(scratch, hexOf(digest));
    const bytes = blobs.get(digest) ?? Buffer.alloc(0);
    await writeFile(path, bytes);
    await target.putBlob(
      { mediaType: MEDIA_TYPES.layer, digest, size },
      {
        open: async function* () {
          yield await Promise.resolve(bytes);
        },
        file: () => Promise.resolve(path),
      },
    );
  }
  await target.putManifest(amd64, []);
  await target.putManifest(arm64, []);
  await target.putManifest(index, ['1.0', 'stable']);
  await target.putManifest(signature, []);
  await target.finish();
}

async function check(source: ImageSource): Promise<void> {
  const graph = await readImageGraph(source, 'stable');
  expect(graph.root).toEqual(index);
  expect(graph.documents).toEqual([amd64, arm64, index]);
  expect(graph.blobs).toHaveLength(4);
  for (const descriptor of graph.blobs) {
    const chunks = await Array.fromAsync(source.blob(descriptor));
    expect(Buffer.concat(chunks)).toEqual(blobs.get(descriptor.digest));
  }
  expect(await source.manifest(index.descriptor.digest)).toEqual(index);
  expect(await source.referrers(index.descriptor.digest)).toEqual([
    { ...signature.descriptor, artifactType: 'test/signature' },
  ]);
  await expect(source.manifest('other')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(source.manifest(digestOf('other'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
}

describe('a layout', () => {
  test('gives back what it took, and nothing before the end', async () => {
    const directory = join(scratch, 'layout');
    await using target = await LayoutTarget.open(directory, scratch);
    expect(await target.hasBlob(config)).toBe(false);
    await fill(target);
    expect(await target.hasBlob(config)).toBe(true);
    await using source = await LayoutSource.open(directory);
    await check(source);
  });

  test('that was left in the middle is not there', async () => {
    const directory = join(scratch, 'layout');
    {
      await using target = await LayoutTarget.open(directory, scratch);
      await target.putBlob(config, { open: () => [] as never, file: () => Promise.resolve('/nowhere') });
      await target.putManifest(amd64, ['1.0']);
    }
    await expect(stat(directory)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('an archive', () => {
  test('gives back what it took', async () => {
    const path = join(scratch, 'sub/image.tar');
    {
      await using target = await ArchiveTarget.open(path);
      await fill(target);
    }
    await using source = await ArchiveSource.open(path);
    await check(source);
  });

  test('is what tar takes for one', async () => {
    const path = join(scratch, 'image.tar');
    {
      await using target = await ArchiveTarget.open(path);
      await fill(target);
    }
    await mkdir(join(scratch, 'unpacked'));
    await run(['tar', '-xf', path, '-C', join(scratch, 'unpacked')]);
    await using source = await LayoutSource.open(join(scratch, 'unpacked'));
    await check(source);
  });

  test.each(['gnu', 'pax', 'ustar'])('may be one of tar in %s format', async (format) => {
    const directory = join(scratch, 'layout');
    {
      await using target = await LayoutTarget.open(directory, scratch);
      await fill(target);
    }
    const path = join(scratch, 'image.tar');
    await run(['tar', `--format=${format}`, '-cf', path, '-C', directory, '.']);
    await using source = await ArchiveSource.open(path);
    await check(source);
  });

  test('that fails in the middle leaves the old one', async () => {
    const path = join(scratch, 'image.tar');
    await writeFile(path, 'old');
    {
      await using target = await ArchiveTarget.open(path);
      await target.putManifest(amd64, ['1.0']);
    }
    expect(await readFile(path, 'utf8')).toBe('old');
  });

  test.each([
    ['cut short', (bytes: Buffer) => bytes.subarray(0, 900), 'IMAGE_INVALID'],
    ['no archive', () => Buffer.alloc(2000, 'x'), 'IMAGE_INVALID'],
    ['empty', () => Buffer.alloc(0), 'NOT_FOUND'],
  ])('%s is refused', async (_name, damage, code) => {
    const path = join(scratch, 'image.tar');
    {
      await using target = await ArchiveTarget.open(path);
      await fill(target);
    }
    await writeFile(path, damage(await readFile(path)));
    await expect(ArchiveSource.open(path)).rejects.toMatchObject({ code });
  });

  test('with a changed blob gives it away at its end', async () => {
    const path = join(scratch, 'image.tar');
    {
      await using target = await ArchiveTarget.open(path);
      await fill(target);
    }
    const bytes = await readFile(path);
    bytes.write('TWO', bytes.indexOf('twotwo'));
    await writeFile(path, bytes);
    await using source = await ArchiveSource.open(path);
    const reading = Array.fromAsync(source.blob(blob('two'.repeat(1000))));
    await expect(reading).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });
});

describe('documents of strangers', () => {
  const from = (documents: readonly ManifestDocument[]): ImageSource => ({
    shown: 'a stranger',
    manifest: (reference) => {
      const digest = typeof reference === 'object' ? reference.digest : reference;
      const found = documents.find(({ descriptor }) => descriptor.digest === digest) ?? documents[0];
      return found === undefined ? Promise.reject(new Error('none')) : Promise.resolve(found);
    },
    blob: () => [] as never,
    referrers: () => Promise.resolve([]),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
  const nested = (depth: number): ManifestDocument[] => {
    const documents = [amd64];
    for (let level = 0; level < depth; level += 1) {
      const [inner = amd64] = documents;
      documents.unshift(document({ manifests: [inner.descriptor] }, MEDIA_TYPES.index));
    }
    return documents;
  };
  const own = { mediaType: MEDIA_TYPES.index, digest: digestOf('own'), size: 7 };
  const circle = {
    descriptor: own,
    bytes: Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [own] })),
  };

  test.each([
    ['an index that holds itself', [circle], /holds itself/],
    ['indexes in indexes in indexes', nested(4), /nests more than 3/],
    [
      'a layer of two sizes',
      [document({ config, layers: [blob('one'), { ...blob('one'), size: 9 }] }, MEDIA_TYPES.manifest)],
      /9 bytes, and 3/,
    ],
    [
      'a layer larger than any disk',
      [document({ config, layers: [{ ...blob('one'), size: 2 ** 50 }] }, MEDIA_TYPES.manifest)],
      /said to have/,
    ],
    [
      'thousands of layers',
      [document({ config, layers: Array(2000).fill(blob('one')) }, MEDIA_TYPES.manifest)],
      /2001 parts/,
    ],
    [
      'manifest and index at once',
      [document({ config, layers: [], manifests: [] }, MEDIA_TYPES.manifest)],
      /at once/,
    ],
    [
      'another media type',
      [{ ...amd64, descriptor: { ...amd64.descriptor, mediaType: MEDIA_TYPES.index } }],
      /no valid|calls itself/,
    ],
    [
      'no manifest at all',
      [{ ...amd64, descriptor: { ...amd64.descriptor, mediaType: 'text/html' } }],
      /no manifest/,
    ],
    [
      'another algorithm',
      [
        document(
          { config: { ...config, digest: `sha512:${'0'.repeat(128)}` }, layers: [] },
          MEDIA_TYPES.manifest,
        ),
      ],
      /config\.digest/,
    ],
  ])('%s', async (_name, documents, message) => {
    const reading = readImageGraph(from(documents), undefined);
    await expect(reading).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  test('three levels are read', async () => {
    expect((await readImageGraph(from(nested(3)), undefined)).documents).toHaveLength(4);
  });
});
