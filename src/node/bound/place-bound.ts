/**
 * Containers and models on a disk that is being made, so that its first start needs no network: models where they
 * belong, and blobs of containers where the node looks for them before it asks a registry. Podman is the node's own.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { type Digest, hexOf } from '../../digest.ts';
import type { ImageSource } from '../../oci/image-transfer.ts';
import { parseImageReference } from '../../oci/reference.ts';
import { type BoundContainer, type BoundContent, MODEL_FOLDER } from '../../plan/bound.ts';
import { StoredSource } from '../../publish/stored-source.ts';
import { formatBytes } from '../../report/format.ts';
import type { Reporter } from '../../report/events.ts';
import type { Store } from '../../store/store.ts';
import type { OpenPlace } from './bound-store.ts';
import { ModelStore } from './model-store.ts';

/** The node's own, for blobs on their way. */
const NODE_STORE = '/var/lib/ingot/store';

export interface PlaceOptions {
  readonly open: OpenPlace;
  /** Of the machine that makes the disk: what was pulled once is not pulled again. */
  readonly store: Store;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/**
 * @param root the folder with the node's `var`
 * @throws IngotError what sources throw, DIGEST_MISMATCH
 */
export async function placeBound(content: BoundContent, root: string, options: PlaceOptions): Promise<void> {
  const { reporter, signal } = options;
  const models = new ModelStore(join(root, MODEL_FOLDER));
  for (const one of content.containers) {
    await withSource(one.image, one.digest, options, (source) =>
      reporter.stage(`Pull container ${one.name}`, async (stage) => {
        await placeContainer(one, root, source, options);
        stage.detail(formatBytes(one.blobs.reduce((sum, { size }) => sum + size, 0)));
      }),
    );
  }
  for (const one of content.models) {
    await withSource(one.artifact, one.digest, options, (source) =>
      reporter.stage(`Pull model ${one.name}`, async (stage) => {
        await models.fetch(one, source, { signal });
        stage.detail(formatBytes(one.files.reduce((sum, { size }) => sum + size, 0)));
      }),
    );
  }
  await models.dropPulled();
}

async function withSource(
  place: string,
  digest: Digest,
  { open, store }: PlaceOptions,
  work: (source: ImageSource) => Promise<void>,
): Promise<void> {
  await using source = new StoredSource(open(parseImageReference(`${place}@${digest}`)), store);
  await work(source);
}

async function placeContainer(
  { manifest, blobs }: BoundContainer,
  root: string,
  source: ImageSource,
  { signal }: PlaceOptions,
): Promise<void> {
  const document = await source.manifest(manifest, { signal });
  const target = (digest: Digest): string => join(root, NODE_STORE, 'blobs/sha256', hexOf(digest));
  await mkdir(dirname(target(manifest)), { recursive: true });
  await writeFile(target(manifest), document.bytes);
  for (const { digest, size } of blobs) {
    const path = await source.blobFile?.({ mediaType: 'application/octet-stream', digest, size }, { signal });
    if (path === undefined) throw new TypeError('a stored source has files');
    await copyFile(path, target(digest));
  }
}
