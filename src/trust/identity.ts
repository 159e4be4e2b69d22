/** Identities that sign instead of keys, as certificates of Sigstore name them. */
import type { TrustedIdentity } from '../spec/update-schema.ts';

/** Who signed, as the certificate says. */
export interface CertificateIdentity {
  /** Of the token: such as `https://token.actions.githubusercontent.com`. */
  readonly issuer: string;
  /** An email address, or a URI such as that of a workflow. */
  readonly subject: string;
}

export function isIdentity(trusted: TrustedIdentity, { issuer, subject }: CertificateIdentity): boolean {
  if (trusted.issuer !== issuer) return false;
  return 'subject' in trusted
    ? trusted.subject === subject
    : new RegExp(`^(?:${trusted.subjectRegexp})$`, 'u').test(subject);
}
