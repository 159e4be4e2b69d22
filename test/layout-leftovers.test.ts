import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { digestOf } from '../src/digest.ts';
import { verifyLayout } from '../src/oci/layout.ts';
import { addToLayout, type LayoutBlob, type LayoutEntry } from '../src/oci/layout-write.ts';
import { MEDIA_TYPES } from '../src/oci/schema.ts';

let scratch: string;
let layout: string;
let blobs: LayoutBlob[];
let entries: LayoutEntry[];

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot left ü-'));
  await mkdir(join(scratch, 'source'));
  layout = join(scratch, 'out', 'layout');
  blobs = [];
  const add = async (mediaType: string, value: object): Promise<LayoutBlob> => {
    const text = JSON.stringify(value);
    const source = join(scratch, 'source', digestOf(text));
    await writeFile(source, text);
    const blob = { source, descriptor: { mediaType, digest: digestOf(text), size: Buffer.byteLength(text) } };
    blobs.push(blob);
    return blob;
  };
  const rootfs = { type: 'layers', diff_ids: [] };
  const config = await add(MEDIA_TYPES.config, { architecture: 'amd64', os: 'linux', rootfs });
  const manifest = await add(MEDIA_TYPES.manifest, {
    schemaVersion: 2,
    config: config.descriptor,
    layers: [],
  });
  entries = [{ descriptor: manifest.descriptor, name: 'a' }];
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

const write = (): Promise<void> => addToLayout(layout, blobs, entries);
const beside = (): string[] => readdirSync(join(layout, '..')).sort();

interface Writer {
  /** Once it is about to put the first blob in its place. */
  readonly stopped: Promise<unknown>;
  kill(): Promise<void>;
}

/** Another program that writes the layout, and stops in the middle. */
function startWriter(): Writer {
  const module = new URL('../src/oci/layout-write.ts', import.meta.url).href;
  const script = `
    const { addToLayout } = await import(${JSON.stringify(module)});
    const stop = () => {
      process.stdout.write('stopped');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    };
    const blob = { descriptor: ${JSON.stringify(blobs[0]?.descriptor)}, get source() { stop(); } };
    await addToLayout(${JSON.stringify(layout)}, [blob], ${JSON.stringify(entries)});
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  return {
    stopped: once(child.stdout, 'data'),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

test('a folder that a killed writer began goes with the next write, but never one of a living writer', async () => {
  const [killed, living] = [startWriter(), startWriter()];
  await Promise.all([killed.stopped, living.stopped]);
  const temporary = expect.stringMatching(/^\.layout\.tmp-[A-Za-z0-9]{6}$/) as string;
  try {
    expect(beside()).toEqual([temporary, temporary]);
    await killed.kill();
    await write();
    expect(beside()).toContain('layout');
    expect(beside()).toContainEqual(temporary);
  } finally {
    await living.kill();
  }
  // The kernel takes a moment to free what the dead have held.
  await vi.waitFor(
    async () => {
      await write(); // into the layout that is there
      expect(beside()).toEqual(['layout']);
    },
    { timeout: 10_000 },
  );
  await verifyLayout(layout);
});

test('what is not ours stays', async () => {
  const others = ['.layout.tmp-abc', '.layout.tmp-abcdefg', '.other.tmp-abcdef'];
  for (const name of others) await mkdir(join(layout, '..', name), { recursive: true });
  await writeFile(join(layout, '..', '.layout.tmp-foobar'), 'a file');
  await write();
  expect(beside()).toEqual([...others, '.layout.tmp-foobar', 'layout'].sort());
});

test('unfinished files in a layout go with the next write, and no others', async () => {
  await write();
  const hex = 'f'.repeat(64);
  const uuid = '01234567-89ab-4def-8123-456789abcdef';
  const ours = [`.index.json.${uuid}.tmp`, `blobs/sha256/${hex}.${uuid}.tmp`];
  const others = ['notes.tmp', `blobs/sha256/${hex}.tmp`];
  for (const name of [...ours, ...others]) await writeFile(join(layout, name), '');
  await write();
  const there = await readdir(layout, { recursive: true });
  expect(there.filter((name) => name.endsWith('.tmp')).sort()).toEqual(others.sort());
});
