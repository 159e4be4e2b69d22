/**
 * Deltas that stand beside an image, for layers that this node lacks and made of layers that it has. They are there to
 * save bytes: whatever is wrong with them, the layers themselves are pulled.
 *
 * What a delta makes is verified against the image's configuration alone, and not against the digest of the blob, under
 * which it is kept. So an image that nobody signed could bring another image's layer with other content; where this
 * node asks for signatures at all, only signed deltas of signed images are taken.
 */
import {
  DELTA_ARTIFACT_TYPE,
  LAYER_DELTA_MEDIA_TYPE,
  type LayerDelta,
  parseAnnotations,
} from '../delta/format.ts';
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { ImageSource, TransferOptions } from '../oci/image-transfer.ts';
import type { Descriptor } from '../oci/schema.ts';
import { findArtifacts } from '../publish/attach.ts';
import type { ImageLocation } from '../publish/location.ts';
import type { TrustPolicy } from '../trust/policy.ts';
import { checkTrust, type TrustVerdict } from './check-trust.ts';
import type { Engine, OfferedImage } from './engine.ts';

/** Of a layer, as the image's registry has it. */
export interface OfferedDelta extends LayerDelta {
  readonly blob: Descriptor;
}

export interface FindDeltasOptions extends TransferOptions {
  readonly source: ImageSource;
  readonly location: ImageLocation;
  readonly engine: Engine;
  readonly policy: TrustPolicy | undefined;
  readonly trust: Pick<TrustVerdict, 'verdict'>;
  /** Layers that are to be pulled. */
  readonly missing: readonly Descriptor[];
}

/**
 * The smallest delta of each layer that has one that counts.
 *
 * @throws IngotError what the source throws
 */
export async function findDeltas(
  { digest, manifest }: Pick<OfferedImage, 'digest' | 'manifest'>,
  { source, location, engine, policy, trust, missing, signal }: FindDeltasOptions,
): Promise<readonly OfferedDelta[]> {
  // What is not far away costs nothing to read.
  if (location.kind !== 'registry' || engine.layersHere === undefined) return [];
  const isSignatureWanted = trust.verdict === 'signed';
  if (!isSignatureWanted && asksForSignatures(policy)) return [];
  const image = { digest, blobs: [manifest.config, ...manifest.layers] };
  return await chooseDeltas(source, image, {
    missing,
    layersHere: engine.layersHere,
    isTaken: async (artifact) =>
      !isSignatureWanted || (await isSigned(source, location, artifact, policy, { signal })),
    signal,
  });
}

export interface ChooseDeltasOptions extends TransferOptions {
  readonly missing: readonly Descriptor[];
  /** Those of these layers that are at hand. */
  readonly layersHere: (layers: readonly Digest[]) => Promise<ReadonlySet<Digest>>;
  /** Whether an artifact that is of use may be used. Default: it may. */
  readonly isTaken?: (artifact: Digest) => Promise<boolean>;
}

/**
 * The same where others know what is at hand and what counts.
 *
 * @throws IngotError what the source throws
 */
export async function chooseDeltas(
  source: ImageSource,
  image: { readonly digest: Digest; readonly blobs: readonly Descriptor[] },
  { missing, layersHere, isTaken = () => Promise.resolve(true), signal }: ChooseDeltasOptions,
): Promise<readonly OfferedDelta[]> {
  if (missing.length === 0) return [];
  const artifacts = await findArtifacts(source, image.digest, [DELTA_ARTIFACT_TYPE], {
    signal,
    onUnreadable: () => undefined,
  });
  const sizes = new Map(missing.map((layer) => [layer.digest, layer.size]));
  // What is dropped after it was used must be nobody else's.
  const taken = new Set(image.blobs.map((blob) => blob.digest));
  const offers = artifacts.map(({ descriptor, manifest }) => ({
    artifact: descriptor.digest,
    deltas: manifest.layers.flatMap((blob): readonly OfferedDelta[] => {
      const delta =
        blob.mediaType === LAYER_DELTA_MEDIA_TYPE ? parseAnnotations(blob.annotations) : undefined;
      if (delta === undefined || taken.has(blob.digest)) return [];
      return blob.size < (sizes.get(delta.layer) ?? 0) ? [{ ...delta, blob }] : [];
    }),
  }));
  const here = await layersHere(offers.flatMap(({ deltas }) => deltas.flatMap(({ sources }) => sources)));
  const best = new Map<Digest, OfferedDelta>();
  for (const { artifact, deltas } of offers) {
    const usable = deltas.filter(({ sources }) => sources.every((layer) => here.has(layer)));
    if (usable.length === 0 || !(await isTaken(artifact))) continue;
    for (const delta of usable) {
      if (delta.blob.size < (best.get(delta.layer)?.blob.size ?? Infinity)) best.set(delta.layer, delta);
    }
  }
  return [...new Map([...best.values()].map((delta) => [delta.blob.digest, delta])).values()];
}

/** No signature counts, or what stands for one cannot be read. */
const NOT_SIGNED: ReadonlySet<string> = new Set([
  'UPDATE_REFUSED',
  'IMAGE_INVALID',
  'DIGEST_MISMATCH',
  'NOT_FOUND',
]);

function asksForSignatures(policy: TrustPolicy | undefined): boolean {
  return policy?.rules.values().some(({ verdict }) => verdict === 'signed') ?? false;
}

/** As the image itself has to be; of what it was made, nothing need be attested. */
async function isSigned(
  source: ImageSource,
  location: ImageLocation,
  artifact: Digest,
  policy: TrustPolicy | undefined,
  options: TransferOptions,
): Promise<boolean> {
  try {
    await checkTrust(source, location, artifact, policy, { ...options, isAttested: false });
    return true;
  } catch (error) {
    if (error instanceof IngotError && NOT_SIGNED.has(error.code)) return false;
    throw error;
  }
}
