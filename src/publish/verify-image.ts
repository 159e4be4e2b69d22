/**
 * Whether an image is signed by a key that is trusted. What a registry gives is data from a stranger: a signature that
 * does not count is reported with why, and never ends the search for one that does.
 */
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { INDEX_MEDIA_TYPES, readImageGraph } from '../oci/image-graph.ts';
import type { ImageSource, ManifestDocument, TransferOptions } from '../oci/image-transfer.ts';
import { Index, type Platform } from '../oci/schema.ts';
import {
  BUNDLE_MEDIA_TYPE,
  claimedPredicate,
  MAX_BUNDLE_BYTES,
  type TrustedSigners,
  type VerifiedSigner,
  verifyBundle,
} from '../trust/bundle.ts';
import type { CertificateIdentity } from '../trust/identity.ts';
import type { KeylessTrust } from '../trust/keyless.ts';
import type { PublicKey } from '../trust/public-key.ts';
import type { Refusal } from '../trust/refusal.ts';
import { signatureTag, verifySimply } from '../trust/simple-signing.ts';
import { COSIGN_SIGN } from '../trust/statement.ts';
import { type AttachedArtifact, findArtifacts, readArtifactBlob } from './attach.ts';
import { readSignatureTag, readStoredSignature } from './signature-tag.ts';

export type SignatureForm = 'bundle' | 'simple-signing';

export interface AcceptedSignature {
  readonly form: SignatureForm;
  /** Fingerprint of the key that it verifies with; none where an identity signed. */
  readonly key?: Digest;
  readonly certificate?: CertificateIdentity;
  /** What it says that the image is called. */
  readonly identity: string | undefined;
  /** Of the manifest that is the bundle, or of the layer that is the payload. */
  readonly digest: Digest;
}

export interface RefusedSignature extends Refusal {
  readonly form: SignatureForm;
  readonly digest: Digest | undefined;
}

export interface AcceptedAttestation {
  readonly predicateType: string;
  readonly key?: Digest;
  readonly certificate?: CertificateIdentity;
  readonly digest: Digest;
  readonly predicate: unknown;
}

export interface VerifiedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly platform: Platform | undefined;
  readonly accepted: readonly AcceptedSignature[];
  readonly refused: readonly RefusedSignature[];
  /** Of the types that were asked for. */
  readonly attestations: readonly AcceptedAttestation[];
}

export interface Verification {
  readonly digest: Digest;
  /** The image or index that was named is signed, and what has to be said of it is said. */
  readonly trusted: boolean;
  /** The one that was named comes last, what is in it before. */
  readonly manifests: readonly VerifiedManifest[];
  /** Predicate types that were asked for and that neither the image nor all images in it have. */
  readonly missing: readonly string[];
}

export interface VerifyOptions extends TransferOptions {
  /** One of them is enough. */
  readonly keys: readonly PublicKey[];
  /** Or one of these identities. */
  readonly keyless?: KeylessTrust | undefined;
  /** `HOST/PATH` that signatures must name, where they name one; undefined: any. */
  readonly repository: string | undefined;
  /** Predicate types that must be attested. */
  readonly attestations?: readonly string[];
}

/** @throws IngotError NOT_FOUND, IMAGE_INVALID, DIGEST_MISMATCH for the image itself, and what the source throws */
export async function verifyImage(
  source: ImageSource,
  reference: string | undefined,
  options: VerifyOptions,
): Promise<Verification> {
  const { attestations = [], signal } = options;
  const signers = await signersOf(options);
  const graph = await readImageGraph(source, reference, { signal });
  const platforms = platformsIn(graph.documents);
  const manifests: VerifiedManifest[] = [];
  for (const { descriptor } of graph.documents) {
    const { digest, mediaType } = descriptor;
    const collector = new SignatureCollector(source, digest, options, signers);
    await collector.readBundles();
    await collector.readSimpleSignatures();
    const platform = platforms.get(digest);
    manifests.push({ digest, mediaType, platform, ...collector.result() });
  }
  const root = manifests.at(-1);
  const children = manifests.slice(0, -1);
  const has = (one: VerifiedManifest | undefined, type: string): boolean =>
    one?.attestations.some(({ predicateType }) => predicateType === type) ?? false;
  const missing = attestations.filter(
    (type) => !has(root, type) && (children.length === 0 || !children.every((child) => has(child, type))),
  );
  return {
    digest: graph.root.descriptor.digest,
    trusted: (root?.accepted.length ?? 0) > 0 && missing.length === 0,
    manifests,
    missing,
  };
}

class SignatureCollector {
  readonly #source: ImageSource;
  readonly #digest: Digest;
  readonly #options: VerifyOptions;
  readonly #signers: TrustedSigners;
  readonly #accepted: AcceptedSignature[] = [];
  readonly #refused: RefusedSignature[] = [];
  readonly #attestations: AcceptedAttestation[] = [];

  constructor(source: ImageSource, digest: Digest, options: VerifyOptions, signers: TrustedSigners) {
    this.#signers = signers;
    this.#source = source;
    this.#digest = digest;
    this.#options = options;
  }

