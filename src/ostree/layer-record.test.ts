import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import {
  keepLayerRecords,
  layerRef,
  readLayerRecord,
  recordsFolder,
  writeLayerRecord,
} from './layer-record.ts';

const DIGEST = digestOf('layer');
const LAYER = {
  directories: [{ path: 'grüße', header: { mode: 0o2750, uid: 3_000_000, gid: 4 } }],
  others: ['usr/.wh.gone', 'usr/file'],
};
let root: string;
let repo: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-record-'));
  repo = join(root, 'ostree/repo');
  await mkdir(join(repo, 'refs/heads/ingot/layer'), { recursive: true });
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

const addBranch = (): Promise<void> => writeFile(join(repo, 'refs/heads', layerRef(DIGEST)), 'commit\n');

test('a layer counts when it has both its branch and its record', async () => {
  expect(await readLayerRecord(repo, DIGEST)).toBeUndefined();
  await addBranch();
  expect(await readLayerRecord(repo, DIGEST)).toBeUndefined();
  await writeLayerRecord(repo, DIGEST, LAYER);
  expect(await readLayerRecord(repo, DIGEST)).toEqual(LAYER);
  await rm(join(repo, 'refs/heads', layerRef(DIGEST)));
  expect(await readLayerRecord(repo, DIGEST)).toBeUndefined();
});

test.each([
  ['cut short', (whole: Buffer) => whole.subarray(0, whole.length / 2)],
  ['empty', () => Buffer.alloc(0)],
  ['something else', () => Buffer.from('{"version":1}')],
])('a record that is %s makes the layer one to be pulled', async (_what, damage) => {
  await addBranch();
  await writeLayerRecord(repo, DIGEST, LAYER);
  const [name = ''] = await readdir(recordsFolder(repo));
  const path = join(recordsFolder(repo), name);
  await writeFile(path, damage(await readFile(path)));
  expect(await readLayerRecord(repo, DIGEST)).toBeUndefined();
});

test('records of other layers go', async () => {
  await writeLayerRecord(repo, DIGEST, LAYER);
  await writeLayerRecord(repo, digestOf('other'), LAYER);
  await writeFile(join(recordsFolder(repo), 'sha256-x.tmp'), '');
  await keepLayerRecords(repo, new Set([DIGEST]));
  expect(await readdir(recordsFolder(repo))).toHaveLength(1);
  await addBranch();
  expect(await readLayerRecord(repo, DIGEST)).toEqual(LAYER);
});
