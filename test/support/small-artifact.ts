/** Artifacts of files, as `oras push` writes them, and as nothing should. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type Digest, digestOf, hexOf } from '../../src/digest.ts';
import { MEDIA_TYPES } from '../../src/oci/schema.ts';

export interface ArtifactFile {
  /** Undefined: the layer does not say. */
  readonly title: string | undefined;
  readonly content: string | Buffer;
  /** Says that it is a folder in an archive. */
  readonly unpack?: boolean;
}

/** Writes a layout with one artifact. Gives the digest of its manifest. */
export async function writeArtifact(layout: string, files: readonly ArtifactFile[]): Promise<Digest> {
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true });
  const add = async (data: string | Buffer): Promise<{ digest: Digest; size: number }> => {
    const digest = digestOf(data);
    await writeFile(join(layout, 'blobs/sha256', hexOf(digest)), data);
    return { digest, size: Buffer.byteLength(data) };
  };
  const layers = [];
  for (const { title, content, unpack } of files) {
    const annotations = {
      ...(title !== undefined && { 'org.opencontainers.image.title': title }),
      ...(unpack === true && { 'io.deis.oras.content.unpack': 'true' }),
    };
    layers.push({ mediaType: MEDIA_TYPES.layer, ...(await add(content)), annotations });
  }
  const document = JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: 'application/vnd.unknown.artifact.v1',
    config: { mediaType: MEDIA_TYPES.empty, ...(await add('{}')) },
    layers,
  });
  const manifest = { mediaType: MEDIA_TYPES.manifest, ...(await add(document)) };
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return manifest.digest;
}
