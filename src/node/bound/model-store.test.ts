import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { writeArtifact } from '../../../test/support/small-artifact.ts';
import { type Digest, digestOf, hexOf } from '../../digest.ts';
import { LayoutSource } from '../../oci/layout-source.ts';
import type { BoundModel } from '../../plan/bound.ts';
import { ModelStore } from './model-store.ts';

let scratch: string;
let store: ModelStore;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-models-'));
  store = new ModelStore(join(scratch, 'models'));
});

afterEach(async () => {
  await rm(scratch, { recursive: true, force: true });
});

async function modelOf(name: string, files: Readonly<Record<string, string>>): Promise<BoundModel> {
  const entries = Object.entries(files);
  const digest = await writeArtifact(
    join(scratch, name),
    entries.map(([title, content]) => ({ title, content })),
  );
  return {
    name,
    artifact: 'registry.example.com/model',
    digest,
    path: '/usr/share/models/model',
    files: entries.map(([file, content]) => ({
      name: file,
      digest: digestOf(content),
      size: Buffer.byteLength(content),
    })),
  };
}

async function fetch(model: BoundModel): Promise<number[]> {
  await using source = await LayoutSource.open(join(scratch, model.name));
  const told: number[] = [];
  await store.fetch(model, source, { onProgress: (bytes) => told.push(bytes) });
  return told;
}

const placeOf = (digest: Digest): string => join(store.folder, `sha256-${hexOf(digest)}`);

it('puts files in place, for reading only, and leaves those of the layout alone', async () => {
  const model = await modelOf('one', { 'weights.bin': 'weights', 'sub/a.json': '{}' });
  expect(await store.has(model)).toBe(false);
  expect((await store.missing(model)).map(({ size }) => size)).toEqual([7, 2]);
  expect((await fetch(model)).at(-1)).toBe(9);
  expect(await store.has(model)).toBe(true);
  expect(await store.missing(model)).toEqual([]);
  const place = placeOf(model.digest);
  expect(await readFile(join(place, 'weights.bin'), 'utf8')).toBe('weights');
  const modes = await Promise.all(['', 'sub', 'sub/a.json'].map((path) => stat(join(place, path))));
  expect(modes.map(({ mode }) => (mode & 0o777).toString(8))).toEqual(['555', '555', '444']);
  const blob = await stat(join(scratch, 'one/blobs/sha256', hexOf(digestOf('weights'))));
  expect(blob.mode & 0o200).toBe(0o200);
  expect((await readdir(store.folder)).filter((name) => name.startsWith('work-'))).toEqual([]);
});

it('shares files between versions, and keeps them when one version goes', async () => {
  const one = await modelOf('one', { 'weights.bin': 'weights', 'tokens.json': '1' });
  const two = await modelOf('two', { 'renamed.bin': 'weights', 'again.bin': 'weights', 'tokens.json': '2' });
  await fetch(one);
  expect((await store.missing(two)).map(({ digest }) => digest)).toEqual([digestOf('2')]);
  await fetch(two);
  const inode = async (digest: Digest, name: string): Promise<number> =>
    (await stat(join(placeOf(digest), name))).ino;
  expect(await inode(two.digest, 'renamed.bin')).toBe(await inode(one.digest, 'weights.bin'));
  expect(await store.collect(new Set([two.digest]))).toBe(1);
  expect(await store.has(one)).toBe(false);
  expect(await store.has(two)).toBe(true);
  expect(await readFile(join(placeOf(two.digest), 'renamed.bin'), 'utf8')).toBe('weights');
});

it('takes nothing that is not what its digest says, and leaves nothing of it', async () => {
  const model = await modelOf('bad', { 'weights.bin': 'weights' });
  await writeFile(join(scratch, 'bad/blobs/sha256', hexOf(digestOf('weights'))), 'w3ights');
  await expect(fetch(model)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(await store.has(model)).toBe(false);
  expect((await readdir(store.folder)).filter((name) => !name.startsWith('store'))).toEqual([]);
});

it('puts back what somebody removed, and cleans up after a power loss', async () => {
  const model = await modelOf('one', { 'a.bin': 'a', 'b.bin': 'b' });
  await fetch(model);
  await rm(join(placeOf(model.digest), 'a.bin'), { force: true });
  await mkdir(join(store.folder, 'work-left'));
  expect((await store.missing(model)).map(({ digest }) => digest)).toEqual([digestOf('a')]);
  await fetch(model);
  expect(await store.has(model)).toBe(true);
  expect(await store.collect(new Set([model.digest]))).toBe(0);
  expect(await readdir(store.folder)).not.toContain('work-left');
});
