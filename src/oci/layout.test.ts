import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { type Digest, digestOf, hexOf } from '../digest.ts';
import { run } from '../proc/run.ts';
import { parseLayoutReference, readLayout, resolveImage, verifyLayout } from './layout.ts';
import { writeLayout } from './layout-write.ts';
import { type Descriptor, type ImageConfig, type Manifest, MEDIA_TYPES, REF_NAME } from './schema.ts';

let scratch: string;
let layout: string;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot oci-ü-'));
  layout = join(scratch, 'layout');
  await mkdir(join(scratch, 'store'));
});

afterEach(async () => {
  await rm(scratch, { recursive: true });
});

const blobPath = (digest: Digest): string => join(scratch, 'store', hexOf(digest));

async function storeBlob(bytes: string | Buffer, mediaType: string): Promise<Descriptor> {
  const digest = digestOf(bytes);
  await writeFile(blobPath(digest), bytes);
  return { mediaType, digest, size: Buffer.byteLength(bytes) };
}

const COMPRESS = {
  [MEDIA_TYPES.layer]: (plain: Buffer) => plain,
  [MEDIA_TYPES.layerGzip]: (plain: Buffer) => gzipSync(plain),
  [MEDIA_TYPES.layerZstd]: (plain: Buffer) => zstdCompressSync(plain),
} as const;

/** An image in the store whose layers hold these texts. */
async function storeImage(
  texts: readonly string[],
  options: { layerType?: keyof typeof COMPRESS; diffIds?: readonly Digest[] } = {},
): Promise<Descriptor> {
  const type = options.layerType ?? MEDIA_TYPES.layerZstd;
  const layers: Descriptor[] = [];
  for (const text of texts) layers.push(await storeBlob(COMPRESS[type](Buffer.from(text)), type));
  const config: ImageConfig = {
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [...(options.diffIds ?? texts.map(digestOf))] },
  };
  const manifest: Manifest = {
    schemaVersion: 2,
    config: await storeBlob(JSON.stringify(config), MEDIA_TYPES.config),
    layers,
  };
  return storeBlob(JSON.stringify(manifest), MEDIA_TYPES.manifest);
}

const names = (): readonly (string | undefined)[] =>
  (JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: Descriptor[] }).manifests.map(
    (entry) => entry.annotations?.[REF_NAME],
  );
const blobs = (): string[] => readdirSync(join(layout, 'blobs/sha256')).sort();

async function editIndex(edit: (entry: Descriptor) => unknown): Promise<void> {
  const { index } = await readLayout(layout);
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ ...index, manifests: index.manifests.map(edit) }),
  );
}

