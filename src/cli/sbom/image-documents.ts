/** Bills of materials as what registries keep beside images: made for an image, or found beside it. */
import * as z from 'zod';

import { digestOfJson } from '../../digest.ts';
import { IngotError } from '../../errors.ts';
import { openReader } from '../../inspect/image-reader.ts';
import { parseJson } from '../../oci/blob.ts';
import { isPlainImage, readImageGraph } from '../../oci/image-graph.ts';
import type { RegistryAccess } from '../../oci/registry/access.ts';
import { type AttachedArtifact, findArtifacts, readArtifactBlob } from '../../publish/attach.ts';
import { type ImageOrigin, openSource, wantedOf } from '../../publish/location.ts';
import type { Belonging } from '../../publish/transfer.ts';
import { verifyImage } from '../../publish/verify-image.ts';
import type { Lock } from '../../resolve/lock.ts';
import { BILL_FORMATS, type BillFormat } from '../../sbom/formats.ts';
import { renderDocument } from '../../sbom/render-document.ts';
import type { Store } from '../../store/store.ts';
import type { PublicKey } from '../../trust/public-key.ts';
import type { CommandContext } from '../context.ts';
import { readVersion } from '../root-command.ts';
import { gatherFromImage } from './gather-bill.ts';

export interface DocumentsOptions {
  readonly from: ImageOrigin;
  readonly formats: readonly BillFormat[];
  /** Those that are certain; others are looked up in the store. */
  readonly locks: readonly Lock[];
  readonly registries: RegistryAccess;
  /** In use by the caller. */
  readonly store: Store;
}

/** The largest list that anybody has, ten times over. */
const MAX_DOCUMENT_BYTES = 256 * 1024 * 1024;

/**
 * One document of each format for each image that there is: of an index, for each in it, and for nothing else that a
 * builder put there.
 *
 * @throws IngotError IMAGE_INVALID when there is no image
 */
export async function makeDocuments(
  context: CommandContext,
  { from, formats, locks, registries, store }: DocumentsOptions,
): Promise<readonly Belonging[]> {
  const { signal } = context;
  const known = new Map<string, Lock>(locks.map((lock) => [digestOfJson(lock), lock]));
  await using source = await openSource(from, registries);
  const { documents } = await readImageGraph(source, wantedOf(from), { signal });
  const images = documents.filter((document) => isPlainImage(document, source.shown));
  if (images.length === 0) {
    throw new IngotError('IMAGE_INVALID', `${source.shown} has no image that packages could be in`);
  }
  const belongings: Belonging[] = [];
  for (const { descriptor } of images) {
    const { mediaType, digest, size } = descriptor;
    // Closed with the source.
    const image = await openReader(source, digest, { shown: source.shown, isLocal: true, signal });
    const lock = known.get(image.annotations['dev.ingot.lock'] ?? '');
    const { bill } = await gatherFromImage(context, image, { store, known: lock });
    for (const format of formats) {
      const type = BILL_FORMATS[format].mediaType;
      const bytes = Buffer.from(renderDocument(bill, format, { name: 'ingot', version: readVersion() }));
      belongings.push({
        subject: { mediaType, digest, size },
        artifact: { artifactType: type, layers: [{ mediaType: type, content: bytes }] },
      });
    }
  }
  return belongings;
}

export interface AttachedOptions {
  readonly from: ImageOrigin;
  readonly format: BillFormat;
  /** Only a document that one of them signed counts; undefined: any. */
  readonly keys?: readonly PublicKey[] | undefined;
  readonly registries: RegistryAccess;
}

/**
 * The document that somebody put beside an image, as it is.
 *
 * @throws IngotError NOT_FOUND when there is none that counts, or more than one
 */
export async function readAttached(
  { signal }: CommandContext,
  { from, format, keys, registries }: AttachedOptions,
): Promise<string> {
  const { mediaType, title } = BILL_FORMATS[format];
  await using source = await openSource(from, registries);
  // Of an index, the image that every other command takes too.
  const image = await openReader(source, wantedOf(from), { shown: source.shown, isLocal: false, signal });
  const found = await findArtifacts(source, image.digest, [mediaType], { signal });
  const repository =
    from.kind === 'registry' ? `${from.reference.registry}/${from.reference.repository}` : undefined;
  const counting: AttachedArtifact[] = [];
  for (const one of found) {
    const { digest } = one.descriptor;
    const counts =
      keys === undefined || (await verifyImage(source, digest, { keys, repository, signal })).trusted;
    if (counts) counting.push(one);
  }
  const [first, ...more] = counting.flatMap(({ manifest }) => manifest.layers);
  if (first === undefined || more.length > 0) {
    const signed = keys === undefined ? '' : ' that this key signed';
    const none = `no document of ${title}${signed}`;
    throw new IngotError(
      'NOT_FOUND',
      `${source.shown} has ${more.length === 0 ? none : `${more.length + 1} documents of ${title}${signed}`} beside ${image.digest}`,
      {
        hint:
          found.length === 0
            ? 'leave out --attached: then it is made from the image itself'
            : `\`ingot inspect\` lists what is there; leave out --attached to make it from the image itself`,
      },
    );
  }
  const text = (await readArtifactBlob(source, first, MAX_DOCUMENT_BYTES, { signal })).toString();
  parseJson(text, z.record(z.string(), z.unknown()), source.shown, `document of ${title}`);
  return text;
}
