/**
 * Artifacts that belong to an image: signatures, attestations, lists of its packages. Each is a manifest that names
 * the image as its subject (image-spec, "Guidelines for Artifact Usage"), and is found again as a referrer.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';

import { canonicalJson, type Digest, digestOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { verifiedChunks } from '../oci/blob.ts';
import { readDocument } from '../oci/image-graph.ts';
import type {
  BlobContent,
  ImageSource,
  ImageTarget,
  ManifestDocument,
  TransferOptions,
} from '../oci/image-transfer.ts';
import { type Descriptor, Manifest, MEDIA_TYPES } from '../oci/schema.ts';

/** A blob that is too large for memory. */
export interface BlobFile {
  readonly path: string;
  readonly digest: Digest;
  readonly size: number;
}

export interface ArtifactLayer {
  readonly mediaType: string;
  readonly content: Buffer | BlobFile;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Artifact {
  /** What it is: the media type that readers look for. */
  readonly artifactType: string;
  readonly layers: readonly ArtifactLayer[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface AttachOptions extends TransferOptions {
  /** A folder of the caller's: layouts take blobs from files. */
  readonly scratch: string;
}

export interface AttachedArtifact {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
}

export interface FindOptions extends TransferOptions {
  /**
   * Told of a referrer that is no readable manifest; the others are still found. Default: it is thrown. One that is
   * listed and gone is no referrer.
   */
  readonly onUnreadable?: ((referrer: Descriptor, error: IngotError) => void) | undefined;
}

/** Three years of daily attestations; a list that names more is there to keep readers busy. */
export const MAX_REFERRERS = 1024;
const EMPTY_CONFIG = Buffer.from('{}');
const PARALLEL_READS = 4;

/**
 * Puts an artifact beside its subject, which is there already. The same artifact put twice is there once. Registries
 * without the referrers API get it listed in the fallback index. The caller calls `finish`.
 *
 * @returns the artifact's manifest, as referrers list it
 * @throws IngotError NOT_FOUND when the target does not have the subject, and what the target throws
 */
export async function attachArtifact(
  target: ImageTarget,
  subject: Descriptor,
  artifact: Artifact,
  options: AttachOptions,
): Promise<Descriptor> {
  const { artifactType, layers, annotations } = artifact;
  if (!(await target.hasManifest(subject, options))) {
    throw new IngotError('NOT_FOUND', `${target.shown} has no image ${subject.digest}`, {
      hint: 'what belongs to an image is put beside it: push the image first',
    });
  }
  const config = await putBytes(target, MEDIA_TYPES.empty, EMPTY_CONFIG, options);
  const limit = pLimit(Math.max(1, target.parallel));
  const put = await Promise.allSettled(layers.map((layer) => limit(() => putLayer(target, layer, options))));
  // All are waited for: what they read is the caller's to remove.
  const failed = put.find((one) => one.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  const described = put.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const document = manifestDocument({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType,
    config,
    // A manifest has a layer at least.
    layers: described.length === 0 ? [config] : described,
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
    ...(annotations !== undefined && { annotations: { ...annotations } }),
  });
  await target.putManifest(document, [], options);
  return { ...document.descriptor, artifactType };
}

/**
 * The artifacts of these types that name `subject`, in the order of the list. Every referrer is read: what the list
 * says of a type is missing or wrong where another tool keeps the fallback index.
 *
 * @throws IngotError IMAGE_INVALID, DIGEST_MISMATCH, and what the source throws
 */
export async function findArtifacts(
  source: ImageSource,
  subject: Digest,
  artifactTypes: readonly string[],
  options: FindOptions = {},
): Promise<readonly AttachedArtifact[]> {
  const listed = await source.referrers(subject, options);
  const distinct = [...new Map(listed.map((one) => [one.digest, one])).values()];
  // Of very many, only those that do not say themselves that they are something else.
  const mayBe = ({ artifactType }: Descriptor): boolean =>
    artifactType === undefined || artifactTypes.includes(artifactType);
  const referrers = distinct.length > MAX_REFERRERS ? distinct.filter(mayBe) : distinct;
  if (referrers.length > MAX_REFERRERS) {
    throw new IngotError(
      'IMAGE_INVALID',
      `${source.shown}: ${referrers.length} documents refer to ${subject}, more than ${MAX_REFERRERS}`,
    );
  }
  const limit = pLimit(PARALLEL_READS);
  const read = await Promise.all(
    referrers.map((referrer) => limit(() => readReferrer(source, referrer, subject, options))),
  );
  return read.filter(
    (one) =>
      one !== undefined && artifactTypes.includes(one.manifest.artifactType ?? one.manifest.config.mediaType),
  ) as readonly AttachedArtifact[];
}

/**
 * One blob of an artifact, verified.
 *
 * @throws IngotError IMAGE_INVALID when it is larger than `maxBytes`, NOT_FOUND, DIGEST_MISMATCH
 */
export async function readArtifactBlob(
  source: ImageSource,
  blob: Descriptor,
  maxBytes: number,
  options: TransferOptions = {},
): Promise<Buffer> {
  if (blob.size > maxBytes) {
    throw new IngotError(
      'IMAGE_INVALID',
      `${source.shown}: ${blob.digest} has ${blob.size} bytes, more than the ${maxBytes} that are read`,
    );
  }
  return Buffer.concat(await Array.fromAsync(source.blob(blob, options)));
}

/** A blob that is at hand as bytes. */
export async function putBytes(
  target: ImageTarget,
  mediaType: string,
  bytes: Buffer,
  options: AttachOptions,
): Promise<Descriptor> {
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  if (!(await target.hasBlob(descriptor, options))) {
    await target.putBlob(descriptor, bytesContent(bytes, options.scratch), options);
  }
  return descriptor;
}

/** A manifest in canonical form: the same content has the same digest. */
export function manifestDocument(manifest: Manifest): ManifestDocument {
  const bytes = Buffer.from(canonicalJson(manifest));
  return {
    descriptor: { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
}

async function putLayer(
  target: ImageTarget,
  { mediaType, content, annotations }: ArtifactLayer,
  options: AttachOptions,
): Promise<Descriptor> {
  const descriptor = Buffer.isBuffer(content)
    ? await putBytes(target, mediaType, content, options)
    : await putFile(target, mediaType, content, options);
  return annotations === undefined ? descriptor : { ...descriptor, annotations: { ...annotations } };
}

async function putFile(
  target: ImageTarget,
  mediaType: string,
  { path, digest, size }: BlobFile,
  options: AttachOptions,
): Promise<Descriptor> {
  const descriptor = { mediaType, digest, size };
  if (!(await target.hasBlob(descriptor, options))) {
    await target.putBlob(
      descriptor,
      {
        open: (offset) =>
          offset === 0 ? verifiedChunks(path, descriptor) : createReadStream(path, { start: offset }),
        file: async () => {
          for await (const _chunk of verifiedChunks(path, descriptor));
          return path;
        },
      },
      options,
    );
  }
  return descriptor;
}

function bytesContent(bytes: Buffer, scratch: string): BlobContent {
  return {
    open: async function* (offset) {
      yield await Promise.resolve(bytes.subarray(offset));
    },
    file: async () => {
      const path = join(scratch, randomUUID());
      await writeFile(path, bytes, { flush: true });
      return path;
    },
  };
}

/** Undefined for what is gone, is no artifact or names another subject: then it is nothing of this image's. */
async function readReferrer(
  source: ImageSource,
  referrer: Descriptor,
  subject: Digest,
  { onUnreadable, signal }: FindOptions,
): Promise<AttachedArtifact | undefined> {
  try {
    const document = await source.manifest(referrer, { signal });
    const { descriptor } = document;
    if (descriptor.mediaType !== MEDIA_TYPES.manifest) return undefined;
    if (readDocument(document, source.shown).subject?.digest !== subject) return undefined;
    return { descriptor, manifest: Manifest.parse(JSON.parse(document.bytes.toString())) };
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    if (error.code === 'NOT_FOUND') return undefined;
    if (onUnreadable === undefined || !['IMAGE_INVALID', 'DIGEST_MISMATCH'].includes(error.code)) throw error;
    onUnreadable(referrer, error);
    return undefined;
  }
}
