/** Images to build on, made of the shared one or of a folder. */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';

import { canonicalJson, digestOf, type Digest } from '../../src/digest.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { addToLayout, type LayoutBlob } from '../../src/oci/layout-write.ts';
import { type Descriptor, type ImageConfig, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { run } from '../../src/proc/run.ts';
import { gunzipSync } from 'node:zlib';

export interface LayeredImage {
  /** `oci:DIRECTORY:NAME`. */
  readonly ref: string;
  readonly layers: readonly Descriptor[];
}

export interface LayerOptions {
  readonly architecture?: string;
  /** Layers under the new one. */
  readonly below?: { readonly layout: string; readonly name: string };
}

/** An image of the files below `tree`, gzipped, named `1` in a new layout at `layout`. */
export async function imageOfTree(
  layout: string,
  tree: string,
  { architecture = 'amd64', below }: LayerOptions = {},
): Promise<LayeredImage> {
  const archive = `${layout}.tar.gz`;
  const stable = ['--sort=name', '--format=pax', '--xattrs', '--xattrs-include=security.capability'];
  await run(['tar', '-C', tree, ...stable, '--numeric-owner', '-czf', archive, '.']);
  const bytes = await readFile(archive);
  const layer = { mediaType: MEDIA_TYPES.layerGzip, digest: digestOf(bytes), size: bytes.length };
  const lower =
    below === undefined ? undefined : await resolveImage({ directory: below.layout, name: below.name });
  if (below !== undefined) await cp(below.layout, layout, { recursive: true });
  else await mkdir(layout, { recursive: true });
  const blobs: LayoutBlob[] = [{ descriptor: layer, source: archive }];
  const document = async (value: object, mediaType: string): Promise<Descriptor> => {
    const text = canonicalJson(value);
    const digest: Digest = digestOf(text);
    const source = `${layout}.${digest.slice(7, 19)}`;
    await writeFile(source, text);
    const descriptor = { mediaType, digest, size: Buffer.byteLength(text) };
    blobs.push({ descriptor, source });
    return descriptor;
  };
  const diffIds = [...(lower?.config.rootfs.diff_ids ?? []), digestOf(gunzipSync(bytes))];
  const config: ImageConfig = {
    architecture,
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
  const layers = [...(lower?.manifest.layers ?? []), layer];
  const manifest = await document(
    {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: await document(config, MEDIA_TYPES.config),
      layers,
    },
    MEDIA_TYPES.manifest,
  );
  await addToLayout(layout, blobs, [{ descriptor: manifest, name: '1' }]);
  for (const { source } of blobs) await rm(source);
  return { ref: `oci:${layout}:1`, layers };
}
