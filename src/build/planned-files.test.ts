import { chown, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { digestOf, hexOf } from '../digest.ts';
import type { PlannedFile } from '../plan/plan.ts';
import { Store } from '../store/store.ts';
import { writePlannedFiles } from './planned-files.ts';
import { RootFs } from './root-fs.ts';

const BYTES = Buffer.from([0, 255, 10, 128]);
let folder: string;
let store: Store;
let fs: RootFs;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-planned-'));
  store = await Store.open(join(folder, 'store'));
  await mkdir(join(folder, 'root/etc'), { recursive: true });
  const { uid, gid } = await stat(folder);
  await chown(join(folder, 'root'), uid, gid);
  await writeFile(join(folder, 'root/etc/passwd'), `root:x:${uid}:${gid}::/root:/bin/sh\n`);
  await writeFile(join(folder, 'root/etc/group'), `root:x:${gid}:\n`);
  fs = new RootFs(join(folder, 'root'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const place = { path: '/usr/lib/x/program', mode: 0o755, user: 'root', group: 'root' };
const blob: PlannedFile = { ...place, blob: { digest: digestOf(BYTES), size: BYTES.length } };

it('writes a blob of the store byte for byte, beside texts', async () => {
  await writeFile(store.blobPath(hexOf(digestOf(BYTES))), BYTES);
  await writePlannedFiles(fs, [blob, { ...place, path: '/etc/motd', mode: 0o644, content: 'hi\n' }], store);
  expect(await readFile(join(folder, 'root/usr/lib/x/program'))).toEqual(BYTES);
  expect((await stat(join(folder, 'root/usr/lib/x/program'))).mode & 0o7777).toBe(0o755);
  expect(await readFile(join(folder, 'root/etc/motd'), 'utf8')).toBe('hi\n');
});

it.each([
  ['one byte is another', Buffer.from([0, 255, 10, 129])],
  ['it is longer', Buffer.concat([BYTES, BYTES])],
])('writes nothing of a blob when %s', async (_name, damaged) => {
  await writeFile(store.blobPath(hexOf(digestOf(BYTES))), damaged);
  await expect(writePlannedFiles(fs, [blob], store)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(await fs.exists('/usr/lib/x/program')).toBe(false);
});

it('says that a blob is missing', async () => {
  await expect(writePlannedFiles(fs, [blob], store)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
