/** Layers into a repository: the tree of the commit is the tree that GNU tar makes of the same layers. Needs root. */
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { resolveImage } from '../../src/oci/layout.ts';
import { readCommitMetadata } from '../../src/ostree/commit-metadata.ts';
import { DiskTools } from '../../src/ostree/disk-tools.ts';
import { importImage, installableImage } from '../../src/ostree/import-image.ts';
import { layerRef } from '../../src/ostree/layer-record.ts';
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
