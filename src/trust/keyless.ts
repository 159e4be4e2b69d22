/**
 * Signatures by an identity instead of a key: a certificate of Fulcio's for minutes, that names who signed and who
 * vouched for that, and an entry in a transparency log or a timestamp that says when. All of it is checked offline,
 * against a trusted root as cosign and Sigstore's TUF repository have it.
 */
import { type Bundle, bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

import { IngotError } from '../errors.ts';
import type { TrustedIdentity } from '../spec/update-schema.ts';
import { type CertificateIdentity, isIdentity } from './identity.ts';
import { type Checked, refuse } from './refusal.ts';

/** What certificates, log entries and timestamps are checked against. */
export interface KeylessTrust {
  readonly identities: readonly TrustedIdentity[];
  readonly root: TrustedRoot;
}

/** An expression is not tried on more. */
const MAX_SUBJECT = 2048;

/**
 * @param shown names it in messages
 * @throws IngotError USAGE
 */
export function parseTrustedRoot(text: string, shown: string): TrustedRoot {
  let root: TrustedRoot;
  try {
    const value: unknown = JSON.parse(text);
    const { mediaType } = value as { readonly mediaType?: unknown };
    if (typeof mediaType !== 'string' || !mediaType.includes('trustedroot')) throw new TypeError();
    root = TrustedRoot.fromJSON(value);
    toTrustMaterial(root); // parses every key and certificate
  } catch (error) {
    throw new IngotError('USAGE', `${shown} is no trusted root of Sigstore`, {
      hint: 'a JSON file such as `cosign trusted-root create` writes',
      cause: error,
    });
  }
  if (root.certificateAuthorities.length === 0) {
    throw new IngotError('USAGE', `the trusted root ${shown} has no certificate authority`);
  }
  return root;
}

/** Whether an authority of the root can still issue at this time. */
export function isRootAlive(root: TrustedRoot, now: Date): boolean {
  const { certificateAuthorities } = toTrustMaterial(root);
  return certificateAuthorities.some(
    ({ validFor, certChain }) =>
      validFor.end > now && certChain.every(({ notAfter }) => notAfter.getTime() > now.getTime()),
  );
}

/**
 * Certificate, its entry in the certificate log, the signature's in the transparency log, and timestamps, all of which
 * must hold; and the identity, which must be one of those that are trusted.
 *
 * @param value the bundle, parsed from JSON
 * @param payload what it is over, where that is not part of it
 */
export function verifyKeyless(
  value: unknown,
  trust: KeylessTrust,
  payload?: Buffer,
): Checked<CertificateIdentity> {
  let bundle: Bundle;
  try {
    bundle = bundleFromJSON(value);
  } catch {
    return refuse('malformed', 'it is no bundle with a certificate');
  }
  return verifyEntity(toEntity(bundle, payload), trust);
}

type Entity = ReturnType<typeof toSignedEntity>;

function toEntity(bundle: Bundle, payload: Buffer | undefined): Entity | undefined {
  try {
    return toSignedEntity(bundle, payload);
  } catch {
    return undefined;
  }
}

function verifyEntity(
  entity: Entity | undefined,
  { identities, root }: KeylessTrust,
): Checked<CertificateIdentity> {
  if (entity === undefined) return refuse('malformed', 'its certificate or timestamp is none');
  let found;
  try {
    found = new Verifier(toTrustMaterial(root)).verify(entity).identity;
  } catch (error) {
    const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
    if (typeof code !== 'string') return refuse('certificate', 'its certificate or log entry is damaged');
    return refuse('certificate', `${WORDS[code] ?? 'it does not verify'}: ${String(message)}`);
  }
  const issuer = found?.extensions?.issuer;
  const subject = found?.subjectAlternativeName;
  if (issuer === undefined || subject === undefined || subject.length > MAX_SUBJECT) {
    return refuse('certificate', 'its certificate does not say who signed');
  }
  const signer = { issuer, subject };
  return identities.some((one) => isIdentity(one, signer))
    ? { value: signer }
    : refuse(
        'identity',
        `it is signed by ${JSON.stringify(subject)} of ${JSON.stringify(issuer)}, who is not trusted`,
      );
}

const WORDS: Readonly<Record<string, string>> = {
  CERTIFICATE_ERROR: 'its certificate does not count',
  SIGNATURE_ERROR: 'its signature is wrong',
  TIMESTAMP_ERROR: 'nothing says when it was signed',
  TLOG_BODY_ERROR: 'its entry in the log is of something else',
  TLOG_INCLUSION_PROOF_ERROR: 'it is not in the log',
  TLOG_INCLUSION_PROMISE_ERROR: 'the log did not promise to include it',
  TLOG_MISSING_INCLUSION_ERROR: 'it is not in the log',
  TLOG_ERROR: 'it is not in the log',
};
