/** Images that a node could be offered: one that is there, with another layer, in the same layout. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type Digest, digestOf } from '../../src/digest.ts';
import { addToLayout, type LayoutBlob } from '../../src/oci/layout-write.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { packLayer } from './small-image.ts';

export interface NextImage {
  /** Its name in the layout. */
  readonly name: string;
  readonly digest: Digest;
  readonly layer: Descriptor;
}

export interface NextImageOptions {
  /** Its name, and its version. */
  readonly name: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly architecture?: string;
  readonly fill: (tree: string) => Promise<unknown>;
}

/** @param layout holds `base`, a name in it, and gets the new image too */
export async function addNextImage(
  layout: string,
  base: string,
  scratch: string,
  { name, annotations = {}, architecture, fill }: NextImageOptions,
): Promise<NextImage> {
  const { manifest, config } = await resolveImage({ directory: layout, name: base });
  const { archive } = await packLayer(scratch, name, fill);
  const blobs: LayoutBlob[] = [];
  const add = async (bytes: Buffer | string, mediaType: string): Promise<Descriptor> => {
    const digest = digestOf(bytes);
    const source = join(scratch, digest.slice(7));
    await writeFile(source, bytes);
    const descriptor = { mediaType, digest, size: Buffer.byteLength(bytes) };
    blobs.push({ descriptor, source });
    return descriptor;
  };
  const layer = await add(archive, MEDIA_TYPES.layer);
  const document = JSON.stringify({
    ...config,
    ...(architecture !== undefined && { architecture }),
    rootfs: { type: 'layers', diff_ids: [...config.rootfs.diff_ids, layer.digest] },
    history: [],
  });
  const next = {
    ...manifest,
    config: await add(document, manifest.config.mediaType),
    layers: [...manifest.layers, layer],
    annotations: {
      ...manifest.annotations,
      'org.opencontainers.image.version': name,
      ...annotations,
    },
  };
  const descriptor = await add(JSON.stringify(next), MEDIA_TYPES.manifest);
  await addToLayout(layout, blobs, [{ descriptor, name }]);
  for (const { source } of blobs) await rm(source);
  return { name, digest: descriptor.digest, layer };
}

/** Lets `name` of a layout lead to what `target` leads to. */
export async function moveName(layout: string, name: string, target: string): Promise<void> {
  const path = join(layout, 'index.json');
  const index = JSON.parse(await readFile(path, 'utf8')) as {
    manifests: { annotations?: Record<string, string> }[];
  };
  const key = 'org.opencontainers.image.ref.name';
  const found = index.manifests.find(({ annotations }) => annotations?.[key] === target);
  if (found === undefined) throw new Error(`no ${target} in ${layout}`);
  const others = index.manifests.filter(({ annotations }) => annotations?.[key] !== name);
  const moved = { ...found, annotations: { ...found.annotations, [key]: name } };
  await writeFile(path, JSON.stringify({ ...index, manifests: [...others, moved] }));
}
