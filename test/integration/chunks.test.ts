/** Chunks of the real image: they are its layers' trees, and a node pulls little when little changed. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { loadLock } from '../../src/cli/load-lock.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import type { Descriptor } from '../../src/oci/schema.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { packageFile, packageOf, storeWithPackages } from '../support/thin-store.ts';
import { describeTree } from '../support/tree.ts';

let image: BuiltImage;
let folder: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/chunks-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const layerOf = ({ annotations }: Descriptor): string => annotations?.['dev.ingot.layer'] ?? '';
const chunkOf = ({ annotations }: Descriptor): string => annotations?.['dev.ingot.chunk'] ?? '';
const layersIn = async (layout: string): Promise<readonly Descriptor[]> =>
  (await resolveImage({ directory: layout, name: image.version })).manifest.layers;

function list(digest: string): string[] {
  const blob = join(image.layout, 'blobs/sha256', digest.slice('sha256:'.length));
  const text = execFileSync('tar', ['--zstd', '--list', '--file', blob], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return text.trimEnd().split('\n');
}

describe('the chunks of the image', () => {
  it('bring each file once, and every file of a package in one of them', async () => {
    const layers = (await layersIn(image.layout)).filter((layer) => layerOf(layer) === 'base');
    expect(layers.length).toBeGreaterThan(10);
    expect(layers.map(chunkOf)[0]).toBe('rest');
    const seen = new Map<string, string>();
    for (const layer of layers) {
      for (const path of list(layer.digest).filter((entry) => !entry.endsWith('/'))) {
        expect(seen.get(path), path).toBeUndefined();
        seen.set(path, chunkOf(layer));
      }
    }
    const root = join(folder, 'iputils-ping');
    mkdirSync(root);
    const ping = packageOf(await loadLock(image.declaration.replace('.yaml', '.lock.yaml')), 'iputils-ping');
    execFileSync('dpkg-deb', ['--extract', packageFile(image.store, ping), root]);
    const files = [...(await describeTree(root))].filter(([, { type }]) => type !== (0o040000).toString(8));
    expect(files.length).toBeGreaterThan(5);
    const homes = new Set(files.map(([path]) => seen.get(path)));
    homes.add(seen.get('usr/lib/sysimage/dpkg/info/iputils-ping.list'));
    expect([...homes]).toEqual([expect.stringMatching(/^packages/)]);
  });

  it('take nothing away that none of them brought', async () => {
    const brought = new Set<string>();
    for (const layer of await layersIn(image.layout)) {
      for (const path of list(layer.digest)) {
        const removed = path.replace(/(^|\/)\.wh\.([^/]+)$/, '$1$2');
        if (removed !== path) expect(brought, path).toContain(removed);
        brought.add(removed);
      }
    }
    expect(brought).toContain('usr/lib/sysimage/dpkg/status');
  });

  it('that nobody owns anything of are small, but for the initramfs', async () => {
    for (const layer of await layersIn(image.layout)) {
      if (chunkOf(layer) === 'rest') expect(layer.size, layerOf(layer)).toBeLessThan(1_000_000);
    }
  });
});

/** The package with one more byte in one of its files, in a higher version, as the lock names it. */
function revise(item: LockedPackage, store: string): LockedPackage {
  const tree = join(folder, 'revised');
  execFileSync('dpkg-deb', ['--raw-extract', packageFile(store, item), tree]);
  const control = join(tree, 'DEBIAN/control');
  const version = `${item.version}+1`;
  writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*$/m, `Version: ${version}`));
  writeFileSync(join(tree, 'usr/bin/ping'), '\n', { flag: 'a' });
  const deb = join(folder, 'revised.deb');
  execFileSync('dpkg-deb', ['--build', tree, deb], {
    env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000' },
  });
  const bytes = readFileSync(deb);
  const revised = {
    ...item,
    version,
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
  const target = packageFile(store, revised);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(deb, `${target}.new`);
  renameSync(`${target}.new`, target);
  return revised;
}

describe('after a change of one package of the base', () => {
  it('a node pulls its chunk, and what no package owns', async () => {
    const store = storeWithPackages(image, join(folder, 'store'));
    const lockFile = image.declaration.replace('.yaml', '.lock.yaml');
    const lock = await loadLock(lockFile);
    const ping = packageOf(lock, 'iputils-ping');
    const revised = revise(ping, store);
    const declaration = join(folder, 'debian-minimal.yaml');
    copyFileSync(image.declaration, declaration);
    // Another day: accounts carry the day of their making.
    const later = new Date(Date.parse(lock.created) + 86_400_000).toISOString().replace('.000Z', 'Z');
    const text = readFileSync(lockFile, 'utf8');
    const [, base = ''] = /^ {2}- name: base\n(?:.*\n)*? {4}created: (\S+)$/m.exec(text) ?? [];
    expect(base).not.toBe('');
    writeFileSync(
      declaration.replace('.yaml', '.lock.yaml'),
      text
        .replace(/^created: .*$/m, `created: ${later}`)
        .replace(`created: ${base}`, `created: ${later}`)
        .replace(/^.*name: iputils-ping,.*$/m, (line) =>
          line
            .replace(ping.sha256, revised.sha256)
            .replace(ping.version, revised.version)
            .replace(`size: ${ping.size}`, `size: ${revised.size}`),
        ),
    );
    const layout = join(folder, 'layout');
    await ingotJson(['--store', store, 'build', declaration, '--output', layout]);

    const had = new Set((await layersIn(image.layout)).map(({ digest }) => digest));
    const pulled = (await layersIn(layout)).filter(({ digest }) => !had.has(digest));
    const names = pulled.map((layer) => `${layerOf(layer)} ${chunkOf(layer)}`);
    const total = pulled.reduce((sum, { size }) => sum + size, 0);
    console.log(`pulled ${total} bytes: ${names.join(', ')}`);
    expect(names).toHaveLength(3);
    expect(names).toContain('base rest');
    expect(names).toContain('seal rest');
    expect(total).toBeLessThan(8_000_000);
  });
});
