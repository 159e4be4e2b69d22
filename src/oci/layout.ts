/** Reads and verifies OCI image layouts (image-spec, "Image Layout", version 1.0.0). */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import type { Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { layoutBlobPath, MAX_JSON_BYTES, parseJson, readJsonBlob } from './blob.ts';
import { layerContents } from './layer-contents.ts';
import {
  type Descriptor,
  ImageConfig,
  Index,
  LAYER_MEDIA_TYPES,
  LayoutFile,
  Manifest,
  MEDIA_TYPES,
  type Platform,
  REF_NAME,
} from './schema.ts';

/** How deep an index may hold indexes. */
export const MAX_INDEX_DEPTH = 3;

export interface Layout {
  readonly directory: string;
  readonly index: Index;
}

export interface ResolvedImage {
  readonly directory: string;
  /** Its name in the layout, when it has one. */
  readonly name: string | undefined;
  readonly digest: Digest;
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** Where a blob of the image is. Layer blobs are not verified by resolving: see `verifiedChunks`. */
  readonly blobPath: (digest: Digest) => string;
}

export interface LayoutReference {
  readonly directory: string;
  readonly name: string | undefined;
}

/** `oci:DIRECTORY[:NAME]` or `DIRECTORY[:NAME]`. As in skopeo, a directory's name holds no colon. */
export function parseLayoutReference(text: string): LayoutReference {
  const rest = text.startsWith('oci:') ? text.slice('oci:'.length) : text;
  const colon = rest.indexOf(':');
  const directory = colon === -1 ? rest : rest.slice(0, colon);
  const name = colon === -1 ? undefined : rest.slice(colon + 1);
  if (directory === '' || name === '') {
    throw new IngotError('USAGE', `${JSON.stringify(text)} names no image`, {
      hint: 'write oci:DIRECTORY or oci:DIRECTORY:NAME',
    });
  }
  return { directory, name };
}

/** @throws IngotError NOT_FOUND when there is no layout, STORE_CORRUPT when it cannot be read as one. */
export async function readLayout(directory: string): Promise<Layout> {
  const marker = await readSmall(directory, 'oci-layout');
  parseJson(marker, LayoutFile, join(directory, 'oci-layout'), 'layout marker');
  const index = await readSmall(directory, 'index.json');
  return { directory, index: parseJson(index, Index, join(directory, 'index.json'), 'image index') };
}

/**
 * The one image a reference names, its manifest and configuration verified against their digests.
 *
 * @throws IngotError NOT_FOUND with the names there are; DIGEST_MISMATCH, STORE_CORRUPT for a damaged layout.
 */
export async function resolveImage(
  reference: string | LayoutReference,
  platform: Platform = { os: 'linux', architecture: 'amd64' },
): Promise<ResolvedImage> {
  const { directory, name } = typeof reference === 'string' ? parseLayoutReference(reference) : reference;
  const { index } = await readLayout(directory);
  const entry = chooseByName(index, directory, name);
  const descriptor = await descend(directory, entry, platform, 0);
  const image = await readImage(directory, descriptor);
  return {
    ...image,
    directory,
    name: entry.annotations?.[REF_NAME],
    digest: descriptor.digest,
    blobPath: (digest) => layoutBlobPath(directory, digest),
  };
}

/** Manifest and configuration of a descriptor, verified, and consistent with each other. */
export async function readImage(
  directory: string,
  descriptor: Descriptor,
): Promise<Pick<ResolvedImage, 'descriptor' | 'manifest' | 'config'>> {
  requireMediaType(descriptor, new Set([MEDIA_TYPES.manifest]), 'image manifest');
  const manifest = await readJsonBlob(
    layoutBlobPath(directory, descriptor.digest),
    descriptor,
    Manifest,
    'image manifest',
  );
  requireMediaType(manifest.config, new Set([MEDIA_TYPES.config]), 'image configuration');
  for (const layer of manifest.layers) requireMediaType(layer, LAYER_MEDIA_TYPES, 'layer');
  const config = await readJsonBlob(
    layoutBlobPath(directory, manifest.config.digest),
    manifest.config,
    ImageConfig,
    'image configuration',
  );
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw new IngotError(
      'STORE_CORRUPT',
      `${descriptor.digest} has ${manifest.layers.length} layers and ${config.rootfs.diff_ids.length} diff IDs`,
      { hint: 'copy or build the image again' },
    );
  }
  return { descriptor, manifest, config };
}

/**
 * Verifies everything a layout's index leads to: every blob against its digest and size, every layer's contents
 * against its diff ID. Resolves to the digests seen.
 */
