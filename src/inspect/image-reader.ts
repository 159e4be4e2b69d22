/** An image that can be looked into, wherever it is. */
import type { Digest } from '../digest.ts';
import { resolveImage, type LayoutReference } from '../oci/layout.ts';
import { verifiedChunks } from '../oci/blob.ts';
import type { Descriptor, ImageConfig, Manifest } from '../oci/schema.ts';

export interface ImageReader extends AsyncDisposable {
  /** As the user named it. */
  readonly shown: string;
  readonly digest: Digest;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** Whether reading a blob costs no network. */
  readonly isLocal: boolean;
  /** The bytes of a blob; the last step throws when they are not what the descriptor says. */
  blob(descriptor: Descriptor): AsyncIterable<Buffer>;
}

/** @throws IngotError NOT_FOUND, DIGEST_MISMATCH, STORE_CORRUPT */
export async function readLayoutImage(reference: LayoutReference, shown: string): Promise<ImageReader> {
  const { digest, manifest, config, blobPath } = await resolveImage(reference);
  return {
    shown,
    digest,
    manifest,
    config,
    isLocal: true,
    blob: (descriptor) => verifiedChunks(blobPath(descriptor.digest), descriptor),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
