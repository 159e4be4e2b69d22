/**
 * A signature of the older form by an identity: certificate, chain and the log's entry stand in annotations beside it
 * (cosign, specs/SIGNATURE_SPEC.md; containers/image reads the same). The log's entry is what its promise is over.
 */
import * as z from 'zod';

import { canonicalJson } from '../digest.ts';

export interface CertifiedSignature {
  /** In base64. */
  readonly signature: string;
  /** In PEM. */
  readonly certificate: string;
  /** Of the authorities above it, the root last, in PEM; empty where the certificate is a root's own. */
  readonly chain: string;
  /** As the annotation has it: JSON. */
  readonly logEntry: string;
}

export const CERTIFICATE_ANNOTATION = 'dev.sigstore.cosign/certificate';
export const CHAIN_ANNOTATION = 'dev.sigstore.cosign/chain';
export const LOG_ANNOTATION = 'dev.sigstore.cosign/bundle';

/** The log's entry in the annotation. */
const LogEntry = z.strictObject({
  SignedEntryTimestamp: z.base64(),
  Payload: z.strictObject({
    body: z.base64(),
    integratedTime: z.int().nonnegative(),
    logIndex: z.int().nonnegative(),
    logID: z.string().regex(/^[0-9a-f]{64}$/),
  }),
});

/** What sigstore-js says of the same entry. */
const TlogEntry = z.object({
  logIndex: z.string(),
  logId: z.object({ keyId: z.base64() }),
  integratedTime: z.string(),
  inclusionPromise: z.object({ signedEntryTimestamp: z.base64() }),
  canonicalizedBody: z.base64(),
});
const Witnessed = z.object({
  verificationMaterial: z.object({ tlogEntries: z.array(TlogEntry).min(1) }),
});

/**
 * @param bundle over the same payload, in JSON
 * @returns undefined when no log promised to have it, as those of Rekor's second version do not
 */
export function certifiedSignature(
  bundle: unknown,
  signed: { readonly signature: Buffer; readonly certificate: string; readonly chain: string },
): CertifiedSignature | undefined {
  const [entry] = Witnessed.safeParse(bundle).data?.verificationMaterial.tlogEntries ?? [];
  if (entry === undefined) return undefined;
  const logEntry: z.infer<typeof LogEntry> = {
    SignedEntryTimestamp: entry.inclusionPromise.signedEntryTimestamp,
    Payload: {
      body: entry.canonicalizedBody,
      integratedTime: Number(entry.integratedTime),
      logIndex: Number(entry.logIndex),
      logID: Buffer.from(entry.logId.keyId, 'base64').toString('hex'),
    },
  };
  return { ...signed, signature: signed.signature.toString('base64'), logEntry: canonicalJson(logEntry) };
}

export function certifiedAnnotations({
  certificate,
  chain,
  logEntry,
}: CertifiedSignature): Readonly<Record<string, string>> {
  return {
    [CERTIFICATE_ANNOTATION]: certificate,
    ...(chain !== '' && { [CHAIN_ANNOTATION]: chain }),
    [LOG_ANNOTATION]: logEntry,
  };
}

/** Undefined where the annotations are not those of such a signature. */
export function readCertified(
  signature: string,
  annotations: Readonly<Record<string, string>>,
): CertifiedSignature | undefined {
  const certificate = annotations[CERTIFICATE_ANNOTATION];
  const logEntry = annotations[LOG_ANNOTATION];
  if (certificate === undefined || logEntry === undefined) return undefined;
  return { signature, certificate, chain: annotations[CHAIN_ANNOTATION] ?? '', logEntry };
}

/**
 * The same as a bundle, for those who check bundles. The chain is left out: whom one trusts says the trusted root.
 *
 * @param hash SHA-256 of the payload
 * @returns undefined for what is none
 */
export function bundleOf(
  { signature, certificate, logEntry }: CertifiedSignature,
  hash: Buffer,
): object | undefined {
  let value: unknown;
  try {
    value = JSON.parse(logEntry);
  } catch {
    return undefined;
  }
  const entry = LogEntry.safeParse(value).data;
  const [, der] = /^-----BEGIN CERTIFICATE-----([\sA-Za-z0-9+/=]+)-----END CERTIFICATE-----\s*$/.exec(
    certificate,
  ) ?? [''];
  if (entry === undefined || der === undefined) return undefined;
  const { body, integratedTime, logIndex, logID } = entry.Payload;
  return {
    mediaType: 'application/vnd.dev.sigstore.bundle+json;version=0.1',
    verificationMaterial: {
      x509CertificateChain: { certificates: [{ rawBytes: der.replaceAll(/\s/g, '') }] },
      tlogEntries: [
        {
          logIndex: String(logIndex),
          logId: { keyId: Buffer.from(logID, 'hex').toString('base64') },
          kindVersion: { kind: 'hashedrekord', version: '0.0.1' },
          integratedTime: String(integratedTime),
          inclusionPromise: { signedEntryTimestamp: entry.SignedEntryTimestamp },
          canonicalizedBody: body,
        },
      ],
    },
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: hash.toString('base64') },
      signature,
    },
  };
}
