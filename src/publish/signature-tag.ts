/**
 * The image `sha256-<hex>.sig`, whose layers are an image's signatures of the older form. Every signer adds to it, and
 * registries keep no lock, so it is read again after a moment, and written again when another's version took its
 * place.
 */
import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { canonicalJson, type Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { readDocument } from '../oci/image-graph.ts';
import type { ImageSource, ImageTarget, TransferOptions } from '../oci/image-transfer.ts';
import { RegistrySource } from '../oci/registry/registry-source.ts';
import { type Descriptor, Manifest, MEDIA_TYPES } from '../oci/schema.ts';
import { CERTIFICATE_ANNOTATION, certifiedAnnotations, readCertified } from '../trust/certified-signature.ts';
import { type AnySigner, isKeyless } from '../trust/signer.ts';
import {
  MAX_PAYLOAD_BYTES,
  SIGNATURE_ANNOTATION,
  signatureTag,
  signSimply,
  SIMPLE_SIGNING_MEDIA_TYPE,
  type SimpleSignature,
  verifySimply,
} from '../trust/simple-signing.ts';
import { type AttachOptions, manifestDocument, putBytes, readArtifactBlob } from './attach.ts';

export interface StoredSignature extends SimpleSignature {
  readonly layer: Descriptor;
}

export interface SignatureTag {
  readonly layers: readonly Descriptor[];
  /** Why the tag's image is not one of signatures. */
  readonly garbage?: IngotError;
}

/** Nobody needs more; a list that is longer is there to keep readers busy. */
const MAX_SIGNATURES = 128;
const TRIES = 8;

/** Empty when there is none. What is no image of signatures is told and holds none. */
export async function readSignatureTag(
  source: ImageSource,
  digest: Digest,
  options: TransferOptions = {},
): Promise<SignatureTag> {
  try {
    const document = await source.manifest(signatureTag(digest), options);
    readDocument(document, source.shown);
    const { success, data } = Manifest.safeParse(JSON.parse(document.bytes.toString()));
    if (!success || data.layers.length > MAX_SIGNATURES) {
      throw new IngotError(
        'IMAGE_INVALID',
        `${source.shown}: ${signatureTag(digest)} is no image of signatures`,
      );
    }
    return { layers: data.layers };
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    if (error.code === 'NOT_FOUND') return { layers: [] };
    if (error.code !== 'IMAGE_INVALID' && error.code !== 'DIGEST_MISMATCH') throw error;
    return { layers: [], garbage: error };
  }
}

/** @throws IngotError IMAGE_INVALID for a layer that is no signature, DIGEST_MISMATCH, NOT_FOUND */
export async function readStoredSignature(
  source: ImageSource,
  layer: Descriptor,
  options: TransferOptions = {},
): Promise<StoredSignature> {
  const { annotations = {} } = layer;
  const signature = annotations[SIGNATURE_ANNOTATION];
  if (layer.mediaType !== SIMPLE_SIGNING_MEDIA_TYPE || signature === undefined) {
    throw new IngotError('IMAGE_INVALID', `${source.shown}: ${layer.digest} is no signature`);
  }
  const payload = await readArtifactBlob(source, layer, MAX_PAYLOAD_BYTES, options);
  return { layer, signature, payload, certified: readCertified(signature, annotations) };
}

export interface AddSignaturesOptions extends AttachOptions {
  readonly source: ImageSource;
  readonly target: ImageTarget;
  readonly signer: AnySigner;
  /** `HOST/PATH:TAG` or `HOST/PATH`: a signature for each. */
  readonly identities: readonly string[];
}

/** @returns how many were added: what is there already by the same key is not signed again, by an identity it is */
export async function addSignatures(digest: Digest, options: AddSignaturesOptions): Promise<number> {
  const { source, target, signer, identities, signal } = options;
  const { layers } = await readSignatureTag(source, digest, { signal });
  const missing = await identitiesWithout(digest, layers, options);
  if (missing.length === 0) return 0;
  const added: Descriptor[] = [];
  for (const identity of missing) {
    const signed = await signSimply(digest, identity, signer, signal);
    if (signed === undefined) return 0; // nor are others, by the same signer
    const { payload, signature, certified } = signed;
    const layer = await putBytes(target, SIMPLE_SIGNING_MEDIA_TYPE, payload, options);
    const more = certified === undefined ? {} : certifiedAnnotations(certified);
    added.push({ ...layer, annotations: { [SIGNATURE_ANNOTATION]: signature, ...more } });
  }
  const isIn = (list: readonly Descriptor[]): boolean =>
    added.every((one) => list.some((other) => isSame(one, other)));
  const mayLose = source instanceof RegistrySource; // a layout is written in one go, at the end
  for (let attempt = 1, current = layers; attempt <= TRIES; attempt += 1) {
    await putSignatureTag(
      digest,
      [...current.filter((one) => !added.some((mine) => isSame(mine, one) || isOlder(one, mine))), ...added],
      options,
    );
    if (!mayLose) return missing.length;
    const settle = 50 + Math.random() * 100 * attempt;
    await sleep(settle, undefined, signal === undefined ? {} : { signal });
    current = (await readSignatureTag(source, digest, { signal })).layers;
    if (isIn(current)) return missing.length;
  }
  throw new IngotError('REGISTRY_FAILED', `${target.shown} keeps losing the signatures of ${digest}`, {
    hint: `others sign it at the same time (${identities.join(', ')}): try again`,
  });
}

async function identitiesWithout(
  digest: Digest,
  layers: readonly Descriptor[],
  { source, signer, identities, signal }: AddSignaturesOptions,
): Promise<readonly string[]> {
  const there = new Set<string>();
  if (isKeyless(signer)) return identities; // each has a time of its own, which verifiers may ask for
  for (const layer of layers) {
    const stored = await readStoredSignature(source, layer, { signal }).catch((error: unknown) => {
      if (error instanceof IngotError && error.code !== 'INTERRUPTED') return undefined;
      throw error;
    });
    if (stored === undefined) continue;
    const checked = verifySimply(stored, digest, undefined, { keys: [signer.publicKey] });
    if ('value' in checked) there.add(checked.value.identity);
  }
  return identities.filter((identity) => !there.has(identity));
}

async function putSignatureTag(
  digest: Digest,
  layers: readonly Descriptor[],
  options: AddSignaturesOptions,
): Promise<void> {
  const { target } = options;
  // As cosign writes it: an image of which nothing is known but its layers.
  const config = {
    architecture: '',
    config: {},
    created: '0001-01-01T00:00:00Z',
    history: layers.map(() => ({ created: '0001-01-01T00:00:00Z' })),
    os: '',
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
  };
  const document = manifestDocument({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: await putBytes(target, MEDIA_TYPES.config, Buffer.from(canonicalJson(config)), options),
    layers: [...layers],
  });
  await target.putManifest(document, [signatureTag(digest)], options);
}

function isSame(one: Descriptor, other: Descriptor): boolean {
  return (
    one.digest === other.digest &&
    one.annotations?.[SIGNATURE_ANNOTATION] === other.annotations?.[SIGNATURE_ANNOTATION]
  );
}

/** The same, signed before by the same identity: the list would grow with every signature. */
function isOlder(one: Descriptor, mine: Descriptor): boolean {
  const names = [one, mine].map(({ annotations }) => subjectOf(annotations?.[CERTIFICATE_ANNOTATION]));
  return one.digest === mine.digest && names[0] !== undefined && names[0] === names[1];
}

/** Whom a certificate names, and who gave it. */
function subjectOf(pem: string | undefined): string | undefined {
  try {
    if (pem === undefined) return undefined;
    const { subjectAltName, issuer } = new X509Certificate(pem);
    return `${issuer} ${subjectAltName ?? ''}`;
  } catch {
    return undefined;
  }
}
