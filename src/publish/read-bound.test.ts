import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { packLayer, writeSmallImage, writeTree } from '../../test/support/small-image.ts';
import { writeArtifact } from '../../test/support/small-artifact.ts';
import { digestOf } from '../digest.ts';
import { LayoutSource } from '../oci/layout-source.ts';
import { clashIn, isFileName, readContainer, readModel } from './read-bound.ts';

let scratch: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-bound-'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

describe('a container', () => {
  it('is the image for the architecture, with its blobs', async () => {
    const layout = join(scratch, 'container');
    const layer = await packLayer(scratch, 'one', (tree) => writeTree(tree, { file: 'x' }));
    await writeSmallImage(layout, [layer, layer]);
    await using source = await LayoutSource.open(layout);
    const document = await source.manifest(undefined);
    const found = await readContainer(source, document.descriptor.digest, 'amd64');
    expect(found.digest).toBe(document.descriptor.digest);
    expect(found.manifest).toBe(document.descriptor.digest);
    // The layer that is there twice counts once.
    expect(found.blobs).toHaveLength(2);
    await expect(readContainer(source, document.descriptor.digest, 'arm64')).rejects.toMatchObject({
      code: 'ARCHITECTURE_FOREIGN',
      message: expect.stringContaining('it is for linux/amd64') as string,
    });
  });

  it('is no artifact', async () => {
    const layout = join(scratch, 'artifact');
    await writeArtifact(layout, [{ title: 'a', content: 'a' }]);
    await using source = await LayoutSource.open(layout);
    const { descriptor } = await source.manifest(undefined);
    await expect(readContainer(source, descriptor.digest, 'amd64')).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: expect.stringContaining('no image of a container') as string,
    });
  });
});

describe('a model', () => {
  const read = async (
    files: Parameters<typeof writeArtifact>[1],
  ): Promise<Awaited<ReturnType<typeof readModel>>> => {
    const layout = await mkdtemp(join(scratch, 'model-'));
    await writeArtifact(layout, files);
    await using source = await LayoutSource.open(layout);
    return await readModel(source, (await source.manifest(undefined)).descriptor.digest);
  };

  it('is its files, in the order of their names', async () => {
    const { files } = await read([
      { title: 'weights/b.bin', content: 'bb' },
      { title: 'a.json', content: 'a' },
    ]);
    expect(files).toEqual([
      { name: 'a.json', digest: digestOf('a'), size: 1 },
      { name: 'weights/b.bin', digest: digestOf('bb'), size: 2 },
    ]);
  });

  it.each([
    ['../out', /outside of its folder/],
    ['/etc/passwd', /outside of its folder/],
    ['a/../../b', /outside of its folder/],
    ['a//b', /outside of its folder/],
    ['', /outside of its folder/],
    ['a\nb', /outside of its folder/],
    [undefined, /does not say which file/],
  ])('with a file %j is refused', async (title, message) => {
    await expect(read([{ title, content: 'x' }])).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      message: expect.stringMatching(message) as string,
    });
  });

  it('with an archive, the same name twice, or nothing is refused', async () => {
    await expect(read([{ title: 'a', content: 'x', unpack: true }])).rejects.toThrow(
      /folder "a" as an archive/,
    );
    await expect(
      read([
        { title: 'a', content: 'x' },
        { title: 'a', content: 'y' },
      ]),
    ).rejects.toThrow(/has "a" twice/);
    await expect(read([])).rejects.toThrow(/has no files/);
  });
});

it('names stay inside of their folder, and none is a folder of another', () => {
  expect(['a', 'a/b', 'ü'].every(isFileName)).toBe(true);
  expect(['.', 'a/.', '..', 'a/', '/a', 'x'.repeat(256)].some(isFileName)).toBe(false);
  expect(clashIn(['a', 'ab', 'b/c'])).toBeUndefined();
  expect(clashIn(['a/b', 'a'])).toBe('a/b');
});
