/**
 * Layers kept in a registry: for each key the tag `layer-<hex>`, an artifact whose layers are the layer's blobs and
 * whose configuration is the store's record of them. Registries keep blobs that images share only once. Beside it
 * `tree-<hex>`, of the same form, with what the layer's tree has beyond it.
 */
import { createHash } from 'node:crypto';
import type * as z from 'zod';

import type { LayerCache } from '../build/layer-cache.ts';
import type { ArchiveReader } from '../build/layer-inspection.ts';
import { PackedLayerRecord, type PackedLayer } from '../build/packed-layer.ts';
import { TreeRemainder } from '../build/tree-remainder.ts';
import { canonicalJson, type Digest, digestOf, DigestText, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES, verifiedChunks } from '../oci/blob.ts';
import type { ImageSource, ImageTarget } from '../oci/image-transfer.ts';
import { layerContents } from '../oci/layer-contents.ts';
import { parseImageReference } from '../oci/reference.ts';
import type { RegistryAccess } from '../oci/registry/access.ts';
import { type Descriptor, Manifest, MEDIA_TYPES } from '../oci/schema.ts';
import type { Store } from '../store/store.ts';
import { StoredSource } from './stored-source.ts';

export const LAYER_ARTIFACT = 'application/vnd.ingot.layer.v1';
const LAYER_CONFIG = 'application/vnd.ingot.layer.config.v1+json';

const LayerConfig = PackedLayerRecord.extend({ key: DigestText });

export const TREE_ARTIFACT = 'application/vnd.ingot.tree.v1';
const TREE_CONFIG = 'application/vnd.ingot.tree.config.v1+json';

const TreeConfig = TreeRemainder.extend({ key: DigestText });

interface Artifact {
  readonly artifactType: string;
  readonly configType: string;
  readonly tag: string;
}

interface NamedBlob extends Descriptor {
  readonly name: string;
}

interface Options {
  readonly signal?: AbortSignal | undefined;
}

type PackedBlob = Descriptor & { readonly diffId: Digest; readonly uncompressedSize: number };

