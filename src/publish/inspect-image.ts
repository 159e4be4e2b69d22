/** What an image is, from its documents alone: none of its layers is read. */
import * as z from 'zod';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES } from '../oci/blob.ts';
import { readDocument } from '../oci/image-graph.ts';
import type { ImageSource, TransferOptions } from '../oci/image-transfer.ts';
import { type Descriptor, ImageConfig, MEDIA_TYPES } from '../oci/schema.ts';

export interface InspectedImage {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Of an index: what it holds. */
  readonly manifests: readonly Descriptor[];
  readonly layers: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly artifactType: string | undefined;
  /** Of an image. */
  readonly config: ImageConfig | undefined;
  /** Bytes of all blobs. */
  readonly bytes: number;
  readonly referrers: readonly Descriptor[];
}

/** Of manifests and indexes alike. */
const Annotated = z.object({ annotations: z.record(z.string(), z.string()).optional() });

/** @throws IngotError NOT_FOUND, IMAGE_INVALID, DIGEST_MISMATCH */
export async function inspectImage(
  source: ImageSource,
  reference: string | undefined,
  options: TransferOptions = {},
): Promise<InspectedImage> {
  const document = await source.manifest(reference, options);
  const { digest, mediaType } = document.descriptor;
  const { children, blobs, artifactType } = readDocument(document, source.shown);
  const referrers = await source.referrers(digest, options);
  const { annotations = {} } = Annotated.parse(JSON.parse(document.bytes.toString()));
  const config = blobs[0]?.mediaType === MEDIA_TYPES.config ? blobs[0] : undefined;
  return {
    digest,
    mediaType,
    manifests: children,
    layers: blobs.slice(1),
    annotations,
    artifactType,
    config: config === undefined ? undefined : await readConfig(source, config, options),
    bytes: blobs.reduce((sum, { size }) => sum + size, 0),
    referrers,
  };
}

async function readConfig(
  source: ImageSource,
  config: Descriptor,
  options: TransferOptions,
): Promise<ImageConfig> {
  if (config.size > MAX_JSON_BYTES) {
    throw new IngotError('IMAGE_INVALID', `${source.shown}: its configuration has ${config.size} bytes`);
  }
  const bytes = Buffer.concat(await Array.fromAsync(source.blob(config, options)));
  try {
    return ImageConfig.parse(JSON.parse(bytes.toString()));
  } catch {
    throw new IngotError('IMAGE_INVALID', `${source.shown}: its configuration is not that of an image`);
  }
}
