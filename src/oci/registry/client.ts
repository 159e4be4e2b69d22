/**
 * Requests to one repository at one place: addresses, authorization, redirects, retries, and what a refusal means.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';

import { type ErrorCode, IngotError } from '../../errors.ts';
import type { Reporter } from '../../report/events.ts';
import { Authorizer, TokenServerError } from './authorizer.ts';
import type { FindCredentials } from './credentials.ts';
import {
  ConnectionError,
  type ConnectionProblem,
  type HttpClient,
  type HttpResponse,
  readBody,
  type RequestBody,
} from './http.ts';
import type { Endpoint } from './registries-conf.ts';
import { ATTEMPTS, backoffMs, isTransientStatus, MAX_RETRY_AFTER_MS, parseRetryAfter } from './retry.ts';

export interface ClientOptions {
  readonly http: HttpClient;
  readonly credentials: FindCredentials;
  readonly reporter?: Reporter | undefined;
  /** Scales every pause; for tests. */
  readonly pace?: number | undefined;
}

export interface RegistryRequest {
  readonly method: string;
  /** Below the repository, such as `manifests/1.0`; or where the registry said to go on. */
  readonly to: string | URL;
  readonly actions: 'pull' | 'pull,push';
  /** Scopes besides that of the repository. */
  readonly scopes?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody | undefined;
  /** Answers that the caller understands. */
  readonly expect: readonly number[];
  /** Default: 5. A body that cannot be read again gets one. */
  readonly attempts?: number;
  readonly idleMs?: number;
  readonly signal?: AbortSignal | undefined;
}

const RegistryErrors = z.object({
  errors: z.array(z.object({ code: z.string().optional(), message: z.string().optional() })),
});
const MAX_ERROR_BODY = 64 * 1024;
const MAX_REDIRECTS = 5;

/** A registry's answer that says no, before it is told to a person. */
export class RefusedError extends IngotError {
  readonly status: number;
  readonly retryAfter: string | undefined;

  constructor(response: HttpResponse, code: ErrorCode, message: string, hint: string | undefined) {
    super(code, message, hint === undefined ? {} : { hint });
    this.status = response.status;
    this.retryAfter = response.headers['retry-after'];
  }
}

export class RepositoryClient {
  readonly endpoint: Endpoint;
  /** `host/path`, for messages. */
  readonly shown: string;
  readonly #options: ClientOptions;
  readonly #authorizer: Authorizer;
  readonly #base: URL;

