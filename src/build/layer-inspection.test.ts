import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { hexOf } from '../digest.ts';
import { layerContents } from '../oci/layer-contents.ts';
import type { PlanStep } from '../plan/plan.ts';
import { Store } from '../store/store.ts';
import { packChunks } from './archive/pack.ts';
import { chunksByPath } from './debian/package-files.ts';
import { LayerInspection } from './layer-inspection.ts';
import type { PackedLayer } from './packed-layer.ts';
import { RootFs } from './root-fs.ts';

const item = (name: string, version = '1'): PlanStep['packages'][0] =>
  ({ name, version, architecture: 'amd64' }) as PlanStep['packages'][0];
const unpack = {
  name: 'addon-x',
  kind: 'unpack',
  needs: ['base'],
  packages: [item('one'), item('two')],
  chunks: [
    { name: 'rest', packages: [] },
    { name: 'packages', packages: ['one', 'two'] },
    { name: 'one:files', packages: ['one'], filesFrom: 4 },
  ],
} as unknown as PlanStep;
const BASE = { name: 'base', kind: 'base', packages: [item('bash')], chunks: [], needs: [] } as unknown as PlanStep;
const seal = { name: 'seal', kind: 'seal', packages: [], chunks: [{ name: 'rest', packages: [] }] } as unknown as PlanStep;

let scratch: string;
let store: Store;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-inspect-'));
  store = await Store.open(join(scratch, 'store'));
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

/** A layer of these files, as a build packs it. */
async function packed(step: PlanStep, files: Readonly<Record<string, string>>): Promise<PackedLayer> {
  const tree = await mkdtemp(join(scratch, 'tree-'));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(tree, path, '..'), { recursive: true });
    await writeFile(join(tree, path), content);
  }
  const chunksOf = await chunksByPath(new RootFs(tree), step.chunks);
  return { chunks: await packChunks(store, tree, { chunks: step.chunks, chunksOf }, { epoch: 1 }) };
}

/** What is wrong with the layer, if it is said to be the step's. */
async function complaint(step: PlanStep, layer: PackedLayer, steps = [unpack, seal]): Promise<string> {
  const inspection = new LayerInspection(step);
  try {
    for (const { name, digest, mediaType, size } of layer.chunks) {
      const reader = inspection.reader(name);
      const path = store.blobPath(hexOf(digest));
      for await (const part of layerContents(path, { digest, mediaType, size })) reader.write(part);
      reader.end();
    }
    inspection.finish(layer, steps, 'the cache');
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const INFO = 'usr/lib/sysimage/dpkg/info';
const SOUND = { [`${INFO}/one.list`]: '/usr/bin/one\n', [`${INFO}/two:amd64.list`]: '', 'usr/bin/one': 'large', 'etc/x': '' };

describe('a layer', () => {
  it('is that of its step, and may have new lists of packages below it', async () => {
    expect(await complaint(unpack, await packed(unpack, SOUND))).toBe('');
    const replacing = await packed(unpack, { ...SOUND, [`${INFO}/bash.list`]: '' });
    expect(await complaint(unpack, replacing, [BASE, unpack, seal])).toBe('');
  });

  it('lacks a package, or has one more', async () => {
    const less = await packed(unpack, { [`${INFO}/one.list`]: '' });
    expect(await complaint(unpack, less)).toBe('the cache has an archive without the package two for addon-x');
    const more = await packed(unpack, { ...SOUND, [`${INFO}/three.list`]: '' });
    expect(await complaint(unpack, more)).toBe('the cache has an archive with the package three for addon-x');
  });

  it('has other chunks, or more in them than it says', async () => {
    const { chunks } = await packed(unpack, SOUND);
    const renamed = chunks.map((chunk) => ({ ...chunk, name: `${chunk.name}-2` }));
    expect(await complaint(unpack, { chunks: renamed })).toBe('the cache has other chunks for addon-x');
    const fewer = chunks.map((chunk) => ({ ...chunk, entries: chunk.entries - 1 }));
    expect(await complaint(unpack, { chunks: fewer })).toMatch(/^the cache has \d+ entries instead of \d+ for addon-x$/);
    expect(await complaint(unpack, { chunks: chunks.slice(0, 1) })).toMatch(/without the package one/);
  });
});

describe('a seal', () => {
  const database = (...packages: readonly (readonly [string, string])[]): Record<string, string> => ({
    'usr/lib/sysimage/dpkg/status': packages
      .map(([name, version]) => `Package: ${name}\nStatus: install ok installed\nVersion: ${version}\n`)
      .join('\n'),
  });

  it('has the database of all layers, in their versions', async () => {
    expect(await complaint(seal, await packed(seal, database(['one', '1'], ['two', '1'])))).toBe('');
    for (const other of [database(['one', '1']), database(['one', '1'], ['two', '2']), { 'etc/x': '' }]) {
      expect(await complaint(seal, await packed(seal, other))).toBe(
        'the cache has a database of other packages for seal',
      );
    }
  });

  it('over an image says nothing of that image’s packages', async () => {
    const base = { ...seal, name: 'base', kind: 'image-base' } as PlanStep;
    expect(await complaint(seal, await packed(seal, database(['bash', '5'])), [base, unpack, seal])).toBe('');
  });
});
