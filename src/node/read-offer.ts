/** The image that a name leads to now, held to its digest from then on: a tag that moves meanwhile changes nothing. */
import { IngotError } from '../errors.ts';
import { MAX_JSON_BYTES, parseJson } from '../oci/blob.ts';
import { imageFor } from '../oci/image-graph.ts';
import type { ImageSource, TransferOptions } from '../oci/image-transfer.ts';
import { ImageConfig, LAYER_MEDIA_TYPES, Manifest } from '../oci/schema.ts';
import { versionOf } from '../ostree/import-image.ts';
import type { OfferedImage } from './engine.ts';

export interface OfferOptions extends TransferOptions {
  /** What the node follows, as a person writes it. */
  readonly reference: string;
  /** What the source is asked for: a tag, a name, a digest. */
  readonly wanted: string | undefined;
  /** As OCI names it. */
  readonly architecture: string;
}

/** @throws IngotError NOT_FOUND, IMAGE_INVALID, DIGEST_MISMATCH, and what the source throws */
export async function readOffer(source: ImageSource, options: OfferOptions): Promise<OfferedImage> {
  const { reference, wanted, architecture, signal } = options;
  const root = await source.manifest(wanted, { signal });
  const document = await imageFor(
    architecture,
    source,
    root,
    (there) =>
      new IngotError(
        'UPDATE_REFUSED',
        `${source.shown} has no image for linux/${architecture}${there.length === 0 ? '' : `: ${there.join(', ')}`}`,
      ),
    { signal },
  );
  const shown = source.shown;
  const parsed = Manifest.safeParse(JSON.parse(document.bytes.toString()));
  if (!parsed.success) {
    throw new IngotError('IMAGE_INVALID', `${shown} is no image in OCI format`, {
      hint: 'copy it with a tool that converts, such as `skopeo copy --format=oci`',
    });
  }
  const manifest = parsed.data;
  const foreign = manifest.layers.find(({ mediaType }) => !LAYER_MEDIA_TYPES.has(mediaType));
  if (foreign !== undefined) {
    throw new IngotError(
      'IMAGE_INVALID',
      `${shown}: ${foreign.digest} is ${JSON.stringify(foreign.mediaType)}, no layer of an OCI image`,
      { hint: 'give an image of an operating system in OCI format, such as `ingot build` makes' },
    );
  }
  if (manifest.config.size > MAX_JSON_BYTES) {
    throw new IngotError(
      'IMAGE_INVALID',
      `${shown}: its configuration is said to have ${manifest.config.size} bytes`,
    );
  }
  const bytes = Buffer.concat(await Array.fromAsync(source.blob(manifest.config, { signal })));
  const config = parseJson(bytes.toString(), ImageConfig, shown, 'image configuration');
  const { digest } = document.descriptor;
  const version = versionOf(digest, manifest.annotations);
  return { reference, digest, root: root.descriptor.digest, manifest, config, version };
}
