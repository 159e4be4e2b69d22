/** A small image with real layers, in a layout. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { canonicalJson, type Digest, digestOf, hexOf } from '../../src/digest.ts';
import { addToLayout, type LayoutBlob } from '../../src/oci/layout-write.ts';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { run } from '../../src/proc/run.ts';

export interface TestImage {
  readonly layout: string;
  readonly digest: Digest;
  readonly layers: readonly Descriptor[];
}

/** One layer for each of `sizes`, with a file of so many random bytes; named `1.0` in the layout `scratch/layout`. */
export async function makeTestImage(
  scratch: string,
  sizes: readonly number[],
  annotations?: Readonly<Record<string, string>>,
): Promise<TestImage> {
  await mkdir(scratch, { recursive: true });
  const blobs: LayoutBlob[] = [];
  const layers: Descriptor[] = [];
  for (const [position, size] of sizes.entries()) {
    const file = `file-${position}`;
    await writeFile(join(scratch, file), randomBytes(size));
    const source = join(scratch, `layer-${position}.tar`);
    await run(['tar', '-cf', source, '--owner=0', '--group=0', '-C', scratch, file]);
    const { stdout } = await run(['stat', '-c', '%s', source]);
    const { stdout: sum } = await run(['sha256sum', source]);
    const digest = `sha256:${sum.slice(0, 64)}` as Digest;
    const descriptor = { mediaType: MEDIA_TYPES.layer, digest, size: Number(stdout) };
    layers.push(descriptor);
    blobs.push({ descriptor, source });
  }
  const document = async (value: object, mediaType: string): Promise<Descriptor> => {
    const text = canonicalJson(value);
    const digest = digestOf(text);
    const source = join(scratch, hexOf(digest));
    await writeFile(source, text);
    const descriptor = { mediaType, digest, size: Buffer.byteLength(text) };
    blobs.push({ descriptor, source });
    return descriptor;
  };
  const config = await document(
    {
      architecture: 'amd64',
      os: 'linux',
      created: '2026-01-01T00:00:00Z',
      config: {
        Labels: { test: createHash('sha256').update(canonicalJson(layers)).digest('hex') },
        Env: ['A=b'],
      },
      rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
    },
    MEDIA_TYPES.config,
  );
  const manifest = await document(
    { schemaVersion: 2, mediaType: MEDIA_TYPES.manifest, config, layers, annotations },
    MEDIA_TYPES.manifest,
  );
  const layout = join(scratch, 'layout');
  await addToLayout(layout, blobs, [{ descriptor: manifest, name: '1.0' }]);
  return { layout, digest: manifest.digest, layers };
}