export async function verifyLayout(directory: string, signal?: AbortSignal): Promise<ReadonlySet<Digest>> {
  const seen = new Set<Digest>();
  const contents = new Map<Digest, string>();
  const visit = async (descriptor: Descriptor, depth: number): Promise<void> => {
    if (seen.has(descriptor.digest)) return;
    seen.add(descriptor.digest);
    if (descriptor.mediaType === MEDIA_TYPES.index) {
      for (const child of await readNested(directory, descriptor, depth)) await visit(child, depth + 1);
      return;
    }
    const { manifest, config } = await readImage(directory, descriptor);
    seen.add(manifest.config.digest);
    for (const [position, layer] of manifest.layers.entries()) {
      seen.add(layer.digest);
      // Images share layers; each says for itself what is in them.
      const diffId = contents.get(layer.digest) ?? (await hashContents(directory, layer, signal));
      contents.set(layer.digest, diffId);
      if (diffId !== config.rootfs.diff_ids[position]) {
        throw new IngotError('DIGEST_MISMATCH', `layer ${layer.digest} has other contents than its diff ID`, {
          hint: 'the image is damaged: copy or build it again',
        });
      }
    }
  };
  const { index } = await readLayout(directory);
  for (const descriptor of index.manifests) await visit(descriptor, 0);
  return seen;
}

/** Digest of a layer's plain archive; the blob is verified on the way. */
async function hashContents(
  directory: string,
  layer: Descriptor,
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash = createHash('sha256');
  const plain = layerContents(layoutBlobPath(directory, layer.digest), layer);
  const options = signal === undefined ? {} : { signal };
  try {
    await pipeline(plain, hash, options);
  } catch (error) {
    if (signal?.aborted === true) {
      throw new IngotError('INTERRUPTED', `interrupted while verifying ${directory}`, { cause: error });
    }
    if (error instanceof IngotError) throw error;
    throw new IngotError('DIGEST_MISMATCH', `layer ${layer.digest} cannot be decompressed`, {
      hint: 'the image is damaged: copy or build it again',
      cause: error,
    });
  }
  return `sha256:${hash.digest('hex')}`;
}

/** The entry of a name; without one, the only image there is. @throws IngotError NOT_FOUND with the names there are */
export function chooseByName(index: Index, directory: string, name: string | undefined): Descriptor {
  const images = index.manifests.filter((entry) => !belongsToImage(entry));
  const names = images.map((entry) => entry.annotations?.[REF_NAME]);
  const matching =
    name === undefined ? images : index.manifests.filter((entry) => entry.annotations?.[REF_NAME] === name);
  const [first] = matching;
  if (first !== undefined && matching.every((entry) => entry.digest === first.digest)) return first;
  const known = names.filter((known) => known !== undefined).join(', ');
  throw new IngotError(
    'NOT_FOUND',
    name !== undefined && first === undefined
      ? `${directory} has no image ${JSON.stringify(name)}`
      : `${directory} holds ${images.length} images`,
    {
      hint:
        known === '' ? 'it holds no named image' : `name one of them, as in oci:${directory}:NAME: ${known}`,
    },
  );
}

/** What is put beside images: referrers, which say their type and have no name, and cosign's older tags. */
function belongsToImage({ annotations, artifactType }: Descriptor): boolean {
  const name = annotations?.[REF_NAME];
  return name === undefined
    ? artifactType !== undefined
    : /^sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?$/.test(name);
}

async function descend(
  directory: string,
  descriptor: Descriptor,
  platform: Platform,
  depth: number,
): Promise<Descriptor> {
  if (descriptor.mediaType !== MEDIA_TYPES.index) return descriptor;
  const children = await readNested(directory, descriptor, depth);
  const child = children.find(
    ({ platform: has }) => has?.os === platform.os && has.architecture === platform.architecture,
  );
  if (child === undefined) {
    throw new IngotError(
      'NOT_FOUND',
      `${descriptor.digest} has no image for ${platform.os}/${platform.architecture}`,
      { hint: 'build or copy the image for this platform' },
    );
  }
  return descend(directory, child, platform, depth + 1);
}

async function readNested(
  directory: string,
  descriptor: Descriptor,
  depth: number,
): Promise<readonly Descriptor[]> {
  if (depth >= MAX_INDEX_DEPTH) {
    throw new IngotError('STORE_CORRUPT', `${directory} nests more than ${MAX_INDEX_DEPTH} image indexes`, {
      hint: 'this is no image that a tool writes: do not trust it',
    });
  }
  return (await readJsonBlob(layoutBlobPath(directory, descriptor.digest), descriptor, Index, 'image index'))
    .manifests;
}

function requireMediaType(descriptor: Descriptor, allowed: ReadonlySet<string>, what: string): void {
  if (allowed.has(descriptor.mediaType)) return;
  throw new IngotError(
    'STORE_CORRUPT',
    `${descriptor.digest} is ${JSON.stringify(descriptor.mediaType)} where a ${what} belongs`,
    { hint: `convert it with skopeo; accepted: ${[...allowed].join(', ')}` },
  );
}

async function readSmall(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  try {
    // NONBLOCK: opening a FIFO would wait for its writer.
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile()) throw new IngotError('STORE_CORRUPT', `${path} is not a file`);
    if (stats.size > MAX_JSON_BYTES) throw new IngotError('STORE_CORRUPT', `${path} has ${stats.size} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ELOOP') throw new IngotError('STORE_CORRUPT', `${path} is a symbolic link`);
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR') throw error;
    throw new IngotError('NOT_FOUND', `${directory} is no OCI image layout: it has no ${name}`, {
      hint: 'give a folder that `ingot build` or `skopeo copy … oci:FOLDER` wrote',
      cause: error,
    });
  }
}
