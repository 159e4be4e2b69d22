/**
 * Everything an image is made of, read from a source before anything is moved. What a registry answers is data from
 * a stranger: depth, counts and sizes are bounded, and digests are of one size wherever they are named.
 */
import * as z from 'zod';

import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { ImageSource, ManifestDocument, TransferOptions } from './image-transfer.ts';
import { MAX_INDEX_DEPTH } from './layout.ts';
import { Descriptor, Index, LAYER_MEDIA_TYPES, Manifest, MEDIA_TYPES } from './schema.ts';

/** Docker's names for the same documents. */
export const DOCKER_MEDIA_TYPES = {
  index: 'application/vnd.docker.distribution.manifest.list.v2+json',
  manifest: 'application/vnd.docker.distribution.manifest.v2+json',
} as const;

export const INDEX_MEDIA_TYPES: ReadonlySet<string> = new Set([MEDIA_TYPES.index, DOCKER_MEDIA_TYPES.index]);
export const MANIFEST_MEDIA_TYPES: ReadonlySet<string> = new Set([
  MEDIA_TYPES.manifest,
  DOCKER_MEDIA_TYPES.manifest,
]);

const MAX_MANIFESTS = 512;
/** Overlay file systems take 128 at most, artifacts a few more. */
const MAX_LAYERS = 1024;
const MAX_BLOB_BYTES = 1024 ** 4;

const AnyIndex = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  manifests: z.array(Descriptor),
  subject: Descriptor.optional(),
});
const AnyManifest = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  config: Descriptor,
  layers: z.array(Descriptor),
  subject: Descriptor.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

/** What a document names. */
export interface DocumentContents {
  readonly children: readonly Descriptor[];
  readonly blobs: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  /** Of a manifest: what it is, if not an image. */
  readonly artifactType: string | undefined;
}

export interface ImageGraph {
  readonly root: ManifestDocument;
  /** All documents, children before those that name them; the root comes last. */
  readonly documents: readonly ManifestDocument[];
  /** Every blob once. */
  readonly blobs: readonly Descriptor[];
}

/**
 * Reads the documents of an image, but none of its blobs.
 *
 * @throws IngotError IMAGE_INVALID, and what the source throws
 */
export async function readImageGraph(
  source: ImageSource,
  reference: string | Descriptor | undefined,
  options: TransferOptions = {},
): Promise<ImageGraph> {
  return readGraphFrom(source, await source.manifest(reference, options), options);
}

/** The same, from a document that is at hand. */
export async function readGraphFrom(
  source: ImageSource,
  root: ManifestDocument,
  options: TransferOptions = {},
): Promise<ImageGraph> {
  const documents = new Map<Digest, ManifestDocument>();
  const blobs = new Map<Digest, Descriptor>();
  const visit = async (document: ManifestDocument, above: readonly Digest[]): Promise<void> => {
    const { digest } = document.descriptor;
    if (documents.has(digest)) return;
    const contents = readDocument(document, source.shown);
    const path = [...above, digest];
    if (contents.children.length > 0 && above.length >= MAX_INDEX_DEPTH) {
      throw invalid(source.shown, `nests more than ${MAX_INDEX_DEPTH} image indexes`);
    }
    for (const child of contents.children) {
      if (path.includes(child.digest)) throw invalid(source.shown, `the index ${child.digest} holds itself`);
      if (documents.size + above.length >= MAX_MANIFESTS) {
        throw invalid(source.shown, `has more than ${MAX_MANIFESTS} manifests`);
      }
      const found = await source.manifest(child, options);
      requireSame(source.shown, child, found.descriptor);
      await visit(found, path);
    }
    for (const blob of contents.blobs) {
      const known = blobs.get(blob.digest);
      if (known !== undefined) requireSame(source.shown, blob, known);
      else blobs.set(blob.digest, blob);
    }
    documents.set(digest, document);
  };
  await visit(root, []);
  return { root, documents: [...documents.values()], blobs: [...blobs.values()] };
}

