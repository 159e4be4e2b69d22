/** Layers into a repository: the tree of the commit is the tree that GNU tar makes of the same layers. Needs root. */
import { appendFile, copyFile, mkdir, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { renderTarEntry } from '../../src/build/archive/tar-header.ts';
import { digestOf } from '../../src/digest.ts';
import { IngotError } from '../../src/errors.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { MEDIA_TYPES } from '../../src/oci/schema.ts';
import { readCommitMetadata } from '../../src/ostree/commit-metadata.ts';
import { DiskTools } from '../../src/ostree/disk-tools.ts';
import {
  type ImageLayer,
  importImage,
  importLayer,
  installableImage,
} from '../../src/ostree/import-image.ts';
import { layerRef, readLayerRecord } from '../../src/ostree/layer-record.ts';
import type { LayerDirectories } from '../../src/ostree/tar-directories.ts';
import { FILE_OWNER_CAPABILITIES } from '../../src/tools/tools-root.ts';
import { type BuiltImage, builtImage, TEST_FOLDER } from '../support/built-image.ts';
import { deriveImage, testTools } from '../support/derived-image.ts';
import { describeTree } from '../support/tree.ts';
import { unpackImage } from '../support/unpack-image.ts';

let base: BuiltImage;
let tools: DiskTools;
let scratch: string;

beforeAll(async () => {
  base = await builtImage();
  tools = new DiskTools((await testTools(base)).toolsRoot);
  scratch = await mkdtemp(join(TEST_FOLDER, 'import-'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

async function ostree(...words: string[]): Promise<string> {
  const { stdout } = await tools.run(['ostree', ...words], [{ path: scratch }], {
    capabilities: FILE_OWNER_CAPABILITIES,
  });
  return stdout.trim();
}

/** A repository keeps no times of files, and files of equal bytes and owner are one. */
async function described(root: string): Promise<Record<string, unknown>> {
  const files = await describeTree(root);
  return Object.fromEntries(
    [...files].map(([path, { mtime: _time, linkOf: _first, ...file }]) => [path, file]),
  );
}

test('an image is what its layers say, and a commit that ostree itself would make', async () => {
  const layout = join(scratch, 'layout');
  const image = await resolveImage(await deriveImage(base, layout));
  const repo = join(scratch, 'repo');
  await ostree('init', `--repo=${repo}`, '--mode=bare');
  const { ref, kernelArguments } = await importImage(
    installableImage(image),
    { folder: scratch, repo, isDurable: true },
    tools,
  );
  expect(kernelArguments).toContain('derived=yes');
  await ostree('fsck', '--quiet', `--repo=${repo}`);

  const [ours, tar] = [join(scratch, 'ours'), join(scratch, 'tar')];
  await ostree('checkout', `--repo=${repo}`, '--force-copy', ref, ours);
  await unpackImage(layout, undefined, tar);
  await mkdir(join(tar, 'usr'), { recursive: true });
  await rename(join(tar, 'etc'), join(tar, 'usr/etc'));
  const expected = await described(tar);
  expect(Object.keys(expected).length).toBeGreaterThan(5000);
  expect(await described(ours)).toEqual(expected);

  // The same tree, committed by ostree, has the same checksum.
  const again = await ostree('commit', `--repo=${repo}`, '--branch=again', `--tree=dir=${ours}`);
  const contents = async (commit: string): Promise<string | undefined> =>
    /ContentChecksum: +(\w+)/.exec(await ostree('show', `--repo=${repo}`, commit))?.[1];
  expect(await contents(again)).toBe(await contents(ref));

  // ostree reads what we wrote, and we what it wrote.
  expect(await ostree('show', `--repo=${repo}`, '--print-metadata-key=ostree.manifest-digest', ref)).toBe(
    `'${image.digest}'`,
  );
  expect(await readCommitMetadata(repo, ref)).toMatchObject({
    digest: image.digest,
    manifest: image.manifest,
  });
  const layer = layerRef(image.manifest.layers[0]?.digest ?? image.digest);
  expect(await readCommitMetadata(repo, layer)).toMatchObject({ digest: undefined, manifest: undefined });

  // Nothing is made twice.
  const commit = await ostree('rev-parse', `--repo=${repo}`, ref);
  await importImage(installableImage(image), { folder: scratch, repo }, tools);
  expect(await ostree('rev-parse', `--repo=${repo}`, ref)).toBe(commit);
});

test('all of a blob counts, also what follows the end of its archive', async () => {
  const repo = join(scratch, 'trailing');
  await ostree('init', `--repo=${repo}`, '--mode=bare');
  const header = { path: 'etc', type: 'directory', mode: 0o755, uid: 0, gid: 0, mtime: 0 } as const;
  const end = Buffer.alloc(1024);
  const layer = async (name: string, plain: Buffer): Promise<ImageLayer> => {
    const bytes = zstdCompressSync(plain);
    const path = join(scratch, name);
    await writeFile(path, bytes);
    const mediaType = MEDIA_TYPES.layerZstd;
    return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, path };
  };
  const place = { folder: scratch, repo };
  // More than any pipe holds.
  const padding = Buffer.alloc(4 * 1024 * 1024);
  const long = Buffer.concat([renderTarEntry(header), end, padding]);
  const good = await layer('good', long);
  expect((await importLayer(good, place, tools)).directories.map(({ path }) => path)).toEqual(['etc']);

  const opt = renderTarEntry({ ...header, path: 'opt' });
  const other = await layer('other', Buffer.concat([opt, end, padding]));
  const path = join(scratch, 'changed');
  await copyFile(other.path ?? '', path);
  await truncate(path, other.descriptor.size - 1);
  await appendFile(path, 'x');
  await expect(importLayer({ ...other, path }, place, tools)).rejects.toMatchObject({
    code: 'DIGEST_MISMATCH',
  });
  expect(await readLayerRecord(repo, other.descriptor.digest)).toBeUndefined();

  // ostree ends before the archive does, over a name that it does not take: that is said, of a blob that is right.
  const strange = await layer(
    'strange',
    Buffer.concat([renderTarEntry({ ...header, path: 'dev' }), device('dev/null'), end]),
  );
  await expect(importLayer(strange, place, tools)).rejects.toMatchObject({ code: 'DISK_FAILED' });
});

test('each layer is brought once; the first that fails ends the others, and what is said is why it did', async () => {
  const repo = join(scratch, 'failing');
  await ostree('init', `--repo=${repo}`, '--mode=bare');
  const image = installableImage(await resolveImage(join(scratch, 'layout')));
  const last = image.layers.at(-1)?.descriptor.digest;
  const ended: string[] = [];
  const importOne = async (
    { descriptor: { digest } }: ImageLayer,
    signal: AbortSignal,
  ): Promise<LayerDirectories> => {
    if (digest === last) throw new IngotError('REGISTRY_FAILED', 'gone');
    // As a download does that is told to end.
    await setTimeout(60_000, undefined, { signal }).catch(() => undefined);
    ended.push(digest);
    throw new IngotError('INTERRUPTED', 'interrupted');
  };
  const [first, second] = image.layers.slice(-2);
  if (first === undefined || second === undefined) throw new Error('too few layers');
  const few = { ...image, layers: [first, first, second] };
  await expect(importImage(few, { folder: scratch, repo }, tools, { importOne })).rejects.toMatchObject({
    code: 'REGISTRY_FAILED',
    message: 'gone',
  });
  expect(ended).toEqual([first.descriptor.digest]);
});

/** The header of a character device. */
function device(path: string): Buffer {
  const header = Buffer.from(
    renderTarEntry({ path, type: 'file', mode: 0o666, uid: 0, gid: 0, mtime: 0, size: 0 }),
  );
  header.write('3', 156, 'latin1');
  header.write('        ', 148, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0`, 148, 'latin1');
  return header;
}