  constructor(endpoint: Endpoint, options: ClientOptions) {
    const { registry, repository, insecure } = endpoint;
    this.endpoint = endpoint;
    this.shown = `${registry}/${repository}`;
    this.#options = options;
    const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
    this.#base = new URL(`${insecure ? 'http' : 'https'}://${host}/v2/${repository}/`);
    this.#authorizer = new Authorizer({
      http: options.http,
      registry,
      insecure,
      credentials: (signal) => options.credentials(registry, repository, signal),
    });
  }

  /**
   * Sends until there is an answer that the caller expects.
   *
   * @throws IngotError REGISTRY_UNREACHABLE, REGISTRY_DENIED, NOT_FOUND, REGISTRY_FAILED; INTERRUPTED
   */
  async send(request: RegistryRequest): Promise<HttpResponse> {
    const attempts = request.attempts ?? ATTEMPTS;
    let renewed = 0;
    let withoutToken = 0;
    for (let attempt = 1; ; attempt += 1) {
      let failure: IngotError;
      let pause = 0;
      try {
        const { response, url, authorization, scopes } = await this.#sendOnce(request);
        if (request.expect.includes(response.status)) return response;
        const { status, headers } = response;
        const refusal = await this.#refusal(response, url);
        // Only the registry itself is asked who we are: another host would name a token server of its own choice.
        const hasChance =
          status === 401 &&
          this.#isOwn(url) &&
          this.#authorizer.refused(headers['www-authenticate'], scopes, authorization);
        const canRepeat = request.body === undefined || request.attempts !== 1;
        // Once without credentials, once with a token that has expired.
        if (hasChance && renewed < 2 && canRepeat) {
          renewed += 1;
          attempt -= 1;
          continue;
        }
        pause = parseRetryAfter(headers['retry-after'], Date.now()) ?? 0;
        if (!isTransientStatus(status) || pause > MAX_RETRY_AFTER_MS) throw refusal;
        failure = refusal;
      } catch (error) {
        if (error instanceof TokenServerError) {
          const atLeastMs = parseRetryAfter(error.retryAfter, Date.now()) ?? 0;
          // Nothing of the request was sent yet, not even of a body that is read but once.
          const limit = request.body === undefined ? attempts : ATTEMPTS;
          withoutToken += 1;
          const isFinal = !isTransientStatus(error.status) || atLeastMs > MAX_RETRY_AFTER_MS;
          if (isFinal || withoutToken >= limit) throw error;
          await this.pause(withoutToken + 1, request.signal, atLeastMs, error);
          attempt -= 1;
          continue;
        }
        if (!(error instanceof ConnectionError)) throw error;
        failure = unreachable(this.shown, error);
        if (!error.transient) throw failure;
      }
      if (attempt >= attempts) throw failure;
      await this.pause(attempt + 1, request.signal, pause, failure);
    }
  }

  /** Waits before try number `attempt`. */
  async pause(attempt: number, signal: AbortSignal | undefined, atLeastMs = 0, why?: Error): Promise<void> {
    const ms = backoffMs(attempt, atLeastMs) * (this.#options.pace ?? 1);
    const reason = why === undefined ? '' : `: ${why.message}`;
    this.#options.reporter?.debug(`trying again in ${(ms / 1000).toFixed(1)} s${reason}`);
    try {
      await sleep(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      throw new IngotError('INTERRUPTED', `interrupted while waiting for ${this.shown}`, { cause: error });
    }
  }

  /** Where the registry said to go on, as an address of ours. */
  resolve(location: string | undefined): URL {
    if (location === undefined || !URL.canParse(location, this.#base.href)) {
      throw new IngotError('REGISTRY_FAILED', `${this.shown} does not say where to go on`);
    }
    const url = new URL(location, this.#base);
    // Behind a proxy that speaks TLS for them, registries often do not know it.
    if (
      url.hostname === this.#base.hostname &&
      this.#base.protocol === 'https:' &&
      url.protocol === 'http:'
    ) {
      url.protocol = 'https:';
      url.port = this.#base.port;
    }
    return url;
  }

  async #sendOnce(request: RegistryRequest): Promise<{
    readonly response: HttpResponse;
    /** Who answered. */
    readonly url: URL;
    readonly authorization: string | undefined;
    readonly scopes: readonly string[];
  }> {
    const { method, to, signal, idleMs, body } = request;
    const own = `repository:${this.endpoint.repository}:${request.actions}`;
    const scopes = [own, ...(request.scopes ?? [])];
    let url = typeof to === 'string' ? new URL(to, this.#base) : to;
    const authorization = await this.#authorizer.header(scopes, signal);
    for (let redirects = 0; ; redirects += 1) {
      this.#requireAllowed(url);
      // Credentials are for the registry itself: no other host or port gets them, wherever it sends us.
      const isOwn = this.#isOwn(url);
      const response = await this.#options.http.send({
        method,
        url,
        signal,
        idleMs,
        body,
        headers: { ...request.headers, ...(isOwn && authorization !== undefined && { authorization }) },
      });
      const location = response.headers.location;
      const isRedirect = [301, 302, 303, 307, 308].includes(response.status) && location !== undefined;
      const isSafe = method === 'GET' || method === 'HEAD';
      if (!isRedirect || !isSafe || request.expect.includes(response.status)) {
        return { response, url, authorization, scopes };
      }
      response.body.destroy();
      if (redirects >= MAX_REDIRECTS) {
        throw new IngotError('REGISTRY_FAILED', `${this.shown} redirects more than ${MAX_REDIRECTS} times`);
      }
      if (!URL.canParse(location, url.href)) {
        throw new IngotError('REGISTRY_FAILED', `${this.shown} redirects to no address`);
      }
      url = new URL(location, url);
    }
  }

  #isOwn(url: URL): boolean {
    return url.origin === this.#base.origin;
  }

  #requireAllowed(url: URL): void {
    const allowed = url.protocol === 'https:' || (url.protocol === 'http:' && this.endpoint.insecure);
    if (allowed && url.username === '' && url.password === '') return;
    throw new IngotError(
      'REGISTRY_FAILED',
      `${this.shown} sends us to ${url.protocol}//${url.host}, which is not safe`,
      {
        hint: 'plain http is spoken only with registries given with --insecure',
      },
    );
  }

  async #refusal(response: HttpResponse, url: URL): Promise<RefusedError> {
    const { status } = response;
    const said = await readBody(response, MAX_ERROR_BODY).then(
      (body) => wordsOf(body.toString()),
      () => '',
    );
    const who = this.#isOwn(url)
      ? 'the registry answers'
      : `the registry sends us to ${url.host}, which answers`;
    const message = `${this.shown}: ${who} ${status}${said === '' ? '' : `: ${said}`}`;
    if ((status === 401 || status === 403) && !this.#isOwn(url)) {
      const hint = 'no other host is given credentials for a registry';
      return new RefusedError(response, 'REGISTRY_DENIED', message, hint);
    }
    if (status === 401 || status === 403) {
      const hint = `log in with \`skopeo login ${this.endpoint.registry}\`, or set REGISTRY_AUTH_FILE`;
      return new RefusedError(response, 'REGISTRY_DENIED', message, hint);
    }
    if (status === 404) return new RefusedError(response, 'NOT_FOUND', message, 'is the name right?');
    if (isTransientStatus(status))
      return new RefusedError(response, 'REGISTRY_UNREACHABLE', message, 'try again later');
    return new RefusedError(response, 'REGISTRY_FAILED', message, undefined);
  }
}

const PROBLEM_HINTS: Readonly<Record<ConnectionProblem, string>> = {
  network: 'check the name and the network',
  untrusted: 'give its authority with --ca FILE, or put it into /etc/containers/certs.d/HOST/',
  'certificate-wanted': 'put NAME.cert and NAME.key into /etc/containers/certs.d/HOST/',
  'no-tls': 'a registry without TLS needs --insecure HOST',
  proxy: 'check https_proxy, and no_proxy for what is reached without it',
};

/** A connection that failed, as a person is told of it. */
export function unreachable(shown: string, error: ConnectionError): IngotError {
  const code = error.problem === 'certificate-wanted' ? 'REGISTRY_DENIED' : 'REGISTRY_UNREACHABLE';
  return new IngotError(code, `${shown}: ${error.message}`, {
    cause: error,
    hint: PROBLEM_HINTS[error.problem],
  });
}

/** What a registry says is shown to a person: on one line, of bounded length, without control characters. */
function wordsOf(body: string): string {
  let text = body;
  try {
    const { errors } = RegistryErrors.parse(JSON.parse(body));
    text = errors.map(({ code, message }) => [code, message].filter(Boolean).join(' ')).join('; ');
  } catch {
    if (/<html|<!doctype/i.test(body)) return '';
  }
  return text
    .replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, 300);
}
