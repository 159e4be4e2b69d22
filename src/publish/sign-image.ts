/**
 * Signatures and attestations of an image and of everything in it, beside it where it lies. Each signature is there in
 * both forms: cosign's bundle, and the older one that hosts verify.
 */
import type { Digest } from '../digest.ts';
import { readImageGraph } from '../oci/image-graph.ts';
import type { ImageSource, ImageTarget, ManifestDocument } from '../oci/image-transfer.ts';
import { formatCount } from '../report/format.ts';
import type { Reporter } from '../report/events.ts';
import {
  BUNDLE_MEDIA_TYPE,
  claimedPredicate,
  MAX_BUNDLE_BYTES,
  signBundle,
  verifyBundle,
} from '../trust/bundle.ts';
import { type AnySigner, isKeyless } from '../trust/signer.ts';
import { COSIGN_SIGN } from '../trust/statement.ts';
import { type AttachOptions, attachArtifact, findArtifacts, readArtifactBlob } from './attach.ts';
import { requireAcceptedSigner } from './lock-out.ts';
import { addSignatures } from './signature-tag.ts';

/** What an image is signed as. */
export interface ImageIdentity {
  /** `HOST/PATH`. */
  readonly repository: string;
  readonly tags: readonly string[];
}

/** What is said of an image besides that it is ours. */
export interface Attestation {
  readonly predicateType: string;
  readonly predicate: object;
}

export interface SignOptions extends AttachOptions {
  /** The same place as `target`, without mirrors. */
  readonly source: ImageSource;
  readonly target: ImageTarget;
  /** What the source is asked for. */
  readonly reference: string | undefined;
  readonly identity: ImageIdentity;
  readonly signer: AnySigner;
  /** Made for each manifest; undefined: nothing is said of it. */
  readonly attest?: ((document: ManifestDocument) => Attestation | undefined) | undefined;
  /** Signs also what the image itself would refuse as an update. */
  readonly allowLockOut?: boolean | undefined;
  readonly reporter: Reporter;
}

export interface SignedManifest {
  readonly digest: Digest;
  /** What was added; what this key had signed before is left as it is. */
  readonly added: {
    readonly bundle: boolean;
    readonly simpleSignatures: number;
    /** Predicate types. */
    readonly attestations: readonly string[];
  };
}

export interface SignedImage {
  readonly digest: Digest;
  /** Fingerprint; none where an identity signed. */
  readonly key?: Digest;
  /** Who vouched for the identity that signed. */
  readonly issuer?: string;
  readonly identities: readonly string[];
  /** Children before the index that names them. */
  readonly manifests: readonly SignedManifest[];
}

/** @throws IngotError UPDATE_LOCKOUT, NOT_FOUND, IMAGE_INVALID, and what source, target and signer throw */
export async function signImage(options: SignOptions): Promise<SignedImage> {
  const { source, target, reference, identity, signer, reporter, signal } = options;
  const { repository, tags } = identity;
  const identities = tags.length === 0 ? [repository] : tags.map((tag) => `${repository}:${tag}`);
  const graph = await readImageGraph(source, reference, { signal });
  if (options.allowLockOut !== true) {
    requireAcceptedSigner(graph.documents, repository, signer);
  }
  const manifests = await reporter.stage(`Sign ${target.shown}`, async (stage) => {
    const signed: SignedManifest[] = [];
    for (const document of graph.documents) {
      signed.push(await signManifest(document, identities, options));
      stage.progress(signed.length, graph.documents.length, 'items');
    }
    await target.finish({ signal });
    const isNew = signed.some(
      ({ added }) => added.bundle || added.simpleSignatures > 0 || added.attestations.length > 0,
    );
    if (isNew) stage.detail(formatCount(signed.length, 'manifest'));
    else stage.cached('signed with this key before');
    return signed;
  });
  return {
    digest: graph.root.descriptor.digest,
    ...(isKeyless(signer) ? { issuer: signer.issuer } : { key: signer.publicKey.fingerprint }),
    identities,
    manifests,
  };
}

async function signManifest(
  document: ManifestDocument,
  identities: readonly string[],
  options: SignOptions,
): Promise<SignedManifest> {
  const { attest } = options;
  const { descriptor } = document;
  const bundle = await attachStatement(document, { predicateType: COSIGN_SIGN, predicate: {} }, options);
  const attestation = attest?.(document);
  const isAttested = attestation !== undefined && (await attachStatement(document, attestation, options));
  const simpleSignatures = await addSignatures(descriptor.digest, { ...options, identities });
  return {
    digest: descriptor.digest,
    added: { bundle, simpleSignatures, attestations: isAttested ? [attestation.predicateType] : [] },
  };
}

/** False when this key has said the same before. */
async function attachStatement(
  { descriptor }: ManifestDocument,
  { predicateType, predicate }: Attestation,
  options: SignOptions,
): Promise<boolean> {
  const { target, identity, signer, signal } = options;
  const subject = { digest: descriptor.digest, repository: identity.repository };
  const { bytes, annotations } = await signBundle(subject, predicateType, predicate, signer, signal);
  if (await isAttached(subject, predicateType, payloadOf(bytes), options)) return false;
  const layers = [{ mediaType: BUNDLE_MEDIA_TYPE, content: bytes }];
  await attachArtifact(target, descriptor, { artifactType: BUNDLE_MEDIA_TYPE, layers, annotations }, options);
  return true;
}

/** Signatures hold a random number, so what counts is the payload that they are over. */
async function isAttached(
  subject: { readonly digest: Digest; readonly repository: string },
  predicateType: string,
  payload: string,
  { source, signer, signal }: SignOptions,
): Promise<boolean> {
  if (isKeyless(signer)) return false; // each signature has a time of its own, which verifiers may ask for
  const onUnreadable = (): void => undefined; // by whoever; it is none of ours
  const found = await findArtifacts(source, subject.digest, [BUNDLE_MEDIA_TYPE], { signal, onUnreadable });
  for (const { manifest } of found) {
    const [layer] = manifest.layers;
    if (layer === undefined || layer.size > MAX_BUNDLE_BYTES) continue;
    if (claimedPredicate(manifest.annotations) !== predicateType) continue;
    const bytes = await readArtifactBlob(source, layer, MAX_BUNDLE_BYTES, { signal });
    const checked = verifyBundle(bytes, subject, predicateType, { keys: [signer.publicKey] });
    if ('value' in checked && payloadOf(bytes) === payload) return true;
  }
  return false;
}

function payloadOf(bundle: Buffer): string {
  const { dsseEnvelope } = JSON.parse(bundle.toString()) as {
    readonly dsseEnvelope: { readonly payload: string };
  };
  return dsseEnvelope.payload;
}
