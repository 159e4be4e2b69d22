/** Signing by an identity instead of a key: the options, and where the identity's token comes from. */
import type { Command } from 'commander';

import { IngotError } from '../errors.ts';
import { proxiesIn } from '../oci/registry/access.ts';
import type { KeylessSigner } from '../trust/signer.ts';
import type { CommandContext } from './context.ts';
import { readPasswordDescriptor } from './read-descriptor.ts';

export interface KeylessFlags {
  readonly keyless?: boolean;
  readonly identityTokenFd?: string;
  readonly fulcioUrl?: string;
  readonly rekorUrl?: string;
  readonly tsaUrl?: string;
}

/** Sigstore's own, which anybody may use. */
const FULCIO_URL = 'https://fulcio.sigstore.dev';
const REKOR_URL = 'https://rekor.sigstore.dev';
/** Whom a token must be for, so that Fulcio takes it. */
const AUDIENCE = 'sigstore';
const TOKEN_TIMEOUT_MS = 30_000;

export function addKeylessOptions(command: Command): Command {
  return command
    .option('--keyless', 'sign by an identity: its token is SIGSTORE_ID_TOKEN, or that of a GitHub workflow')
    .option('--identity-token-fd <n>', 'read the token of the identity from this open file descriptor')
    .option('--fulcio-url <url>', `authority that gives the certificate (default: ${FULCIO_URL})`)
    .option('--rekor-url <url>', `log that is told of it (default: ${REKOR_URL})`)
    .option('--tsa-url <url>', 'authority that says the time besides');
}

/**
 * @returns undefined unless it is asked for
 * @throws IngotError USAGE, SIGNING_FAILED
 */
export async function openKeylessSigner(
  { env, signal }: Pick<CommandContext, 'env' | 'signal'>,
  flags: KeylessFlags,
): Promise<KeylessSigner | undefined> {
  const { keyless, identityTokenFd, fulcioUrl = FULCIO_URL, rekorUrl = REKOR_URL, tsaUrl } = flags;
  const written = [identityTokenFd, flags.fulcioUrl, flags.rekorUrl, tsaUrl];
  if (keyless !== true) {
    if (written.every((one) => one === undefined)) return undefined;
    throw new IngotError('USAGE', 'tokens and authorities are for signing by an identity', {
      hint: 'add --keyless',
    });
  }
  const fromDescriptor =
    identityTokenFd === undefined
      ? undefined
      : readPasswordDescriptor(identityTokenFd, '--identity-token-fd');
  for (const url of [fulcioUrl, rekorUrl, tsaUrl]) requireSecure(url);
  const token = (fromDescriptor ?? env['SIGSTORE_ID_TOKEN'] ?? (await workflowToken(env, signal)))?.trim();
  if (token === undefined || token === '') {
    throw new IngotError('USAGE', 'nothing says who signs', {
      hint: 'give a token as SIGSTORE_ID_TOKEN, or through a descriptor: --identity-token-fd 3 3<FILE; a GitHub workflow needs `permissions: {id-token: write}`',
    });
  }
  const { keylessSigner } = await import('../publish/keyless-signer.ts');
  return keylessSigner({ token, fulcioUrl, rekorUrl, tsaUrl, proxies: proxiesIn(env) });
}

/** A token is worth a signature to who reads it on the way. */
function requireSecure(text: string | undefined): void {
  if (text === undefined) return;
  const url = URL.parse(text);
  const isNear = url !== null && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && isNear)) return;
  throw new IngotError('USAGE', `${JSON.stringify(text)} is no address of an authority`, {
    hint: 'it begins with https://',
  });
}

/** Of the job that this runs in (docs.github.com, OpenID Connect reference). */
async function workflowToken(env: CommandContext['env'], signal: AbortSignal): Promise<string | undefined> {
  const url = env['ACTIONS_ID_TOKEN_REQUEST_URL'];
  const bearer = env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'];
  if (url === undefined || bearer === undefined) return undefined;
  requireSecure(url);
  const asked = new URL(url);
  asked.searchParams.set('audience', AUDIENCE);
  let why: string;
  try {
    const answer = await fetch(asked, {
      headers: { authorization: `Bearer ${bearer}`, accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(TOKEN_TIMEOUT_MS)]),
    });
    if (answer.ok) {
      const { value } = (await answer.json()) as { readonly value?: unknown };
      if (typeof value === 'string') return value;
    }
    why = `it answered ${answer.status}`;
  } catch (error) {
    if (signal.aborted) throw error;
    why = 'it does not answer';
  }
  throw new IngotError('SIGNING_FAILED', `GitHub gave no token for this job: ${why}`);
}
