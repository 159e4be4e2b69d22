import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { makeTestImage } from '../../test/support/test-image.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import { LayoutSource } from '../oci/layout-source.ts';
import { LayoutTarget } from '../oci/layout-target.ts';
import { silentReporter } from '../report/events.ts';
import { copyImage } from './copy-image.ts';

test('what may refer to an image is asked for at once', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'ingot-copy-'));
  try {
    const image = await makeTestImage(scratch, [1000]);
    await using source = await LayoutSource.open(image.layout);
    const asked: string[] = [];
    const all = Promise.withResolvers<undefined>();
    const note = (what: string): void => {
      asked.push(what);
      if (asked.length === 4) all.resolve(undefined);
    };
    // Answers none before it has all questions.
    const slow: ImageSource = {
      shown: source.shown,
      blob: (descriptor, options) => source.blob(descriptor, options),
      blobFile: source.blobFile,
      manifest: async (reference) => {
        if (typeof reference === 'string' && reference.startsWith('sha256-')) {
          note(reference.slice(reference.indexOf('.')));
          await all.promise;
        }
        return source.manifest(reference);
      },
      referrers: async (subject) => {
        note('referrers');
        await all.promise;
        return source.referrers(subject);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const options = { source: slow, reference: '1.0', names: ['1'], reporter: silentReporter };
    await using target = await LayoutTarget.open(join(scratch, 'copy'), scratch);
    const copied = await copyImage({ ...options, target });
    expect(copied.digest).toBe(image.digest);
    expect(asked.sort()).toEqual(['.att', '.sbom', '.sig', 'referrers']);
  } finally {
    await rm(scratch, { recursive: true });
  }
});
