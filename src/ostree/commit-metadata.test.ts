import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import { readCommitMetadata, renderCommitMetadata } from './commit-metadata.ts';
import { checksumOf, objectPath, parseCommitTexts, renderCommit } from './tree/tree-objects.ts';

let repo: string;
beforeAll(async () => {
  repo = await mkdtemp(join(tmpdir(), 'ingot-commit-'));
});
afterAll(async () => {
  await rm(repo, { recursive: true });
});

async function write(texts: Readonly<Record<string, string>>): Promise<string> {
  const zero = Buffer.alloc(32);
  const bytes = renderCommit({
    ...{ tree: zero, meta: zero, subject: 'a subject', timestamp: 1, kernel: '6.12' },
    texts,
    refs: ['a', 'b'],
  });
  const checksum = checksumOf(bytes);
  const path = join(repo, 'objects', objectPath(checksum, 'commit'));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
  return checksum.toString('hex');
}

test('what a commit says of its image comes back, however large it is', async () => {
  for (const count of [0, 1, 1000, 5000]) {
    const layers = Array.from({ length: count }, (_, index) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
      digest: digestOf(String(index)),
      size: index,
    }));
    const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf('c'), size: 2 };
    const image = {
      version: '20260801.0',
      digest: digestOf('manifest'),
      manifest: { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers },
      config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
    } as unknown as Parameters<typeof renderCommitMetadata>[0];
    const commit = await write(renderCommitMetadata(image, ['quiet', 'grüße="a b"']));
    expect(await readCommitMetadata(repo, commit)).toEqual({
      digest: image.digest,
      manifest: image.manifest,
      config: image.config,
      kernelArguments: ['quiet', 'grüße="a b"'],
    });
  }
});

test('of somebody else’s commit there is nothing, and of none an error', async () => {
  expect(await readCommitMetadata(repo, await write({ version: '1' }))).toEqual({
    digest: undefined,
    manifest: undefined,
    config: undefined,
    kernelArguments: undefined,
  });
  for (const revision of ['0'.repeat(64), 'ingot/image/none']) {
    await expect(readCommitMetadata(repo, revision)).rejects.toMatchObject({ code: 'NODE_FAILED' });
  }
});

test('bytes that are no commit are never taken for one', () => {
  const whole = renderCommit({
    ...{ tree: Buffer.alloc(32), meta: Buffer.alloc(32), subject: '', timestamp: 0, kernel: 'k', refs: [] },
    texts: { version: '1' },
  });
  expect(parseCommitTexts(whole).get('version')).toBe('1');
  for (let length = 0; length < whole.length; length += 1) {
    const cut = whole.subarray(0, length);
    try {
      parseCommitTexts(cut);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
    }
  }
});
