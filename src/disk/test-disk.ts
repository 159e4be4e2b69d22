/** Disks to test images with, in the store: made once per image and tools. */
import { rename, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';

import { codeDigest } from '../build/builder-digest.ts';
import { digestOfJson, hexOf } from '../digest.ts';
import type { Reporter } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import { createDisk } from './create-disk.ts';
import type { InstallableImage } from '../ostree/import-image.ts';

export interface TestDiskOptions {
  readonly image: InstallableImage;
  /** Held in use by the caller. */
  readonly store: Store;
  readonly toolsRoot: ToolsRoot;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The path of a raw disk with the image, made when the store has none. Nobody may write to it. Errors as
 * `createDisk`.
 */
export async function ensureTestDisk(options: TestDiskOptions): Promise<string> {
  const { image, store, toolsRoot, reporter, signal } = options;
  const installer = await codeDigest(['disk', 'tools']);
  const key = hexOf(digestOfJson({ image: image.digest, tools: toolsRoot.path, installer }));
  const path = store.path('disks', `${key}.raw`);
  await using _lock = await store.lock(`disk-${key}`, signal, () => {
    reporter.info('waiting for another command to install the same image');
  });
  return await reporter.stage('Install disk', async (stage) => {
    if ((await stat(path).catch(() => undefined))?.isFile() === true) {
      stage.cached(image.name);
      const now = new Date();
      await utimes(path, now, now); // what was used longest ago goes first when the store is cleaned
      return path;
    }
    await using scratch = await store.scratch('test-disk');
    const made = await createDisk({
      image,
      output: join(scratch.path, 'disk.raw'),
      format: 'raw',
      store,
      toolsRoot,
      reporter,
      signal,
    });
    await rename(made.path, path);
    return path;
  });
}