interface BringOptions extends Options {
  readonly onProgress?: (bytes: number) => void;
  /** Is given the plain archive as well. */
  readonly reader?: ArchiveReader | undefined;
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
    { stage, signal, reader }: Parameters<LayerCache['fetch']>[1],
  ): Promise<PackedLayer | undefined> {
    const artifact = layerArtifact(key);
    const found = await this.#fetch(artifact, LayerConfig, signal);
    if (found === undefined) return undefined;
    const { chunks } = found.config;
    if (found.config.key !== key || !isSame(chunks, found.layers)) throw this.#invalid(artifact);
    const total = chunks.reduce((sum, { size }) => sum + size, 0);
    let before = 0;
    for (const chunk of chunks) {
      const done = before;
      const onProgress = (bytes: number): void => {
        stage.progress(done + bytes, total, 'bytes', chunk.name);
      };
      await this.#bring(chunk, { signal, onProgress, reader: reader(chunk.name) });
      before += chunk.size;
    }
    return { chunks };
  }

  async keep(key: Digest, { chunks }: PackedLayer, { signal }: Options): Promise<void> {
    await this.#keep(layerArtifact(key), { key, chunks }, chunks, signal);
  }

  async fetchTree(key: Digest, { signal }: Options): Promise<TreeRemainder | undefined> {
    const artifact = treeArtifact(key);
    const found = await this.#fetch(artifact, TreeConfig, signal);
    if (found === undefined) return undefined;
    const { key: said, ...remainder } = found.config;
    const { archive } = remainder;
    if (said !== key || !isSame([archive], found.layers)) throw this.#invalid(artifact);
    await this.#bring(archive, { signal });
    return remainder;
  }

  async keepTree(key: Digest, remainder: TreeRemainder, { signal }: Options): Promise<void> {
    const blobs = [{ ...remainder.archive, name: 'tree' }];
    await this.#keep(treeArtifact(key), { key, ...remainder }, blobs, signal);
  }

  /** The configuration, and the blobs that the manifest names. Undefined when there is no such tag. */
  async #fetch<Schema extends z.ZodType>(
    { artifactType, tag }: Artifact,
    schema: Schema,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly config: z.infer<Schema>; readonly layers: readonly Descriptor[] } | undefined> {
    const document = await this.#source.manifest(tag, { signal }).catch((error: unknown) => {
      if (error instanceof IngotError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    });
    if (document === undefined) return undefined;
    const manifest = this.#parse(Manifest, document.bytes);
    const { config, layers } = manifest;
    if (manifest.artifactType !== artifactType || config.size > MAX_JSON_BYTES) {
      throw this.#invalid({ tag });
    }
    const text = Buffer.concat(await Array.fromAsync(this.#source.blob(config, { signal })));
    return { config: this.#parse(schema, text), layers };
  }

  async #keep(
    { artifactType, configType, tag }: Artifact,
    configuration: object,
    blobs: readonly NamedBlob[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const text = Buffer.from(canonicalJson(configuration));
    const config = { mediaType: configType, digest: digestOf(text), size: text.length };
    const bytes = Buffer.from(
      canonicalJson({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.manifest,
        artifactType,
        config,
        layers: blobs.map(({ mediaType, digest, size, name }) => ({
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
      await this.#target.putManifest({ descriptor, bytes }, [tag], { signal });
      return;
    }
    for (const { mediaType, digest, size } of blobs) {
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
    await this.#target.putManifest({ descriptor, bytes }, [tag], { signal });
  }

  /** The blob into the store, when it holds what is said of it. */
  async #bring(
    blob: PackedBlob,
    { signal, onProgress = () => undefined, reader }: BringOptions,
  ): Promise<void> {
    const { mediaType, digest, size } = blob;
    const path = await this.#blobFile({ mediaType, digest, size }, { signal, onProgress });
    await this.#requireContents(path, blob, { signal, reader });
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
    { mediaType, digest, size, diffId, uncompressedSize }: PackedBlob,
    { signal, reader }: Pick<BringOptions, 'signal' | 'reader'>,
  ): Promise<void> {
    const hash = createHash('sha256');
    let bytes = 0;
    try {
      for await (const part of layerContents(path, { mediaType, digest, size })) {
        if (signal?.aborted === true)
          throw new IngotError('INTERRUPTED', `interrupted while reading ${this.shown}`);
        bytes += part.length;
        if (bytes > uncompressedSize) break;
        hash.update(part);
        reader?.write(part);
      }
      if (bytes === uncompressedSize) reader?.end();
    } catch (error) {
      if (error instanceof IngotError) throw error;
      const what = error instanceof Error ? error.message : String(error);
      throw new IngotError('DIGEST_MISMATCH', `${this.shown}: ${digest} cannot be read: ${what}`, {
        cause: error,
      });
    }
    if (bytes === uncompressedSize && `sha256:${hash.digest('hex')}` === diffId) return;
    throw new IngotError('DIGEST_MISMATCH', `${this.shown}: ${digest} has other contents than ${diffId}`);
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

  #invalid({ tag }: Pick<Artifact, 'tag'>): IngotError {
    return new IngotError('IMAGE_INVALID', `what ${this.shown} has under ${tag} is not that layer`);
  }
}

function layerArtifact(key: Digest): Artifact {
  return { artifactType: LAYER_ARTIFACT, configType: LAYER_CONFIG, tag: `layer-${hexOf(key)}` };
}

function treeArtifact(key: Digest): Artifact {
  return { artifactType: TREE_ARTIFACT, configType: TREE_CONFIG, tag: `tree-${hexOf(key)}` };
}

function isSame(
  blobs: readonly Pick<Descriptor, 'digest' | 'size'>[],
  layers: readonly Descriptor[],
): boolean {
  return (
    blobs.length === layers.length &&
    blobs.every(({ digest, size }, at) => layers[at]?.digest === digest && layers[at].size === size)
  );
}

async function* contentFrom(path: string, blob: Descriptor, offset: number): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const chunk of verifiedChunks(path, blob)) {
    const skipped = Math.min(Math.max(0, offset - at), chunk.length);
    at += chunk.length;
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
}
