/** A revision of a package that Debian only packs: the same bits with another changelog. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { packChunks, type PackedChunk } from '../src/build/archive/pack.ts';
import { chunksByPath } from '../src/build/debian/package-files.ts';
import { RootFs } from '../src/build/root-fs.ts';
import { settleTimes } from '../src/build/tree-times.ts';
import { GROUP_BYTES, planChunks } from '../src/plan/chunks.ts';
import { Store } from '../src/store/store.ts';

const RELEASED = 1_744_113_600;
const EPOCH = 1_790_000_000;
const FIRMWARE = 'lib/firmware/nvidia/550/gsp.bin';
const CHANGELOG = 'usr/share/doc/firmware-gsp/changelog.Debian';

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ingot-revised-'));
  store = await Store.open(join(folder, 'store'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** What a layer has of revision `revision` of the package, unpacked from a real archive and packed into chunks. */
async function packRevision(revision: number, component: string): Promise<PackedChunk[]> {
  const source = join(folder, `source-${component}-${revision}`);
  const write = (path: string, content: string | Buffer, time: number): void => {
    mkdirSync(dirname(join(source, path)), { recursive: true });
    writeFileSync(join(source, path), content);
    utimesSync(join(source, path), time, time);
  };
  // Vendors give files with times of their own; documents are of the day of the revision.
  write(`usr/${FIRMWARE}`, Buffer.alloc(2_000_000, 'firmware '), RELEASED);
  write(CHANGELOG, `revision ${revision}\n`, RELEASED + revision * 86_400);
  const control = ['Package: firmware-gsp', `Version: 550-${revision}`, 'Architecture: amd64'];
  const more = ['Maintainer: Nobody <nobody@example.com>', 'Description: firmware', ''];
  write('DEBIAN/control', [...control, ...more].join('\n'), RELEASED);
  const deb = join(folder, `${component}-${revision}.deb`);
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', source, deb], { stdio: 'ignore' });

  const tree = join(folder, `tree-${component}-${revision}`);
  execFileSync('dpkg-deb', ['--extract', deb, tree]);
  const info = join(tree, 'usr/lib/sysimage/dpkg/info');
  mkdirSync(info, { recursive: true });
  writeFileSync(join(info, 'firmware-gsp.list'), `/.\n/${FIRMWARE}\n/${CHANGELOG}\n`);
  writeFileSync(join(info, 'firmware-gsp.md5sums'), `of revision ${revision}\n`);
  settleTimes(tree, EPOCH + revision);
  const item = {
    name: 'firmware-gsp',
    size: GROUP_BYTES + 1,
    filename: `pool/${component}/n/nvidia/firmware-gsp_550-${revision}_amd64.deb`,
  };
  const [chunks = []] = planChunks([{ packages: [item], epoch: EPOCH + revision }]);
  return packChunks(
    store,
    tree,
    { chunks, chunksOf: await chunksByPath(new RootFs(tree), chunks) },
    { epoch: EPOCH + revision },
  );
}

async function pulledFor(component: string): Promise<string[]> {
  const had = new Set((await packRevision(2, component)).map(({ digest }) => digest));
  const after = await packRevision(5, component);
  return after.filter(({ digest }) => !had.has(digest)).map(({ name }) => name);
}

describe('a node that has one revision and pulls the next', () => {
  it('takes the documents and leaves the firmware, where that is only packed', async () => {
    expect(await pulledFor('non-free-firmware')).toEqual(['firmware-gsp']);
    const sizes = new Map(
      (await packRevision(7, 'non-free-firmware')).map(({ name, uncompressedSize }) => [
        name,
        uncompressedSize,
      ]),
    );
    expect(sizes.get('firmware-gsp')).toBeLessThan(20_000);
    expect(sizes.get('firmware-gsp:files')).toBeGreaterThan(2_000_000);
  });

  it('takes all of what Debian compiles, whose programs are other bits each time', async () => {
    expect(await pulledFor('main')).toEqual(['firmware-gsp']);
    const [whole] = await packRevision(7, 'main');
    expect(whole?.uncompressedSize).toBeGreaterThan(2_000_000);
  });
});
