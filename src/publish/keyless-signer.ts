/**
 * Signs as whoever a token says one is: Fulcio gives a certificate for minutes, Rekor's log an entry, a timestamp
 * authority the time. The token is a secret and the library's errors quote it, so none of their words is passed on but
 * what a server answered.
 */
import { bundleToJSON } from '@sigstore/bundle';
import {
  DSSEBundleBuilder,
  MessageSignatureBundleBuilder,
  RekorWitness,
  TSAWitness,
  type Witness,
} from '@sigstore/sign';

import { IngotError } from '../errors.ts';
import { certifiedSignature } from '../trust/certified-signature.ts';
import type { KeylessSigner } from '../trust/signer.ts';
import { FulcioError, FulcioSigner } from './fulcio.ts';

export interface KeylessOptions {
  /** The token, a JWT of an OpenID provider that Fulcio knows. */
  readonly token: string;
  readonly fulcioUrl: string;
  /** Undefined: no log is told, and a timestamp says when. */
  readonly rekorUrl: string | undefined;
  readonly tsaUrl: string | undefined;
  /** As in `https_proxy` and `no_proxy`. */
  readonly proxies?: Readonly<Record<string, string>> | undefined;
}

const TIMEOUT_MS = 30_000;
const RETRIES = 2;

/** @throws IngotError USAGE for what is no token */
export function keylessSigner(options: KeylessOptions): KeylessSigner {
  const { token, fulcioUrl, rekorUrl, tsaUrl, proxies } = options;
  const claims = claimsOf(token);
  const fetching = { timeout: TIMEOUT_MS, retry: RETRIES };
  const witnesses: Witness[] = [];
  if (rekorUrl !== undefined) witnesses.push(new RekorWitness({ rekorBaseURL: rekorUrl, ...fetching }));
  if (tsaUrl !== undefined) witnesses.push(new TSAWitness({ tsaBaseURL: tsaUrl, ...fetching }));
  const signer = new FulcioSigner({ url: fulcioUrl, token, proven: claims.proven, proxies });
  const statements = new DSSEBundleBuilder({ signer, witnesses });
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw signingFailed(error, { fulcioUrl, rekorUrl, tsaUrl });
    }
  };
  return {
    issuer: claims.issuer,
    subjects: claims.subjects,
    signStatement: (payload, type) =>
      attempt(async () => bundleToJSON(await statements.create({ data: payload, type }))),
    // The older form knows no other witness than a log.
    ...(rekorUrl !== undefined && {
      signPayload: (payload) =>
        attempt(async () => {
          // The chain is not part of what sigstore-js makes.
          const { signature, certificate, chain } = await signer.signCertified(payload);
          const once = {
            sign: () =>
              Promise.resolve({ signature, key: { $case: 'x509Certificate' as const, certificate } }),
          };
          const builder = new MessageSignatureBundleBuilder({ signer: once, witnesses });
          const bundle = bundleToJSON(await builder.create({ data: payload }));
          return certifiedSignature(bundle, { signature, certificate, chain });
        }),
    }),
  };
}

/** Who the token is for, in the ways in which Fulcio may write it into the certificate. */
function claimsOf(token: string): {
  readonly issuer: string;
  readonly subjects: readonly string[];
  /** Which of them Fulcio wants signed. */
  readonly proven: string;
} {
  let claims: Readonly<Record<string, unknown>>;
  try {
    claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as typeof claims;
  } catch {
    claims = {};
  }
  const text = (name: string): string | undefined =>
    typeof claims[name] === 'string' ? claims[name] : undefined;
  const issuer = text('iss');
  const proven = text('email') ?? text('sub');
  if (issuer === undefined || proven === undefined || token.split('.').length !== 3) {
    throw new IngotError('USAGE', 'the identity token is no token of an OpenID provider', {
      hint: 'three parts with dots between them, as the provider gave it',
    });
  }
  const workflow = text('job_workflow_ref');
  const subjects = [text('email'), workflow && `https://github.com/${workflow}`, text('sub')];
  return { issuer, proven, subjects: subjects.filter((one) => one !== undefined) };
}

function signingFailed(
  error: unknown,
  { fulcioUrl, rekorUrl = '', tsaUrl = '' }: Omit<KeylessOptions, 'token'>,
): IngotError {
  const { code } = error as { readonly code?: unknown };
  const [where, url] =
    error instanceof FulcioError
      ? ['the certificate authority', fulcioUrl]
      : String(code).startsWith('TLOG_')
        ? ['the transparency log', rekorUrl]
        : String(code).startsWith('TSA_')
          ? ['the timestamp authority', tsaUrl]
          : ['Sigstore', fulcioUrl];
  const cause = error instanceof FulcioError ? error : (error as { readonly cause?: unknown }).cause;
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
