/** A small index of two images, for amd64 and arm64, in a layout. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { canonicalJson, type Digest, digestOf } from '../../src/digest.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { LayoutTarget } from '../../src/oci/layout-target.ts';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { copyImage } from '../../src/publish/copy-image.ts';
import { createReporter } from '../../src/report/events.ts';
import { makeTestImage } from './test-image.ts';

export interface TestIndex {
  readonly layout: string;
  /** Of the index. */
  readonly digest: Digest;
  /** Of its images. */
  readonly images: readonly Digest[];
}

/** Named `1.0` in the layout. */
export async function makeTestIndex(scratch: string): Promise<TestIndex> {
  const layout = join(scratch, 'index');
  const temporary = join(scratch, 'tmp');
  await mkdir(temporary, { recursive: true });
  const reporter = createReporter([]);
  const manifests: Descriptor[] = [];
  for (const architecture of ['amd64', 'arm64']) {
    const image = await makeTestImage(join(scratch, architecture), [500]);
    await using source = await LayoutSource.open(image.layout);
    await using target = await LayoutTarget.open(layout, temporary);
    await copyImage({ source, reference: '1.0', target, names: [architecture], reporter });
    const { descriptor } = await source.manifest('1.0');
    manifests.push({ ...descriptor, platform: { os: 'linux', architecture } });
  }
  const bytes = Buffer.from(canonicalJson({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
  const descriptor = { mediaType: MEDIA_TYPES.index, digest: digestOf(bytes), size: bytes.length };
  await using target = await LayoutTarget.open(layout, temporary);
  for (const one of manifests) await target.hasManifest(one);
  await target.putManifest({ descriptor, bytes }, ['1.0']);
  await target.finish();
  return { layout, digest: descriptor.digest, images: manifests.map(({ digest }) => digest) };
}
