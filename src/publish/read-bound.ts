/**
 * What a container or a model in a registry is made of, so that a lock can name it by digests: of an index the image
 * for one architecture, of an artifact its files. Reads documents, and of blobs the configuration alone.
 */
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES } from '../oci/blob.ts';
import { INDEX_MEDIA_TYPES, readDocument, imageFor } from '../oci/image-graph.ts';
import type { ImageSource, TransferOptions } from '../oci/image-transfer.ts';
import { type Descriptor, ImageConfig } from '../oci/schema.ts';

export interface ReadBlob {
  readonly digest: Digest;
  readonly size: number;
}

export interface ReadContainer {
  /** Of what the name led to. */
  readonly digest: Digest;
  /** Of the image for the architecture. */
  readonly manifest: Digest;
  /** Configuration first, then the layers, each once. */
  readonly blobs: readonly ReadBlob[];
}

export interface ReadModel {
  readonly digest: Digest;
  /** In the order of their names. */
  readonly files: readonly (ReadBlob & { readonly name: string })[];
}

/** Annotation of a layer: the name of its file, as `oras push` gives it. */
const TITLE = 'org.opencontainers.image.title';
/** Of a folder, which oras packs. */
const UNPACK = 'io.deis.oras.content.unpack';

/**
 * @param wanted a tag or a digest
 * @param architecture as OCI names it
 * @throws IngotError NOT_FOUND, IMAGE_INVALID, ARCHITECTURE_FOREIGN, and what the source throws
 */
export async function readContainer(
  source: ImageSource,
  wanted: string,
  architecture: string,
  options: TransferOptions = {},
): Promise<ReadContainer> {
  const root = await source.manifest(wanted, options);
  const document = await imageFor(
    architecture,
    source,
    root,
    (there) => foreign(source, architecture, there),
    options,
  );
  const { blobs } = readDocument(document, source.shown);
  const [config] = blobs;
  if (config === undefined || blobs.length < 2) throw noImage(source);
  if (config.size > MAX_JSON_BYTES) throw noImage(source);
  const bytes = Buffer.concat(await Array.fromAsync(source.blob(config, options)));
  const parsed = ImageConfig.safeParse(parseAny(bytes, source));
  if (!parsed.success) throw noImage(source);
  const { os, architecture: own } = parsed.data;
  if (os !== 'linux' || own !== architecture) throw foreign(source, architecture, [`${os}/${own}`]);
  return {
    digest: root.descriptor.digest,
    manifest: document.descriptor.digest,
    blobs: [...new Map(blobs.map(({ digest, size }) => [digest, { digest, size }])).values()],
  };
}

/** @throws IngotError NOT_FOUND, IMAGE_INVALID, and what the source throws */
export async function readModel(
  source: ImageSource,
  wanted: string,
  options: TransferOptions = {},
): Promise<ReadModel> {
  const document = await source.manifest(wanted, options);
  if (INDEX_MEDIA_TYPES.has(document.descriptor.mediaType)) {
    throw invalid(source, 'is an index, and a model is one artifact', 'name the artifact that is meant');
  }
  const [, ...layers] = readDocument(document, source.shown).blobs;
  const files = layers.map((layer) => ({
    name: titleOf(layer, source),
    digest: layer.digest,
    size: layer.size,
  }));
  if (files.length === 0) throw invalid(source, 'has no files', undefined);
  files.sort((one, other) => (one.name < other.name ? -1 : 1));
  const clash = clashIn(files.map(({ name }) => name));
  if (clash !== undefined)
    throw invalid(source, `has ${JSON.stringify(clash)} twice, or as a folder too`, undefined);
  return { digest: document.descriptor.digest, files };
}

function titleOf({ digest, annotations = {} }: Descriptor, source: ImageSource): string {
  const title = annotations[TITLE];
  if (title === undefined) {
    throw invalid(
      source,
      `has a layer ${digest.slice(0, 19)} that does not say which file it is`,
      `push files with \`oras push\`, which says it in the annotation ${TITLE}`,
    );
  }
  if (annotations[UNPACK] === 'true') {
    throw invalid(
      source,
      `has the folder ${JSON.stringify(title)} as an archive`,
      'push its files one by one',
    );
  }
  if (isFileName(title)) return title;
  throw invalid(
    source,
    `has a file ${JSON.stringify(title)}, which would be outside of its folder`,
    'a name is relative, without "..", and of bounded length',
  );
}

/** Relative, and inside of the folder that it is put into. */
export function isFileName(name: string): boolean {
  const parts = name.split('/');
  return (
    name.length <= 1024 &&
    !/\p{Cc}/u.test(name) &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= 255)
  );
}

/** A name that is there twice, or is a folder of another. @param names sorted or not */
export function clashIn(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return names.find((name) => {
    const parts = name.split('/');
    return parts.some((_, length) => length > 0 && seen.has(parts.slice(0, length).join('/')));
  });
}

function parseAny(bytes: Buffer, source: ImageSource): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw noImage(source);
  }
}

function noImage(source: ImageSource): IngotError {
  return invalid(source, 'is no image of a container', 'a model is declared in `models`');
}

function foreign({ shown }: ImageSource, architecture: string, there: readonly string[]): IngotError {
  const has = there.length === 0 ? '' : `: it is for ${there.join(', ')}`;
  return new IngotError('ARCHITECTURE_FOREIGN', `${shown} has no image for linux/${architecture}${has}`, {
    hint: 'name an image for this architecture, or declare arch',
  });
}

function invalid({ shown }: ImageSource, what: string, hint: string | undefined): IngotError {
  return new IngotError('IMAGE_INVALID', `${shown} ${what}`, hint === undefined ? {} : { hint });
}
