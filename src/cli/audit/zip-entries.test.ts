import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { run } from '../../proc/run.ts';
import { zipEntries } from './zip-entries.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot zip-'));
  await writeFile(join(folder, 'a.json'), 'a'.repeat(10_000));
  await writeFile(join(folder, 'ü.json'), '');
  await run(['zip', '-q', join(folder, 'both.zip'), 'a.json', 'ü.json'], { cwd: folder });
  await run(['zip', '-q', '-0', join(folder, 'stored.zip'), 'a.json', 'ü.json'], { cwd: folder });
  // A stream is packed without knowing its size, and with the fields for sizes over 4 GiB.
  await run(['sh', '-c', 'cat a.json | zip -q - - > streamed.zip'], { cwd: folder });
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function read(name: string): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for await (const entry of zipEntries(join(folder, name))) sizes[entry.name] = (await entry.read()).length;
  return sizes;
}

it.each(['both.zip', 'stored.zip'])('reads what zip packs: %s', async (name) => {
  expect(await read(name)).toEqual({ 'a.json': 10_000, 'ü.json': 0 });
});

it('reads what zip packs from a pipe', async () => {
  expect(await read('streamed.zip')).toEqual({ '-': 10_000 });
});

it('refuses what was damaged or cut short', async () => {
  const bytes = await readFile(join(folder, 'stored.zip'));
  bytes.writeUInt8(0x62, bytes.indexOf('aaaa'));
  await writeFile(join(folder, 'damaged.zip'), bytes);
  await expect(read('damaged.zip')).rejects.toThrow('a.json is damaged');
  await truncate(join(folder, 'damaged.zip'), bytes.length - 30);
  await expect(read('damaged.zip')).rejects.toThrow('directory');
  await writeFile(join(folder, 'none.zip'), 'PK');
  await expect(read('none.zip')).rejects.toThrow('directory');
});