  result(): Pick<VerifiedManifest, 'accepted' | 'refused' | 'attestations'> {
    return { accepted: this.#accepted, refused: this.#refused, attestations: this.#attestations };
  }

  async readBundles(): Promise<void> {
    const { signal } = this.#options;
    const artifacts = await findArtifacts(this.#source, this.#digest, [BUNDLE_MEDIA_TYPE], {
      signal,
      onUnreadable: ({ digest }, error) => {
        this.#refuse('bundle', digest, { reason: 'malformed', message: error.message });
      },
    });
    for (const artifact of artifacts) {
      const { digest } = artifact.descriptor;
      try {
        await this.#readBundle(artifact);
      } catch (error) {
        this.#refuse('bundle', digest, refusalOf(error));
      }
    }
  }

  async readSimpleSignatures(): Promise<void> {
    const { repository, signal } = this.#options;
    const { layers, garbage } = await readSignatureTag(this.#source, this.#digest, { signal });
    if (garbage !== undefined) {
      const message = `${signatureTag(this.#digest)}: ${garbage.message}`;
      this.#refuse('simple-signing', undefined, { reason: 'malformed', message });
    }
    for (const layer of layers) {
      try {
        const stored = await readStoredSignature(this.#source, layer, { signal });
        const checked = verifySimply(stored, this.#digest, repository, this.#signers);
        if ('refusal' in checked) {
          this.#refuse('simple-signing', layer.digest, checked.refusal);
          continue;
        }
        const { identity, ...by } = checked.value;
        const { digest } = layer;
        this.#accepted.push({ form: 'simple-signing', ...signerIn(by), identity, digest });
      } catch (error) {
        this.#refuse('simple-signing', layer.digest, refusalOf(error));
      }
    }
  }

  async #readBundle({ descriptor, manifest }: AttachedArtifact): Promise<void> {
    const { repository, attestations = [], signal } = this.#options;
    const claimed = claimedPredicate(manifest.annotations);
    // What says that it is no signature is none; what says nothing may be one.
    const wanted = claimed === undefined ? [COSIGN_SIGN, ...attestations] : [claimed];
    const types = wanted.filter((type) => type === COSIGN_SIGN || attestations.includes(type));
    if (types.length === 0) return;
    const [layer, other] = manifest.layers;
    if (layer?.mediaType !== BUNDLE_MEDIA_TYPE || other !== undefined) {
      throw new IngotError('IMAGE_INVALID', 'it is not one bundle');
    }
    const bytes = await readArtifactBlob(this.#source, layer, MAX_BUNDLE_BYTES, { signal });
    let last: Refusal | undefined;
    for (const predicateType of types) {
      const checked = verifyBundle(bytes, { digest: this.#digest, repository }, predicateType, this.#signers);
      if ('refusal' in checked) {
        last = checked.refusal;
        continue;
      }
      const { statement } = checked.value;
      const by = signerIn(checked.value);
      const { digest } = descriptor;
      const identity = statement.subject[0]?.name;
      if (predicateType === COSIGN_SIGN) {
        this.#accepted.push({ form: 'bundle', ...by, identity, digest });
      } else {
        const { predicate } = statement;
        this.#attestations.push({ predicateType, ...by, digest, predicate });
      }
      return;
    }
    if (last !== undefined) this.#refuse('bundle', descriptor.digest, last);
  }

  #refuse(form: SignatureForm, digest: Digest | undefined, refusal: Refusal): void {
    this.#refused.push({ form, digest, ...refusal });
  }
}

/** Sigstore's code is read where an identity is trusted, and nowhere else. */
async function signersOf({ keys, keyless }: VerifyOptions): Promise<TrustedSigners> {
  if (keyless === undefined) return { keys };
  const { verifyKeyless } = await import('../trust/keyless.ts');
  return { keys, keyless: (bundle, payload) => verifyKeyless(bundle, keyless, payload) };
}

function signerIn({ key, certificate }: VerifiedSigner): Pick<AcceptedSignature, 'key' | 'certificate'> {
  return key === undefined ? { certificate } : { key: key.fingerprint };
}

/** What is wrong with one signature; what is wrong with the way to it is thrown on. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof IngotError && ['IMAGE_INVALID', 'DIGEST_MISMATCH', 'NOT_FOUND'].includes(error.code)) {
    return { reason: 'malformed', message: error.message };
  }
  throw error;
}

function platformsIn(documents: readonly ManifestDocument[]): ReadonlyMap<Digest, Platform> {
  const platforms = new Map<Digest, Platform>();
  for (const { descriptor, bytes } of documents) {
    if (!INDEX_MEDIA_TYPES.has(descriptor.mediaType)) continue;
    const { manifests } = Index.pick({ manifests: true }).parse(JSON.parse(bytes.toString()));
    for (const { digest, platform } of manifests) {
      if (platform !== undefined) platforms.set(digest, platform);
    }
  }
  return platforms;
}
