/** Images out of an OCI image layout. */
import { type Digest, isDigest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { layoutBlobPath, lentChunks, readSmallBlob, verifiedChunks } from './blob.ts';
import { describeReferrer, INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, readDocument } from './image-graph.ts';
import type { BlobOptions, ImageSource, ManifestDocument } from './image-transfer.ts';
import { chooseByName, readLayout } from './layout.ts';
import type { Descriptor } from './schema.ts';

export interface LayoutSourceOptions {
  /** Whether a blob is known to be what its digest says: such a one is not hashed again. */
  readonly isSound?: ((path: string, digest: Digest) => Promise<boolean>) | undefined;
}

export class LayoutSource implements ImageSource {
  readonly shown: string;
  readonly #directory: string;
  readonly #options: LayoutSourceOptions;
  /** Blobs that were verified once need not be read again. */
  readonly #verified = new Set<Digest>();

  private constructor(directory: string, options: LayoutSourceOptions) {
    this.#directory = directory;
    this.#options = options;
    this.shown = `oci:${directory}`;
  }

  /** @throws IngotError NOT_FOUND when there is no layout, STORE_CORRUPT when it cannot be read as one */
  static async open(directory: string, options: LayoutSourceOptions = {}): Promise<LayoutSource> {
    await readLayout(directory);
    return new LayoutSource(directory, options);
  }

  async manifest(reference: string | Descriptor | undefined): Promise<ManifestDocument> {
    const { mediaType, digest, size } =
      typeof reference === 'object' ? reference : await this.#find(reference);
    const path = layoutBlobPath(this.#directory, digest);
    const bytes = await readSmallBlob(path, { mediaType, digest, size }, 'manifest');
    return { descriptor: { mediaType, digest, size }, bytes };
  }

  async *blob(descriptor: Descriptor, { resume }: BlobOptions = {}): AsyncGenerator<Buffer> {
    yield* verifiedChunks(layoutBlobPath(this.#directory, descriptor.digest), descriptor, resume);
  }

  async *blobBatches(
    descriptor: Descriptor,
    { resume }: BlobOptions = {},
  ): AsyncGenerator<readonly Buffer[]> {
    const path = layoutBlobPath(this.#directory, descriptor.digest);
    const isKnown = resume === undefined && (await this.#options.isSound?.(path, descriptor.digest)) === true;
    const how = isKnown ? { offset: 0, hash: undefined } : resume;
    for await (const chunk of lentChunks(path, descriptor, how)) yield [chunk];
  }

  readonly blobFile = async (descriptor: Descriptor): Promise<string> => {
    const path = layoutBlobPath(this.#directory, descriptor.digest);
    if (!this.#verified.has(descriptor.digest)) {
      if ((await this.#options.isSound?.(path, descriptor.digest)) === true) return path;
      for await (const _chunk of verifiedChunks(path, descriptor));
      this.#verified.add(descriptor.digest);
    }
    return path;
  };

  async referrers(subject: Digest): Promise<readonly Descriptor[]> {
    const { index } = await readLayout(this.#directory);
    const found: Descriptor[] = [];
    for (const entry of index.manifests) {
      if (!MANIFEST_MEDIA_TYPES.has(entry.mediaType)) continue;
      const document = await this.manifest(entry);
      if (readDocument(document, this.shown).subject?.digest === subject)
        found.push(describeReferrer(document));
    }
    return found;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  async #find(reference: string | undefined): Promise<Descriptor> {
    const { index } = await readLayout(this.#directory);
    if (reference === undefined || !isDigest(reference)) {
      return chooseByName(index, this.#directory, reference);
    }
    const entries = [...index.manifests];
    for (const entry of index.manifests.filter(({ mediaType }) => INDEX_MEDIA_TYPES.has(mediaType))) {
      entries.push(...readDocument(await this.manifest(entry), this.shown).children);
    }
    const found = entries.find(({ digest }) => digest === reference);
    if (found !== undefined) return found;
    throw new IngotError('NOT_FOUND', `${this.shown} has no image ${reference}`);
  }
}