/** @throws IngotError IMAGE_INVALID */
export function readDocument({ descriptor, bytes }: ManifestDocument, shown: string): DocumentContents {
  const isIndex = INDEX_MEDIA_TYPES.has(descriptor.mediaType);
  if (!isIndex && !MANIFEST_MEDIA_TYPES.has(descriptor.mediaType)) {
    throw invalid(shown, `${descriptor.digest} is ${JSON.stringify(descriptor.mediaType)}, no manifest`);
  }
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw invalid(shown, `${descriptor.digest} is not JSON`);
  }
  const parsed = (isIndex ? AnyIndex : AnyManifest).safeParse(value);
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw invalid(shown, `${descriptor.digest} is no valid manifest: ${issues.slice(0, 5).join('; ')}`);
  }
  const { mediaType, subject, artifactType } = parsed.data;
  if (mediaType !== undefined && mediaType !== descriptor.mediaType) {
    throw invalid(
      shown,
      `${descriptor.digest} is called ${descriptor.mediaType} and calls itself ${mediaType}`,
    );
  }
  // A document that could be read both ways means one thing to one tool and another to the next (CVE-2021-41190).
  const members = Object.keys(value as object);
  if (isIndex ? members.includes('layers') || members.includes('config') : members.includes('manifests')) {
    throw invalid(shown, `${descriptor.digest} is manifest and index at once`);
  }
  const children = 'manifests' in parsed.data ? parsed.data.manifests : [];
  const blobs = 'layers' in parsed.data ? [parsed.data.config, ...parsed.data.layers] : [];
  if (blobs.length > MAX_LAYERS || children.length > MAX_MANIFESTS) {
    throw invalid(shown, `${descriptor.digest} has ${Math.max(blobs.length, children.length)} parts`);
  }
  for (const { digest, size } of blobs) {
    if (size > MAX_BLOB_BYTES) throw invalid(shown, `${digest} is said to have ${size} bytes`);
  }
  return { children, blobs, subject, artifactType };
}

/** An image of layers, and not an index or what a builder puts beside its images in one. */
export function isPlainImage(document: ManifestDocument, shown: string): boolean {
  if (!MANIFEST_MEDIA_TYPES.has(document.descriptor.mediaType)) return false;
  const { blobs, artifactType } = readDocument(document, shown);
  return (
    artifactType === undefined && blobs.slice(1).every(({ mediaType }) => LAYER_MEDIA_TYPES.has(mediaType))
  );
}

/** As the referrers API would list it: with its annotations, and its type (distribution-spec, "Listing Referrers"). */
export function describeReferrer({ descriptor, bytes }: ManifestDocument): Descriptor {
  const value: unknown = JSON.parse(bytes.toString());
  const manifest = Manifest.safeParse(value);
  const index = Index.safeParse(value);
  const { mediaType, digest, size } = descriptor;
  const artifactType = manifest.success
    ? (manifest.data.artifactType ?? manifest.data.config.mediaType)
    : index.data?.artifactType;
  const annotations = manifest.success ? manifest.data.annotations : index.data?.annotations;
  return {
    mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
  };
}

function requireSame(shown: string, named: Descriptor, found: Descriptor): void {
  if (named.size !== found.size) {
    throw invalid(shown, `${named.digest} is said to have ${named.size} bytes, and ${found.size} elsewhere`);
  }
}

function invalid(shown: string, what: string): IngotError {
  return new IngotError('IMAGE_INVALID', `${shown}: ${what}`, {
    hint: 'this is nothing that a tool writes: do not trust it',
  });
}

/**
 * The image for an architecture that a name leads to, through indexes.
 *
 * @param foreign what to throw when there is none; `there` are the platforms that there are, as `linux/arm64`
 */
export async function imageFor(
  architecture: string,
  source: ImageSource,
  document: ManifestDocument,
  foreign: (there: readonly string[]) => IngotError,
  options: TransferOptions = {},
  depth = 0,
): Promise<ManifestDocument> {
  // Its counts and sizes are bounded, whatever it is.
  const { children } = readDocument(document, source.shown);
  if (!INDEX_MEDIA_TYPES.has(document.descriptor.mediaType)) return document;
  const child = children.find(
    ({ platform }) => platform?.os === 'linux' && platform.architecture === architecture,
  );
  if (child === undefined || depth >= MAX_INDEX_DEPTH) {
    const there = children.flatMap(({ platform }) =>
      platform === undefined || platform.os === 'unknown' ? [] : [`${platform.os}/${platform.architecture}`],
    );
    throw foreign(there);
  }
  return imageFor(architecture, source, await source.manifest(child, options), foreign, options, depth + 1);
}
