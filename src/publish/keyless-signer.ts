/**
 * Signs as whoever a token says one is: Fulcio gives a certificate for minutes, Rekor's log an entry, a timestamp
 * authority the time. The token is a secret and the library's errors quote it, so none of their words is passed on but
 * what a server answered.
 */
import { bundleToJSON } from '@sigstore/bundle';
import { DSSEBundleBuilder, FulcioSigner, RekorWitness, TSAWitness, type Witness } from '@sigstore/sign';

import { IngotError } from '../errors.ts';
import type { KeylessSigner } from '../trust/signer.ts';

export interface KeylessOptions {
  /** The token, a JWT of an OpenID provider that Fulcio knows. */
  readonly token: string;
  readonly fulcioUrl: string;
  /** Undefined: no log is told, and a timestamp says when. */
  readonly rekorUrl: string | undefined;
  readonly tsaUrl: string | undefined;
}

const TIMEOUT_MS = 30_000;
const RETRIES = 2;

/** @throws IngotError USAGE for what is no token */
export function keylessSigner({ token, fulcioUrl, rekorUrl, tsaUrl }: KeylessOptions): KeylessSigner {
  const claims = claimsOf(token);
  const fetching = { timeout: TIMEOUT_MS, retry: RETRIES };
  const witnesses: Witness[] = [];
  if (rekorUrl !== undefined) witnesses.push(new RekorWitness({ rekorBaseURL: rekorUrl, ...fetching }));
  if (tsaUrl !== undefined) witnesses.push(new TSAWitness({ tsaBaseURL: tsaUrl, ...fetching }));
  const signer = new FulcioSigner({
    fulcioBaseURL: fulcioUrl,
    identityProvider: { getToken: () => Promise.resolve(token) },
    ...fetching,
  });
  const builder = new DSSEBundleBuilder({ signer, witnesses });
  return {
    issuer: claims.issuer,
    subjects: claims.subjects,
    signStatement: async (payload, type) => {
      try {
        return bundleToJSON(await builder.create({ data: payload, type }));
      } catch (error) {
        throw signingFailed(error, { fulcioUrl, rekorUrl, tsaUrl });
      }
    },
  };
}

/** Who the token is for, in the ways in which Fulcio may write it into the certificate. */
function claimsOf(token: string): { readonly issuer: string; readonly subjects: readonly string[] } {
  let claims: Readonly<Record<string, unknown>>;
  try {
    claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as typeof claims;
  } catch {
    claims = {};
  }
  const text = (name: string): string | undefined =>
    typeof claims[name] === 'string' ? claims[name] : undefined;
  const issuer = text('iss');
  if (issuer === undefined || token.split('.').length !== 3) {
    throw new IngotError('USAGE', 'the identity token is no token of an OpenID provider', {
      hint: 'three parts with dots between them, as the provider gave it',
    });
  }
  const workflow = text('job_workflow_ref');
  const subjects = [text('email'), workflow && `https://github.com/${workflow}`, text('sub')];
  return { issuer, subjects: subjects.filter((one) => one !== undefined) };
}

function signingFailed(
  error: unknown,
  { fulcioUrl, rekorUrl = '', tsaUrl = '' }: Omit<KeylessOptions, 'token'>,
): IngotError {
  const { code } = error as { readonly code?: unknown };
  const [where, url] = String(code).startsWith('CA_')
    ? ['the certificate authority', fulcioUrl]
    : String(code).startsWith('TLOG_')
      ? ['the transparency log', rekorUrl]
      : String(code).startsWith('TSA_')
        ? ['the timestamp authority', tsaUrl]
        : ['Sigstore', fulcioUrl];
  const { cause } = error as { readonly cause?: unknown };
  const { statusCode, message } = (cause ?? {}) as {
    readonly statusCode?: number;
    readonly message?: unknown;
  };
  const why =
    statusCode === undefined ? 'it does not answer' : `it answered ${statusCode}: ${String(message)}`;
  return new IngotError('SIGNING_FAILED', `${where} at ${url} gave no signature: ${why}`, {
    hint: 'tokens last for minutes: try with a new one',
  });
}
