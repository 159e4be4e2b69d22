/**
 * The older form of a signature, "simple signing" (containers/image, docs/containers-signature.5.md): a JSON payload
 * that names digest and repository, signed as it is. skopeo, podman and bootc verify this one alone. cosign keeps it
 * as layers of the image `sha256-<hex>.sig`, each with its signature in an annotation, and those of identities with the
 * certificate and the log's entry in others.
 */
import { createHash } from 'node:crypto';
import * as z from 'zod';

import { canonicalJson, type Digest, DigestText, hexOf } from '../digest.ts';
import type { TrustedSigners, VerifiedSigner } from './bundle.ts';
import { bundleOf, type CertifiedSignature } from './certified-signature.ts';
import { isSignedBy } from './public-key.ts';
import { type Checked, refuse } from './refusal.ts';
import { isSameRepository } from './repository-name.ts';
import { type AnySigner, isKeyless } from './signer.ts';

export const SIMPLE_SIGNING_MEDIA_TYPE = 'application/vnd.dev.cosign.simplesigning.v1+json';
export const SIGNATURE_ANNOTATION = 'dev.cosignproject.cosign/signature';
/** A payload has some 250 bytes. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;
const PAYLOAD_TYPE = 'cosign container image signature';

const Payload = z.object({
  critical: z.strictObject({
    identity: z.strictObject({ 'docker-reference': z.string() }),
    image: z.strictObject({ 'docker-manifest-digest': DigestText }),
    type: z.literal(PAYLOAD_TYPE),
  }),
  optional: z.record(z.string(), z.unknown()).nullish(),
});

export interface SimpleSignature {
  readonly payload: Buffer;
  /** As the annotation has it: base64. */
  readonly signature: string;
  /** Of one by an identity. */
  readonly certified?: CertifiedSignature | undefined;
}

export type VerifiedPayload = VerifiedSigner & {
  /** `HOST/PATH` or `HOST/PATH:TAG`, as it was signed. */
  readonly identity: string;
};

/** The tag that the signatures of an image are under. */
export function signatureTag(digest: Digest): string {
  return `sha256-${hexOf(digest)}.sig`;
}

/**
 * @param identity `HOST/PATH:TAG`: hosts that were told nothing else want the very name that they pull; one without a
 *   tag is for any
 * @returns undefined for an identity that this form cannot hold, as no log vouches for the time
 */
export async function signSimply(
  digest: Digest,
  identity: string,
  signer: AnySigner,
  signal?: AbortSignal,
): Promise<SimpleSignature | undefined> {
  const payload = Buffer.from(
    canonicalJson({
      critical: {
        identity: { 'docker-reference': identity },
        image: { 'docker-manifest-digest': digest },
        type: PAYLOAD_TYPE,
      },
      optional: {},
    }),
  );
  if (!isKeyless(signer))
    return { payload, signature: (await signer.sign(payload, signal)).toString('base64') };
  const certified = await signer.signPayload?.(payload);
  return certified && { payload, signature: certified.signature, certified };
}

/** @param repository that the payload must name, with any tag; undefined: any */
export function verifySimply(
  stored: SimpleSignature,
  digest: Digest,
  repository: string | undefined,
  signers: TrustedSigners,
): Checked<VerifiedPayload> {
  const by = signerOfPayload(stored, signers);
  if ('refusal' in by) return by;
  const { payload } = stored;
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch {
    return refuse('malformed', 'what is signed is no JSON');
  }
  const parsed = Payload.safeParse(value);
  if (!parsed.success) return refuse('malformed', 'what is signed is no claim about an image');
  const { identity, image } = parsed.data.critical;
  const named = image['docker-manifest-digest'];
  if (named !== digest) return refuse('digest', `it is about ${named}`);
  const reference = identity['docker-reference'];
  if (repository !== undefined && !isSameRepository(repositoryOf(reference), repository)) {
    return refuse('repository', `it is about the image in ${JSON.stringify(reference)}`);
  }
  return { value: { ...by.value, identity: reference } };
}

function signerOfPayload(
  { payload, signature, certified }: SimpleSignature,
  { keys, keyless }: TrustedSigners,
): Checked<VerifiedSigner> {
  const bytes = Buffer.from(signature, 'base64');
  const key = keys.find((one) => isSignedBy(one, payload, bytes));
  if (key !== undefined) return { value: { key } };
  if (certified === undefined) return refuse('key', 'it is signed by no key that is trusted');
  if (keyless === undefined)
    return refuse('keyless', 'it is signed with a certificate, and keys are trusted');
  const bundle = bundleOf(certified, createHash('sha256').update(payload).digest());
  if (bundle === undefined) return refuse('malformed', 'its certificate or log entry is none');
  const checked = keyless(bundle, payload);
  return 'refusal' in checked ? checked : { value: { certificate: checked.value } };
}

/** Without tag and digest. A colon before the last slash is that of a port. */
export function repositoryOf(identity: string): string {
  const [name = ''] = identity.split('@', 1);
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  return colon === -1 ? name : name.slice(0, colon);
}