describe('parseLayoutReference', () => {
  test.each([
    ['oci:/a b/c:name:1.0', '/a b/c', 'name:1.0'],
    ['oci:dir', 'dir', undefined],
    ['./dir:latest', './dir', 'latest'],
    ['dir', 'dir', undefined],
  ])('%s', (text, directory, name) => {
    expect(parseLayoutReference(text)).toEqual({ directory, name });
  });

  test.each(['', 'oci:', 'oci::x', 'dir:'])('%j names no image', (text) => {
    expect(() => parseLayoutReference(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('writeLayout', () => {
  test('makes a layout whose blobs are the store’s own files', async () => {
    const manifest = await storeImage(['one', 'two']);
    await writeLayout(layout, { name: 'a:1', manifest }, blobPath);
    expect(JSON.parse(await readFile(join(layout, 'oci-layout'), 'utf8'))).toEqual({
      imageLayoutVersion: '1.0.0',
    });
    expect(blobs()).toHaveLength(4);
    const linked = join(layout, 'blobs/sha256', hexOf(manifest.digest));
    expect(lstatSync(linked).ino).toBe(lstatSync(blobPath(manifest.digest)).ino);
    const image = await resolveImage(`oci:${layout}`);
    expect(image).toMatchObject({ name: 'a:1', digest: manifest.digest });
    expect(image.blobPath(manifest.digest)).toBe(linked);
    expect(await verifyLayout(layout)).toEqual(new Set(blobs().map((hex) => `sha256:${hex}`)));
    expect(readdirSync(scratch).sort()).toEqual(['layout', 'store']);
  });

  test('holds several images, and replaces one by name with the blobs it alone needed', async () => {
    const first = await storeImage(['shared', 'old']);
    await writeLayout(layout, { name: 'a', manifest: first }, blobPath);
    await writeLayout(layout, { name: 'b', manifest: await storeImage(['shared', 'other']) }, blobPath);
    await writeFile(join(layout, 'blobs/sha256', 'f'.repeat(64)), 'somebody else’s');
    const before = blobs();
    const next = await storeImage(['shared', 'new']);
    await writeLayout(layout, { name: 'a', manifest: next }, blobPath);
    expect(names()).toEqual(['b', 'a']);
    const { manifest } = await resolveImage(`${layout}:a`);
    expect(manifest.layers).toHaveLength(2);
    expect(existsSync(join(layout, 'blobs/sha256', hexOf(first.digest)))).toBe(false);
    expect(before).toContain('f'.repeat(64));
    expect(blobs()).toContain('f'.repeat(64));
    expect(blobs()).toHaveLength(before.length); // out: manifest, config, layer; in: the same
    await verifyLayout(layout);
  });

  test('writing the same image again changes nothing', async () => {
    const manifest = await storeImage(['one']);
    await writeLayout(layout, { name: 'a', manifest }, blobPath);
    const [index, had] = [await readFile(join(layout, 'index.json'), 'utf8'), blobs()];
    await writeLayout(layout, { name: 'a', manifest }, blobPath);
    expect([await readFile(join(layout, 'index.json'), 'utf8'), blobs()]).toEqual([index, had]);
  });

  test('writers at the same time all get in', async () => {
    const images = await Promise.all(['1', '2', '3', '4'].map((text) => storeImage([text])));
    await Promise.all(
      images.map((manifest, index) => writeLayout(layout, { name: `n${index}`, manifest }, blobPath)),
    );
    expect([...names()].sort()).toEqual(['n0', 'n1', 'n2', 'n3']);
    await verifyLayout(layout);
  });

  test('takes the place of an empty folder, and of nothing else', async () => {
    const manifest = await storeImage(['one']);
    await mkdir(layout);
    await writeLayout(layout, { name: 'a', manifest }, blobPath);
    const other = join(scratch, 'other');
    await mkdir(other);
    await writeFile(join(other, 'thesis.txt'), 'precious');
    await expect(writeLayout(other, { name: 'a', manifest }, blobPath)).rejects.toMatchObject({
      code: 'USAGE',
    });
    await expect(
      writeLayout(join(other, 'thesis.txt'), { name: 'a', manifest }, blobPath),
    ).rejects.toMatchObject({ code: 'USAGE' });
    expect(readdirSync(other)).toEqual(['thesis.txt']);
  });

  test('refuses a store that lacks a blob, and leaves nothing', async () => {
    const manifest = await storeImage(['one', 'two']);
    await rm(blobPath(digestOf(zstdCompressSync('two'))));
    await expect(writeLayout(layout, { name: 'a', manifest }, blobPath)).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
    });
    expect(readdirSync(scratch)).toEqual(['store']);
  });

  test('refuses names that a reference could not carry', async () => {
    const manifest = await storeImage(['one']);
    await expect(writeLayout(layout, { name: 'a b', manifest }, blobPath)).rejects.toMatchObject({
      code: 'USAGE',
    });
  });
});

describe('a layout that somebody else wrote', () => {
  beforeEach(async () => {
    await writeLayout(layout, { name: 'a', manifest: await storeImage(['one', 'two']) }, blobPath);
    // Copies, so that damage stays in the layout.
    for (const hex of blobs()) {
      const path = join(layout, 'blobs/sha256', hex);
      const bytes = await readFile(path);
      await rm(path);
      await writeFile(path, bytes);
    }
  });

  const pathOf = async (which: 'manifest' | 'config' | 'layer'): Promise<string> => {
    const { descriptor, manifest } = await resolveImage(layout);
    const blob = { manifest: descriptor, config: manifest.config, layer: manifest.layers[0] }[which];
    return join(layout, 'blobs/sha256', hexOf(blob?.digest ?? descriptor.digest));
  };

  test.each(['manifest', 'config', 'layer'] as const)('a changed %s is found', async (which) => {
    const path = await pathOf(which);
    const bytes = await readFile(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await expect(verifyLayout(layout)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  test.each(['manifest', 'config', 'layer'] as const)('a longer %s is found', async (which) => {
    await appendFile(await pathOf(which), ' ');
    await expect(verifyLayout(layout)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  test.each(['manifest', 'config', 'layer'] as const)('a missing %s is found', async (which) => {
    await rm(await pathOf(which));
    await expect(verifyLayout(layout)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('a link in place of a blob is not followed', async () => {
    const path = await pathOf('config');
    await rename(path, join(scratch, 'elsewhere'));
    await symlink(join(scratch, 'elsewhere'), path);
    await expect(resolveImage(layout)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  test('a digest that is a path is not one', async () => {
    await editIndex((entry) => ({ ...entry, digest: 'sha256:../../../../etc/passwd' }));
    await expect(resolveImage(layout)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  test('a manifest of a gigabyte is not read', async () => {
    await editIndex((entry) => ({ ...entry, size: 2 ** 30 }));
    await expect(resolveImage(layout)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  test('another media type is refused', async () => {
    const mediaType = 'application/vnd.docker.distribution.manifest.v2+json';
    await editIndex((entry) => ({ ...entry, mediaType }));
    await expect(resolveImage(layout)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  test('contents that are not those of the diff ID are found', async () => {
    const diffIds = [digestOf('something else')];
    await writeLayout(layout, { name: 'b', manifest: await storeImage(['one'], { diffIds }) }, blobPath);
    await resolveImage(`${layout}:b`);
    await expect(verifyLayout(layout)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  test('layers without diff IDs are refused', async () => {
    await writeLayout(layout, { name: 'b', manifest: await storeImage(['one'], { diffIds: [] }) }, blobPath);
    await expect(resolveImage(`${layout}:b`)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  test.each([MEDIA_TYPES.layer, MEDIA_TYPES.layerGzip])('layers of type %s verify', async (layerType) => {
    await writeLayout(layout, { name: 'b', manifest: await storeImage(['three'], { layerType }) }, blobPath);
    expect((await verifyLayout(layout)).size).toBe(7);
  });

  test('names lead to images; unknown and ambiguous ones say what there is', async () => {
    await writeLayout(layout, { name: 'b', manifest: await storeImage(['three']) }, blobPath);
    expect((await resolveImage(`oci:${layout}:b`)).manifest.layers).toHaveLength(1);
    const hint = expect.stringContaining('a, b') as string;
    await expect(resolveImage(`oci:${layout}:c`)).rejects.toMatchObject({ code: 'NOT_FOUND', hint });
    await expect(resolveImage(layout)).rejects.toMatchObject({ code: 'NOT_FOUND', hint });
    await expect(resolveImage(scratch)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('an index of platforms leads to the right image, and no deeper than a few levels', async () => {
    const { index } = await readLayout(layout);
    const [child] = index.manifests;
    const nest = async (inner: Descriptor): Promise<Descriptor> => {
      const text = JSON.stringify({
        schemaVersion: 2,
        manifests: [
          { ...inner, platform: { os: 'linux', architecture: 'riscv64' }, digest: digestOf('not here') },
          { ...inner, platform: { os: 'linux', architecture: 'amd64' } },
        ],
      });
      const outer = await storeBlob(text, MEDIA_TYPES.index);
      await writeFile(join(layout, 'blobs/sha256', hexOf(outer.digest)), text);
      return outer;
    };
    if (child === undefined) throw new Error('no image');
    let outer = await nest(child);
    await editIndex(() => outer);
    expect((await resolveImage(layout)).digest).toBe(child.digest);
    for (let depth = 1; depth < 4; depth++) outer = await nest(outer);
    await editIndex(() => outer);
    await expect(resolveImage(layout)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });
});

test.each([
  ['a FIFO', async (path: string) => run(['mkfifo', path]), 'is not a file'],
  ['a link', async (path: string) => symlink('/dev/zero', path), 'is a symbolic link'],
  ['a folder', async (path: string) => mkdir(path), 'is not a file'],
])('an index that is %s is not read', async (_name, make, why) => {
  await mkdir(layout);
  await writeFile(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await make(join(layout, 'index.json'));
  await expect(readLayout(layout)).rejects.toMatchObject({
    code: 'STORE_CORRUPT',
    message: expect.stringContaining(`index.json ${why}`) as string,
  });
});
