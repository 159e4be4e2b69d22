/**
 * Who we are, to one registry: Basic, or tokens by the distribution project's token protocol. Learned from the
 * registry's challenges, so a registry that asks nothing is told nothing. Tokens are kept by scope until shortly
 * before they expire, and fetched once however many requests wait.
 */
import * as z from 'zod';

import { type ErrorCode, IngotError } from '../../errors.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { type HttpClient, type HttpRequest, type HttpResponse, readBody } from './http.ts';

const TokenAnswer = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().optional(),
});

interface Token {
  readonly value: string;
  /** Milliseconds since 1970. */
  readonly staleAt: number;
}

export interface AuthorizerOptions {
  readonly http: HttpClient;
  readonly registry: string;
  /** True allows a token server without TLS. */
  readonly insecure: boolean;
  readonly credentials: (signal?: AbortSignal) => Promise<Credentials | undefined>;
  readonly now?: () => number;
}

/** A token server's answer that is no token. */
export class TokenServerError extends IngotError {
  readonly status: number;
  readonly retryAfter: string | undefined;

  constructor({ status, headers }: HttpResponse, code: ErrorCode, message: string, hint: string | undefined) {
    super(code, message, hint === undefined ? {} : { hint });
    this.status = status;
    this.retryAfter = headers['retry-after'];
  }
}

const MAX_ANSWER = 1024 * 1024;
/** The token protocol's own default. */
const DEFAULT_LIFE_S = 60;

export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #now: () => number;
  #challenge: Challenge | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();

  constructor(options: AuthorizerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** The `Authorization` header for these scopes, if the registry has asked for one. */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    if (challenge.scheme === 'bearer')
      return `Bearer ${(await this.#token(challenge, scopes, signal)).value}`;
    const found = await this.#options.credentials(signal);
    if (found === undefined || found.isIdentityToken) return undefined;
    return basic(found);
  }

  /**
   * Takes a 401 to a request that had the header `sent`. True when another try has a chance.
   *
   * @throws IngotError REGISTRY_DENIED when the registry wants what we cannot do
   */
  refused(header: string | undefined, scopes: readonly string[], sent: string | undefined): boolean {
    const challenges = parseChallenges(header ?? '');
    const wanted =
      challenges.find(({ scheme }) => scheme === 'bearer') ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (wanted === undefined) return false;
    const isNews = this.#challenge === undefined;
    this.#challenge = wanted;
    if (wanted.scheme === 'bearer') this.#tokens.delete(scopes.join(' '));
    return isNews || sent === undefined || wanted.scheme === 'bearer';
  }

  async #token(challenge: Challenge, scopes: readonly string[], signal?: AbortSignal): Promise<Token> {
    const key = scopes.join(' ');
    const known = this.#tokens.get(key);
    if (known !== undefined) {
      const token = await known.catch(() => undefined);
      if (token !== undefined && this.#now() < token.staleAt) return token;
      if (this.#tokens.get(key) !== known) return this.#token(challenge, scopes, signal);
    }
    const fetching = this.#fetchToken(challenge, scopes, signal);
    this.#tokens.set(key, fetching);
    return fetching;
  }

  async #fetchToken(challenge: Challenge, scopes: readonly string[], signal?: AbortSignal): Promise<Token> {
    const { http, registry } = this.#options;
    const request = await this.#tokenRequest(challenge, scopes, signal);
    const asked = this.#now();
    const response = await http.send({ ...request, signal });
    const body = await readBody(response, MAX_ANSWER);
    if (response.status !== 200) {
      const denied = response.status === 401 || response.status === 403;
      throw new TokenServerError(
        response,
        denied ? 'REGISTRY_DENIED' : 'REGISTRY_UNREACHABLE',
        `${registry}: its token server ${request.url.host} answers ${response.status}`,
        denied ? `give other credentials: skopeo login ${registry}` : undefined,
      );
    }
    const answer = parseAnswer(body.toString());
    const value = answer?.token ?? answer?.access_token;
    // A header cannot hold everything that JSON can.
    if (value === undefined || !/^[\x21-\x7E]+$/.test(value)) {
      throw new IngotError('REGISTRY_FAILED', `${registry}: its token server gave no token`);
    }
    const life = Math.max(1, answer?.expires_in ?? DEFAULT_LIFE_S);
    return { value, staleAt: asked + Math.max(life - 10, life / 2) * 1000 };
  }

  async #tokenRequest(
    challenge: Challenge,
    scopes: readonly string[],
    signal?: AbortSignal,
  ): Promise<HttpRequest> {
    const { registry, insecure } = this.#options;
    const realm = challenge.parameters.get('realm') ?? '';
    const url = URL.canParse(realm) ? new URL(realm) : undefined;
    if (url === undefined || (url.protocol !== 'https:' && !(insecure && url.protocol === 'http:'))) {
      throw new IngotError('REGISTRY_DENIED', `${registry} names no token server that can be trusted`, {
        hint: 'credentials are sent by https only, or by http to a registry given with --insecure',
      });
    }
    url.username = '';
    url.password = '';
    const service = challenge.parameters.get('service');
    const found = await this.#options.credentials(signal);
    if (found?.isIdentityToken === true) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: found.secret,
        client_id: 'ingot',
        scope: scopes.join(' '),
        ...(service !== undefined && { service }),
      });
      const bytes = Buffer.from(form.toString());
      return {
        method: 'POST',
        url,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: { length: bytes.length, chunks: () => [bytes] },
      };
    }
    if (service !== undefined) url.searchParams.set('service', service);
    for (const scope of scopes) url.searchParams.append('scope', scope);
    return { method: 'GET', url, headers: found === undefined ? {} : { authorization: basic(found) } };
  }
}

function basic({ username, secret }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
}

function parseAnswer(text: string): z.infer<typeof TokenAnswer> | undefined {
  try {
    return TokenAnswer.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
