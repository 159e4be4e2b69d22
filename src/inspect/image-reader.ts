/** An image that can be looked into, wherever it is. */
import * as z from 'zod';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES, parseJson } from '../oci/blob.ts';
import { INDEX_MEDIA_TYPES, readDocument } from '../oci/image-graph.ts';
import type { ImageSource, ManifestDocument, TransferOptions } from '../oci/image-transfer.ts';
import { MAX_INDEX_DEPTH } from '../oci/layout.ts';
import { type Descriptor, ImageConfig, LAYER_MEDIA_TYPES, MEDIA_TYPES } from '../oci/schema.ts';

export interface ImageReader extends AsyncDisposable {
  /** As the user named it. */
  readonly shown: string;
  readonly digest: Digest;
  readonly annotations: Readonly<Record<string, string>>;
  readonly config: ImageConfig;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
  /** Whether reading a blob costs no network. */
  readonly isLocal: boolean;
  /** Where it is; closed with it. */
  readonly source: ImageSource;
  /** The bytes of a blob; the last step throws when they are not what the descriptor says. */
  blob(descriptor: Descriptor): AsyncIterable<Buffer>;
}

export interface ReaderOptions extends TransferOptions {
  readonly shown: string;
  readonly isLocal: boolean;
}

const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
const Annotated = z.object({ annotations: z.record(z.string(), z.string()).optional() });

/**
 * The image of a source; of an index, the one for the architecture that images are built for.
 *
 * @throws IngotError IMAGE_INVALID, NOT_FOUND, and what the source throws
 */
export async function openReader(
  source: ImageSource,
  reference: string | undefined,
  { shown, isLocal, ...options }: ReaderOptions,
): Promise<ImageReader> {
  const document = await manifestOf(source, await source.manifest(reference, options), options, 0);
  const [config, ...layers] = readDocument(document, shown).blobs;
  if (config === undefined) throw invalid(shown, 'its manifest names no configuration');
  const { annotations = {} } = parseJson(document.bytes.toString(), Annotated, shown, 'manifest');
  return {
    shown,
    digest: document.descriptor.digest,
    annotations,
    config: parseJson(await readSmall(source, config, options), ImageConfig, shown, 'image configuration'),
    layers: layers.map((layer) => asLayer(layer, shown)),
    isLocal,
    source,
    blob: (descriptor) => source.blob(descriptor, options),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

async function manifestOf(
  source: ImageSource,
  document: ManifestDocument,
  options: TransferOptions,
  depth: number,
): Promise<ManifestDocument> {
  if (!INDEX_MEDIA_TYPES.has(document.descriptor.mediaType)) return document;
  if (depth >= MAX_INDEX_DEPTH) throw invalid(source.shown, 'its indexes hold too many indexes');
  const { children } = readDocument(document, source.shown);
  const fitting = children.filter(
    ({ platform }) => platform?.os === 'linux' && platform.architecture === 'amd64',
  );
  const [child, ...more] = fitting.length > 0 ? fitting : children;
  if (child === undefined || (fitting.length === 0 && more.length > 0)) {
    throw new IngotError('NOT_FOUND', `${source.shown} has no image for linux/amd64`, {
      hint: 'name an image by its digest',
    });
  }
  return manifestOf(source, await source.manifest(child, options), options, depth + 1);
}

function asLayer(layer: Descriptor, shown: string): Descriptor {
  if (layer.mediaType === DOCKER_LAYER) return { ...layer, mediaType: MEDIA_TYPES.layerGzip };
  if (LAYER_MEDIA_TYPES.has(layer.mediaType)) return layer;
  throw invalid(shown, `${layer.digest} is ${JSON.stringify(layer.mediaType)}, no layer of an image`);
}

async function readSmall(
  source: ImageSource,
  descriptor: Descriptor,
  options: TransferOptions,
): Promise<string> {
  if (descriptor.size > MAX_JSON_BYTES) {
    throw invalid(source.shown, `its configuration is said to have ${descriptor.size} bytes`);
  }
  const chunks: Buffer[] = [];
  for await (const chunk of source.blob(descriptor, options)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function invalid(shown: string, what: string): IngotError {
  return new IngotError('IMAGE_INVALID', `${shown}: ${what}`, {
    hint: 'give an image of an operating system, such as `ingot build` makes',
  });
}
