/**
 * Several images as one, of as many platforms: an image index over them (image-spec, "OCI Image Index Specification"),
 * made on the way. Whoever copies it takes the images along, children first.
 */
import { canonicalJson, type Digest, digestOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES, parseJson } from '../oci/blob.ts';
import { INDEX_MEDIA_TYPES, readDocument } from '../oci/image-graph.ts';
import type {
  BlobOptions,
  ImageSource,
  ManifestDocument,
  PutBlobOptions,
  TransferOptions,
} from '../oci/image-transfer.ts';
import {
  type Descriptor,
  ImageConfig,
  type Index,
  Manifest,
  MEDIA_TYPES,
  type Platform,
} from '../oci/schema.ts';

export interface JoinedImage {
  /** As a person named it. */
  readonly shown: string;
  readonly source: ImageSource;
  /** What the source is asked for. */
  readonly reference: string | undefined;
}

interface Child {
  readonly shown: string;
  readonly descriptor: Descriptor;
  readonly platform: Platform;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What the index says of itself, where all images say the same. */
const COMMON = /^(?:org\.opencontainers\.image\.|dev\.ingot\.base$)/;

export class JoinedSource implements ImageSource {
  readonly shown: string;
  readonly #sources: readonly ImageSource[];
  readonly #index: ManifestDocument;
  /** Who has which document or blob, as far as that was read. */
  readonly #owners: Map<Digest, ImageSource>;

  private constructor(
    images: readonly JoinedImage[],
    index: ManifestDocument,
    owners: Map<Digest, ImageSource>,
  ) {
    this.shown = images.map(({ shown }) => shown).join(' and ');
    this.#sources = images.map(({ source }) => source);
    this.#index = index;
    this.#owners = owners;
    const files = this.#sources.map(({ blobFile }) => blobFile);
    if (files.every((file) => file !== undefined))
      this.blobFile = (blob, options) => this.#file(blob, options);
  }

  readonly blobFile?: (descriptor: Descriptor, options?: PutBlobOptions) => Promise<string>;

  /**
   * Of an index among the images, its images are taken. Owns the sources from here on.
   *
   * @throws IngotError USAGE when two are for the same platform; IMAGE_INVALID, and what the sources throw
   */
  static async join(images: readonly JoinedImage[], options: TransferOptions = {}): Promise<JoinedSource> {
    const owners = new Map<Digest, ImageSource>();
    const children: Child[] = [];
    for (const image of images) {
      const found = await childrenOf(image, options);
      children.push(...found);
      for (const { descriptor } of found) owners.set(descriptor.digest, image.source);
    }
    requireOneEach(children);
    children.sort((left, right) => (nameOf(left.platform) < nameOf(right.platform) ? -1 : 1));
    return new JoinedSource(images, indexOf(children), owners);
  }

  async manifest(
    reference: string | Descriptor | undefined,
    options?: TransferOptions,
  ): Promise<ManifestDocument> {
    const wanted = typeof reference === 'object' ? reference.digest : reference;
    if (wanted === undefined || wanted === this.#index.descriptor.digest) return this.#index;
    const owner = typeof reference === 'object' ? this.#owners.get(reference.digest) : undefined;
    for (const source of owner === undefined ? this.#sources : [owner]) {
      const document = await source.manifest(reference, options).catch((error: unknown) => {
        if (error instanceof IngotError && error.code === 'NOT_FOUND') return undefined;
        throw error;
      });
      if (document === undefined) continue;
      const { blobs, children } = readDocument(document, source.shown);
      for (const { digest } of [document.descriptor, ...blobs, ...children]) this.#owners.set(digest, source);
      return document;
    }
    throw new IngotError('NOT_FOUND', `${this.shown} has no ${wanted}`);
  }

  async *blob(descriptor: Descriptor, options?: BlobOptions): AsyncGenerator<Buffer> {
    yield* this.#ownerOf(descriptor).blob(descriptor, options);
  }

  async referrers(subject: Digest, options?: TransferOptions): Promise<readonly Descriptor[]> {
    const owner = this.#owners.get(subject);
    const found = owner === undefined ? [] : await owner.referrers(subject, options);
    if (owner !== undefined) for (const { digest } of found) this.#owners.set(digest, owner);
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const source of this.#sources) await source[Symbol.asyncDispose]();
  }

  async #file(descriptor: Descriptor, options?: PutBlobOptions): Promise<string> {
    const { blobFile } = this.#ownerOf(descriptor);
    if (blobFile === undefined) throw new TypeError('every source has files');
    return blobFile(descriptor, options);
  }

  #ownerOf({ digest }: Descriptor): ImageSource {
    const owner = this.#owners.get(digest);
    if (owner === undefined) throw new TypeError(`${digest} was named by no document that was read`);
    return owner;
  }
}

async function childrenOf(
  { shown, source, reference }: JoinedImage,
  options: TransferOptions,
): Promise<Child[]> {
  const document = await source.manifest(reference, options);
  if (!INDEX_MEDIA_TYPES.has(document.descriptor.mediaType)) {
    return [await childOf(shown, source, document, options)];
  }
  const { children } = readDocument(document, source.shown);
  return Promise.all(
    children.map(async (child) => childOf(shown, source, await source.manifest(child, options), options)),
  );
}

/** The platform is what the configuration says, whatever an index says of it. */
async function childOf(
  shown: string,
  source: ImageSource,
  document: ManifestDocument,
  options: TransferOptions,
): Promise<Child> {
  const [config] = readDocument(document, source.shown).blobs;
  if (config === undefined) {
    throw new IngotError('IMAGE_INVALID', `${shown} holds an index of indexes`, {
      hint: 'join the images themselves',
    });
  }
  if (config.size > MAX_JSON_BYTES) {
    throw new IngotError('IMAGE_INVALID', `${shown}: its configuration is said to have ${config.size} bytes`);
  }
  const text = Buffer.concat(await Array.fromAsync(source.blob(config, options))).toString();
  const { os, architecture, variant } = parseJson(text, ImageConfig, shown, 'image configuration');
  const { annotations = {} } = Manifest.parse(JSON.parse(document.bytes.toString()));
  return {
    shown,
    descriptor: document.descriptor,
    platform: { architecture, os, ...(variant !== undefined && { variant }) },
    annotations,
  };
}

function requireOneEach(children: readonly Child[]): void {
  for (const [at, { platform, shown, descriptor }] of children.entries()) {
    const other = children.slice(0, at).find((one) => nameOf(one.platform) === nameOf(platform));
    if (other === undefined) continue;
    const isSame = other.descriptor.digest === descriptor.digest;
    throw new IngotError(
      'USAGE',
      `${other.shown} and ${shown} ${isSame ? 'have the same image' : 'are both'} for ${nameOf(platform)}`,
      { hint: 'one image of each platform: give other names to the others' },
    );
  }
}

function indexOf(children: readonly Child[]): ManifestDocument {
  const [first, ...others] = children;
  const common = Object.entries(first?.annotations ?? {}).filter(
    ([key, value]) => COMMON.test(key) && others.every(({ annotations }) => annotations[key] === value),
  );
  const index: Index = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.index,
    manifests: children.map(({ descriptor: { mediaType, digest, size }, platform }) => ({
      mediaType,
      digest,
      size,
      platform,
    })),
    ...(common.length > 0 && { annotations: Object.fromEntries(common) }),
  };
  const bytes = Buffer.from(canonicalJson(index));
  return { descriptor: { mediaType: MEDIA_TYPES.index, digest: digestOf(bytes), size: bytes.length }, bytes };
}

/** `linux/arm64/v8` */
export function nameOf({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}
