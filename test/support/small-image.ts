/** Images of a few files, packed by GNU tar: what reading and comparing images can meet, in a second. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { digestOf, hexOf, type Digest } from '../../src/digest.ts';
import { MEDIA_TYPES, type Descriptor, type Platform } from '../../src/oci/schema.ts';
import { run } from '../../src/proc/run.ts';

export interface SmallLayer {
  readonly name?: string;
  /** A tar archive. */
  readonly archive: Buffer;
}

/** Packs what `fill` puts into an empty folder. The same files are the same bytes. */
export async function packLayer(
  scratch: string,
  name: string,
  fill: (tree: string) => Promise<unknown>,
): Promise<SmallLayer> {
  const tree = await mkdtemp(join(scratch, 'tree-'));
  const archive = `${tree}.tar`;
  // It is the root directory of what gets the layer, and a folder for temporary files is for its owner alone.
  await chmod(tree, 0o755);
  await fill(tree);
  const stable = ['--sort=name', '--format=pax', '--numeric-owner', '--owner=0', '--group=0', '--mtime=@0'];
  await run(['tar', '-C', tree, ...stable, '--pax-option=delete=atime,delete=ctime', '-cf', archive, '.']);
  const bytes = await readFile(archive);
  for (const path of [tree, archive]) await rm(path, { recursive: true });
  return { name, archive: bytes };
}

/** Writes files below a folder: `{'etc/motd': 'hello'}`. */
export async function writeTree(
  tree: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(tree, path, '..'), { recursive: true });
    await writeFile(join(tree, path), content);
  }
}

/** Writes a layout with one image of these layers, gzipped. Gives its reference. */
export async function writeSmallImage(
  layout: string,
  layers: readonly SmallLayer[],
  annotations: Readonly<Record<string, string>> = {},
  platform: Platform = { os: 'linux', architecture: 'amd64' },
): Promise<string> {
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true });
  const addBlob = async (data: Buffer | string): Promise<{ digest: Digest; size: number }> => {
    const digest = digestOf(data);
    await writeFile(join(layout, 'blobs/sha256', hexOf(digest)), data);
    return { digest, size: Buffer.byteLength(data) };
  };
  const descriptors: Descriptor[] = [];
  for (const { name, archive } of layers) {
    const blob = await addBlob(gzipSync(archive));
    descriptors.push({
      mediaType: MEDIA_TYPES.layerGzip,
      ...blob,
      ...(name !== undefined && { annotations: { 'dev.ingot.layer': name } }),
    });
  }
  const config = await addBlob(
    JSON.stringify({
      ...platform,
      rootfs: { type: 'layers', diff_ids: layers.map(({ archive }) => digestOf(archive)) },
    }),
  );
  const manifest = await addBlob(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: { mediaType: MEDIA_TYPES.config, ...config },
      layers: descriptors,
      annotations,
    }),
  );
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: MEDIA_TYPES.manifest, ...manifest }] }),
  );
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return `oci:${layout}`;
}
