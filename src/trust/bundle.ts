/**
 * Sigstore bundles v0.3 as cosign 3 attaches them to images: a DSSE envelope with an in-toto statement, and a hint of
 * the key (protobuf-specs, sigstore_bundle.proto).
 */
import * as z from 'zod';

import { canonicalJson } from '../digest.ts';
import { Envelope, openEnvelope, signEnvelope, soundPayload } from './dsse.ts';
import type { CertificateIdentity } from './identity.ts';
import { hintOf, type PublicKey } from './public-key.ts';
import { type Checked, refuse } from './refusal.ts';
import { type AnySigner, isKeyless } from './signer.ts';
import {
  readStatement,
  renderStatement,
  type Statement,
  STATEMENT_MEDIA_TYPE,
  type StatementSubject,
} from './statement.ts';

export const BUNDLE_MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
/** Attestations hold lists of packages. */
export const MAX_BUNDLE_BYTES = 16 * 1024 * 1024;

/** What cosign looks for before it reads a bundle. */
const CONTENT = 'dev.sigstore.bundle.content';
const PREDICATE_TYPE = 'dev.sigstore.bundle.predicateType';

const Bundle = z.object({
  mediaType: z.literal(BUNDLE_MEDIA_TYPE),
  verificationMaterial: z.object({
    publicKey: z.object({ hint: z.string().optional() }).optional(),
    certificate: z.object({ rawBytes: z.base64() }).optional(),
    x509CertificateChain: z.unknown().optional(),
  }),
  dsseEnvelope: Envelope,
});
type Bundle = z.infer<typeof Bundle>;

export interface RenderedBundle {
  readonly bytes: Buffer;
  /** Of the manifest that it is attached with. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Who signed: by a key, or by an identity. */
export type VerifiedSigner =
  | { readonly key: PublicKey; readonly certificate?: undefined }
  | { readonly key?: undefined; readonly certificate: CertificateIdentity };

export type VerifiedStatement = VerifiedSigner & { readonly statement: Statement };

/** Who counts: one of the keys, or one of the identities. */
export interface TrustedSigners {
  readonly keys: readonly PublicKey[];
  /** Checks a bundle with a certificate; `payload` where it is not part of it. Undefined: no identity is trusted. */
  readonly keyless?: ((bundle: unknown, payload?: Buffer) => Checked<CertificateIdentity>) | undefined;
}

export async function signBundle(
  subject: StatementSubject,
  predicateType: string,
  predicate: object,
  signer: AnySigner,
  signal?: AbortSignal,
): Promise<RenderedBundle> {
  const payload = renderStatement(subject, predicateType, predicate);
  const bundle = isKeyless(signer)
    ? await signer.signStatement(payload, STATEMENT_MEDIA_TYPE)
    : {
        mediaType: BUNDLE_MEDIA_TYPE,
        verificationMaterial: { publicKey: { hint: hintOf(signer.publicKey) } },
        dsseEnvelope: await signEnvelope(payload, STATEMENT_MEDIA_TYPE, signer, signal),
      };
  return {
    bytes: Buffer.from(canonicalJson(bundle)),
    annotations: { [CONTENT]: 'dsse-envelope', [PREDICATE_TYPE]: predicateType },
  };
}

/**
 * What a manifest says about the bundle's statement. Not signed: good to pass over what is of no interest, and for
 * nothing else.
 */
export function claimedPredicate(annotations: Readonly<Record<string, string>> = {}): string | undefined {
  return annotations[PREDICATE_TYPE];
}

/** The statement, when one who is trusted signed it and it says `predicateType` of the subject. */
export function verifyBundle(
  bytes: Buffer,
  subject: StatementSubject,
  predicateType: string,
  signers: TrustedSigners,
): Checked<VerifiedStatement> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    return refuse('malformed', 'it is no JSON');
  }
  const parsed = Bundle.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return refuse('malformed', `it is no bundle: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const opened = openBundle(parsed.data, value, signers);
  if ('refusal' in opened) return opened;
  const { payload, ...signer } = opened.value;
  const statement = readStatement(payload, subject, predicateType);
  return 'refusal' in statement ? statement : { value: { ...signer, statement: statement.value } };
}

function openBundle(
  { verificationMaterial, dsseEnvelope }: Bundle,
  value: unknown,
  { keys, keyless }: TrustedSigners,
): Checked<VerifiedSigner & { readonly payload: Buffer }> {
  if (verificationMaterial.publicKey !== undefined) {
    return openEnvelope(dsseEnvelope, STATEMENT_MEDIA_TYPE, keys);
  }
  if (keyless === undefined)
    return refuse('keyless', 'it is signed with a certificate, and keys are trusted');
  const payload = soundPayload(dsseEnvelope, STATEMENT_MEDIA_TYPE);
  if ('refusal' in payload) return payload;
  const checked = keyless(value);
  if ('refusal' in checked) return checked;
  return { value: { certificate: checked.value, payload: payload.value.payload } };
}
