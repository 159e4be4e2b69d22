import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import { Store } from '../store/store.ts';
import { findPackedLayer, packedBytes, recordPackedLayer, type PackedLayer } from './packed-layer.ts';

let scratch: string;
let store: Store;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-packed-'));
  store = await Store.open(scratch);
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

const KEY = digestOf('key');

async function packed(): Promise<PackedLayer> {
  const chunks = ['rest', 'packages'].map((name) => ({
    name,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd' as const,
    diffId: digestOf(`plain ${name}`),
    digest: digestOf(name),
    size: name.length,
    uncompressedSize: 1024,
    entries: 0,
  }));
  for (const { digest, name } of chunks) await writeFile(store.blobPath(hexOf(digest)), name);
  await recordPackedLayer(store, KEY, { chunks });
  return { chunks };
}

test('a layer is found when all its blobs are there', async () => {
  expect(await findPackedLayer(store, KEY)).toBeUndefined();
  const layer = await packed();
  expect(await findPackedLayer(store, KEY)).toEqual(layer);
  expect(packedBytes(layer)).toBe('rest'.length + 'packages'.length);
});

test.each(['rest', 'packages'])('a layer whose blob %s is missing or cut short is not', async (name) => {
  await packed();
  const blob = store.blobPath(hexOf(digestOf(name)));
  await truncate(blob, 1);
  expect(await findPackedLayer(store, KEY)).toBeUndefined();
  await rm(blob, { force: true });
  expect(await findPackedLayer(store, KEY)).toBeUndefined();
});

test('what is no such record is as good as none', async () => {
  const { chunks } = await packed();
  await store.writeRecord('layers', hexOf(KEY), { ...chunks[0] }); // as it was with one blob for each layer
  expect(await findPackedLayer(store, KEY)).toBeUndefined();
  await store.writeRecord('layers', hexOf(KEY), { chunks: [] });
  expect(await findPackedLayer(store, KEY)).toBeUndefined();
});
