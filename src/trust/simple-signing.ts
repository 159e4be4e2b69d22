/**
 * The older form of a signature, "simple signing" (containers/image, docs/containers-signature.5.md): a JSON payload
 * that names digest and repository, signed as it is. skopeo, podman and bootc verify this one alone. cosign keeps it
 * as layers of the image `sha256-<hex>.sig`, each with its signature in an annotation.
 */
import { z } from 'zod';

import { canonicalJson, type Digest, DigestText, hexOf } from '../digest.ts';
import { isSignedBy, type PublicKey } from './public-key.ts';
import { type Checked, refuse } from './refusal.ts';
import type { Signer } from './signer.ts';

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
}

export interface VerifiedPayload {
  /** `HOST/PATH` or `HOST/PATH:TAG`, as it was signed. */
  readonly identity: string;
  readonly key: PublicKey;
}

/** The tag that the signatures of an image are under. */
export function signatureTag(digest: Digest): string {
  return `sha256-${hexOf(digest)}.sig`;
}

/**
 * @param identity `HOST/PATH:TAG`: hosts that were told nothing else want the very name that they pull; one without a
 *   tag is for any
 */
export async function signSimply(
  digest: Digest,
  identity: string,
  signer: Signer,
  signal?: AbortSignal,
): Promise<SimpleSignature> {
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
  return { payload, signature: (await signer.sign(payload, signal)).toString('base64') };
}

/** @param repository that the payload must name, with any tag; undefined: any */
export function verifySimply(
  { payload, signature }: SimpleSignature,
  digest: Digest,
  repository: string | undefined,
  keys: readonly PublicKey[],
): Checked<VerifiedPayload> {
  const bytes = Buffer.from(signature, 'base64');
  const key = keys.find((one) => isSignedBy(one, payload, bytes));
  if (key === undefined) return refuse('key', 'it is signed by no key that is trusted');
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
  if (repository !== undefined && repositoryOf(reference) !== repository) {
    return refuse('repository', `it is about the image in ${JSON.stringify(reference)}`);
  }
  return { value: { identity: reference, key } };
}

/** Without tag and digest. A colon before the last slash is that of a port. */
export function repositoryOf(identity: string): string {
  const [name = ''] = identity.split('@', 1);
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  return colon === -1 ? name : name.slice(0, colon);
}
