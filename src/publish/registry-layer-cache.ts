/**
 * Layers kept in a registry: for each key the tag `layer-<hex>`, an artifact whose layers are the layer's blobs and
 * whose configuration is the store's record of them. Registries keep blobs that images share only once.
 */
import { createHash } from 'node:crypto';
import type { z } from 'zod';

import type { LayerCache } from '../build/layer-cache.ts';
import { PackedLayerRecord, type PackedLayer } from '../build/packed-layer.ts';
import { canonicalJson, type Digest, digestOf, DigestText, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES, verifiedChunks } from '../oci/blob.ts';
import type { ImageSource, ImageTarget } from '../oci/image-transfer.ts';
import { layerContents } from '../oci/layer-contents.ts';
import { parseImageReference } from '../oci/reference.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import { type Descriptor, Manifest, MEDIA_TYPES } from '../oci/schema.ts';
import type { Stage } from '../report/events.ts';
import type { Store } from '../store/store.ts';
import { StoredSource } from './stored-source.ts';

export const LAYER_ARTIFACT = 'application/vnd.ingot.layer.v1';
const LAYER_CONFIG = 'application/vnd.ingot.layer.config.v1+json';

const LayerConfig = PackedLayerRecord.extend({ key: DigestText });

interface Options {
  readonly signal?: AbortSignal | undefined;
}

export class RegistryLayerCache implements LayerCache {
  readonly shown: string;
  readonly #source: ImageSource;
  readonly #target: ImageTarget;
  readonly #store: Store;

  private constructor(shown: string, source: ImageSource, target: ImageTarget, store: Store) {
    this.shown = shown;
    this.#source = source;
    this.#target = target;
    this.#store = store;
  }

  /** `text` is `HOST/PATH`. @throws IngotError USAGE */
  static open(text: string, registries: RegistryAccess, store: Store): RegistryLayerCache {
    const reference = parseImageReference(text);
    if (reference.tag !== undefined || reference.digest !== undefined) {
      throw new IngotError('USAGE', `${text} names one image, and a cache is a whole repository`, {
        hint: `write ${reference.registry}/${reference.repository}`,
      });
    }
    const source = new StoredSource(registries.source(reference), store);
    return new RegistryLayerCache(text, source, registries.target(reference), store);
  }

  async fetch(
    key: Digest,
    { stage, signal }: Options & { readonly stage: Stage },
  ): Promise<PackedLayer | undefined> {
    const document = await this.#source.manifest(tagOf(key), { signal }).catch((error: unknown) => {
      if (error instanceof IngotError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    });
    if (document === undefined) return undefined;
    const manifest = this.#parse(Manifest, document.bytes);
    const { config, layers } = manifest;
    if (manifest.artifactType !== LAYER_ARTIFACT || config.size > MAX_JSON_BYTES) throw this.#invalid(key);
    const text = Buffer.concat(await Array.fromAsync(this.#source.blob(config, { signal })));
    const { key: said, chunks } = this.#parse(LayerConfig, text);
    const isSame =
      said === key &&
      chunks.length === layers.length &&
      chunks.every(({ digest, size }, at) => layers[at]?.digest === digest && layers[at].size === size);
    if (!isSame) throw this.#invalid(key);
    const total = chunks.reduce((sum, { size }) => sum + size, 0);
    let before = 0;
    for (const chunk of chunks) {
      const { mediaType, digest, size, diffId, uncompressedSize } = chunk;
      const done = before;
      const onProgress = (bytes: number): void => {
        stage.progress(done + bytes, total, 'bytes', chunk.name);
      };
      const path = await this.#blobFile({ mediaType, digest, size }, { signal, onProgress });
      await this.#requireContents(path, { mediaType, digest, size }, diffId, uncompressedSize, signal);
      before += size;
    }
    return { chunks };
  }

  async keep(key: Digest, { chunks }: PackedLayer, { signal }: Options): Promise<void> {
    const text = Buffer.from(canonicalJson({ key, chunks }));
    const config = { mediaType: LAYER_CONFIG, digest: digestOf(text), size: text.length };
    const bytes = Buffer.from(
      canonicalJson({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.manifest,
        artifactType: LAYER_ARTIFACT,
        config,
        layers: chunks.map(({ mediaType, digest, size, name }) => ({
          mediaType,
          digest,
          size,
          annotations: { 'dev.ingot.chunk': name },
        })),
      } satisfies Manifest),
    );
    const descriptor = { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length };
    if (await this.#target.hasManifest(descriptor, { signal })) {
      // The tag may still lead elsewhere.
      await this.#target.putManifest({ descriptor, bytes }, [tagOf(key)], { signal });
      return;
    }
    for (const { mediaType, digest, size } of chunks) {
      const blob = { mediaType, digest, size };
      if (await this.#target.hasBlob(blob, { signal })) continue;
      const path = this.#store.blobPath(hexOf(digest));
      const open = (offset: number): AsyncIterable<Buffer> => contentFrom(path, blob, offset);
      await this.#target.putBlob(blob, { open }, { signal });
    }
    if (!(await this.#target.hasBlob(config, { signal }))) {
      const open = async function* (offset: number): AsyncGenerator<Buffer> {
        yield await Promise.resolve(text.subarray(offset));
      };
      await this.#target.putBlob(config, { open }, { signal });
    }
    await this.#target.putManifest({ descriptor, bytes }, [tagOf(key)], { signal });
  }

  async #blobFile(
    blob: Descriptor,
    options: Options & { readonly onProgress: (bytes: number) => void },
  ): Promise<string> {
    if (this.#source.blobFile === undefined) throw new TypeError('a stored source has files');
    return this.#source.blobFile(blob, options);
  }

  /** The blob holds the archive that the record says: no more bytes, and these. */
  async #requireContents(
    path: string,
    blob: Descriptor,
    diffId: Digest,
    uncompressedSize: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      for await (const part of layerContents(path, blob)) {
        if (signal?.aborted === true)
          throw new IngotError('INTERRUPTED', `interrupted while reading ${this.shown}`);
        bytes += part.length;
        if (bytes > uncompressedSize) break;
        hash.update(part);
      }
    } catch (error) {
      if (error instanceof IngotError) throw error;
      throw new IngotError('DIGEST_MISMATCH', `${this.shown}: ${blob.digest} cannot be decompressed`, {
        cause: error,
      });
    }
    if (bytes === uncompressedSize && `sha256:${hash.digest('hex')}` === diffId) return;
    throw new IngotError(
      'DIGEST_MISMATCH',
      `${this.shown}: ${blob.digest} has other contents than ${diffId}`,
    );
  }

  #parse<Schema extends z.ZodType>(schema: Schema, bytes: Buffer): z.infer<Schema> {
    try {
      return schema.parse(JSON.parse(bytes.toString()));
    } catch (error) {
      throw new IngotError('IMAGE_INVALID', `${this.shown} has a document that is not that of a layer`, {
        cause: error,
      });
    }
  }

  #invalid(key: Digest): IngotError {
    return new IngotError('IMAGE_INVALID', `what ${this.shown} has under ${tagOf(key)} is not that layer`);
  }
}

function tagOf(key: Digest): string {
  return `layer-${hexOf(key)}`;
}

async function* contentFrom(path: string, blob: Descriptor, offset: number): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const chunk of verifiedChunks(path, blob)) {
    const skipped = Math.min(Math.max(0, offset - at), chunk.length);
    at += chunk.length;
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
}
