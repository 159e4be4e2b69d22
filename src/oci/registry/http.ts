/**
 * One request to one server. Node's own client rather than fetch: bodies are streamed with a length and at the pace
 * of the server, a silent server is given up, each server has its certificates, and proxies are honoured. Follows no
 * redirect and knows no credentials: both are decided by the caller. Messages name no address beyond host and port,
 * since paths and queries may carry tickets.
 */
import type http from 'node:http';

import { errnoOf, IngotError } from '../../errors.ts';

// Imported, these would bring all of undici along for names that they export besides: a quarter of the time to start.
const { Agent, request: requestPlain } = process.getBuiltinModule('node:http');
const { Agent: SecureAgent, request: requestSecure } = process.getBuiltinModule('node:https');
const { createSecureContext } = process.getBuiltinModule('node:tls');

export interface RequestBody {
  readonly length: number;
  readonly chunks: () => AsyncIterable<Buffer> | Iterable<Buffer>;
  /** Told the bytes handed to the system so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Given up when nothing moves for so long. */
  readonly idleMs?: number | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Must be read or destroyed. */
  readonly body: http.IncomingMessage;
}

/** A request that got no answer, or not all of it: worth another try. */
export class ConnectionError extends Error {
  /** False where trying again cannot help, as with a certificate that is not trusted. */
  readonly transient: boolean;
  readonly problem: ConnectionProblem;

  constructor(message: string, transient: boolean, cause?: unknown, problem: ConnectionProblem = 'network') {
    super(message, { cause });
    this.transient = transient;
    this.problem = problem;
  }
}

export type ConnectionProblem =
  | 'network'
  /** The server's certificate. */
  | 'untrusted'
  /** The server wants a certificate of ours, or another one. */
  | 'certificate-wanted'
  | 'no-tls'
  | 'proxy';

/** What reading the body to be sent has thrown: not the server's fault. */
export class BodyError extends Error {
  constructor(cause: unknown) {
    super('the content to be sent cannot be read', { cause });
  }
}

export interface ServerTls {
  readonly ca?: readonly string[] | undefined;
  /** A certificate of our own, in PEM. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

const IDLE_MS = 30_000;

/** Connections to any number of servers, kept between requests. Dispose when done. */
export class HttpClient implements AsyncDisposable {
  readonly #agents = new Map<string, Promise<http.Agent>>();
  readonly #tlsOf: (host: string) => Promise<ServerTls>;
  readonly #proxies: Readonly<Record<string, string>>;
  readonly #idleMs: number;

  /** `tlsOf` is asked once for each `host[:port]`; `proxies` as in `http_proxy`, `https_proxy` and `no_proxy`. */
  constructor(options: {
    readonly tlsOf: (host: string) => Promise<ServerTls>;
    readonly proxies?: Readonly<Record<string, string>> | undefined;
    readonly idleMs?: number | undefined;
  }) {
    this.#tlsOf = options.tlsOf;
    this.#proxies = options.proxies ?? {};
    this.#idleMs = options.idleMs ?? IDLE_MS;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of await Promise.allSettled(this.#agents.values())) {
      if (agent.status === 'fulfilled') agent.value.destroy();
    }
  }

  /** @throws ConnectionError, BodyError; IngotError INTERRUPTED */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const { signal, body, url } = request;
    if (signal?.aborted === true) throw interrupted(url);
    const { outgoing, answer } = this.#start(request, await this.#agentFor(url));
    const abort = (): void => {
      outgoing.destroy(interrupted(url));
    };
    signal?.addEventListener('abort', abort, { once: true });
    // The answer's body is read after this function ends, and is to end with the signal too.
    outgoing.once('close', () => signal?.removeEventListener('abort', abort));
    if (body === undefined) outgoing.end();
    const sending = body === undefined ? Promise.resolve() : sendBody(outgoing, body, answer, url);
    const [answered, sent] = await Promise.allSettled([answer, sending]);
    // The reader's own failure comes first: the broken request is its consequence.
    if (sent.status === 'rejected') {
      if (answered.status === 'fulfilled') answered.value.destroy();
      throw sent.reason;
    }
    if (answered.status === 'rejected') throw answered.reason;
    const response = answered.value;
    return { status: response.statusCode ?? 0, headers: response.headers, body: response };
  }

  #start(
    { method, url, headers = {}, body, idleMs = this.#idleMs }: HttpRequest,
    agent: http.Agent,
  ): {
    readonly outgoing: http.ClientRequest;
    readonly answer: Promise<http.IncomingMessage>;
  } {
    const send = url.protocol === 'https:' ? requestSecure : requestPlain;
    const outgoing = send(url, {
      method,
      agent,
      timeout: idleMs,
      headers: {
        'user-agent': 'ingot',
        'accept-encoding': 'identity',
        ...headers,
        ...(body !== undefined && { 'content-length': String(body.length) }),
      },
    });
    outgoing.on('socket', (socket) => {
      // After the listener that parses it, which copies what it hands on.
      socket.on('data', giveBack);
      // Emitted before another request gets the connection.
      outgoing.once('close', () => socket.off('data', giveBack));
    });
    let begun: http.IncomingMessage | undefined;
    const answer = new Promise<http.IncomingMessage>((resolve, reject) => {
      outgoing.on('response', (response) => {
        begun = response;
        resolve(response);
      });
      outgoing.on('error', (error) => {
        reject(connectionError(error, url));
      });
    });
    answer.catch(() => undefined); // looked at by `send`
    outgoing.on('timeout', () => {
      // Once an answer has begun, its reader and not the request must hear why it ends.
      (begun ?? outgoing).destroy(new ConnectionError(`${url.host} was silent for ${idleMs / 1000} s`, true));
    });
    return { outgoing, answer };
  }

  async #agentFor(url: URL): Promise<http.Agent> {
    const key = `${url.protocol}//${url.host}`;
    const agent = this.#agents.get(key) ?? this.#makeAgent(url);
    this.#agents.set(key, agent);
    return agent;
  }

  async #makeAgent(url: URL): Promise<http.Agent> {
    const options = { keepAlive: true, maxSockets: 16, proxyEnv: { ...this.#proxies } };
    if (url.protocol !== 'https:') return new Agent(options);
    const { ca, cert, key } = await this.#tlsOf(url.host);
    // Made once: every connection would else parse hundreds of certificates anew, for 20 ms and a megabyte each.
    const secureContext = createSecureContext({
      ...(ca !== undefined && { ca: [...ca] }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    });
    return new SecureAgent({ ...options, secureContext });
  }
}

/** Ends early when the server answers before it has all: the answer says why. */
async function sendBody(
  outgoing: http.ClientRequest,
  body: RequestBody,
  answer: Promise<http.IncomingMessage>,
  url: URL,
): Promise<void> {
  const answered = { yet: false };
  const settle = (): void => {
    answered.yet = true;
  };
  const ended = answer.then(settle, settle);
  let sent = 0;
  try {
    for await (const chunk of body.chunks()) {
      if (answered.yet) break;
      if (sent + chunk.length > body.length) throw new RangeError('more content than was announced');
      const { promise, resolve } = Promise.withResolvers<undefined>();
      outgoing.write(chunk, () => {
        resolve(undefined);
      });
      sent += chunk.length;
      body.onProgress?.(sent);
      // Not before it is the system's: the reader may use its memory again.
      await Promise.race([promise, ended]);
    }
  } catch (error) {
    outgoing.destroy();
    throw error instanceof IngotError ? error : new BodyError(error);
  }
  if (answered.yet && sent < body.length) {
    // The connection still expects the rest: it cannot be used again once the answer is read.
    void answer.then(
      (response) => response.once('close', () => outgoing.destroy()),
      () => undefined,
    );
    return;
  }
  if (sent < body.length) {
    outgoing.destroy();
    throw new BodyError(new RangeError(`${sent} bytes of content instead of ${body.length} for ${url.host}`));
  }
  outgoing.end();
}

/** The text of a small body. More than `limit` bytes are refused. */
export async function readBody(response: HttpResponse, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of bodyChunks(response)) {
    size += chunk.length;
    if (size > limit) {
      response.body.destroy();
      throw new RangeError(`the answer has more than ${limit} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The body as it comes; a connection that breaks in the middle is a ConnectionError. */
export async function* bodyChunks(response: HttpResponse): AsyncGenerator<Buffer> {
  for await (const batch of bodyBatches(response)) yield* batch;
}

/**
 * A batch is handed over when it has so many bytes, or is so old. Measured, with four downloads at a time: batches of
 * 128 and of 512 KiB are no faster. A file system takes what is written at once into one piece of memory where it can,
 * and a virtual machine may have to ask its host for large ones (docs/benchmarks.md, registry).
 */
const BATCH_BYTES = 256 * 1024;
const BATCH_MS = 250;

/**
 * The same, many chunks at a time. A step for every 64 KiB that a socket gives costs more than hashing them. What
 * comes while a batch is dealt with is in the next; a server that is quicker than that is made to wait.
 *
 * With `isLent`, a batch is the caller's until it asks for the next: then its memory is given back. V8 counts it, and
 * would else collect all garbage for every few dozen megabytes that pass, which takes longer than moving them.
 */
export async function* bodyBatches(
  { body }: HttpResponse,
  isLent = false,
): AsyncGenerator<readonly Buffer[]> {
  const state: { batch: Buffer[]; bytes: number; end: 'ended' | { readonly error: unknown } | undefined } = {
    batch: [],
    bytes: 0,
    end: undefined,
  };
  let wake = Promise.withResolvers<undefined>();
  let timer: NodeJS.Timeout | undefined;
  const hand = (): void => {
    wake.resolve(undefined);
  };
  const end = (how: NonNullable<typeof state.end>): void => {
    state.end ??= how;
    hand();
  };
  body.on('data', (chunk: Buffer) => {
    state.batch.push(chunk);
    state.bytes += chunk.length;
    timer ??= setTimeout(hand, BATCH_MS);
    if (state.bytes < BATCH_BYTES) return;
    body.pause();
    hand();
  });
  body.once('end', () => {
    end('ended');
  });
  body.once('error', (error) => {
    end({ error });
  });
  body.once('close', () => {
    end({ error: new ConnectionError('the server cut the connection', true) });
  });
  try {
    for (;;) {
      await wake.promise;
      clearTimeout(timer);
      timer = undefined;
      wake = Promise.withResolvers();
      const { batch } = state;
      state.batch = [];
      state.bytes = 0;
      if (state.end === undefined) body.resume();
      else hand(); // nothing comes any more
      if (batch.length > 0) {
        yield batch;
        if (isLent) batch.forEach(giveBack);
      } else if (state.end === 'ended') return;
      else if (state.end !== undefined) throw state.end.error;
    }
  } catch (error) {
    if (error instanceof IngotError || error instanceof ConnectionError) throw error;
    throw connectionError(error, undefined);
  } finally {
    clearTimeout(timer);
    body.on('error', () => undefined);
    body.destroy();
  }
}

/** Smaller ones are not worth it. */
const GIVEN_BACK_BYTES = 4096;

/** Frees a buffer that has its memory to itself, as what a socket reads has; not one that is part of Node's pool. */
function giveBack({ buffer, length }: Buffer): void {
  if (length < GIVEN_BACK_BYTES || length !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses the connection',
  ECONNRESET: 'cut the connection',
  EPIPE: 'cut the connection',
  ENOTFOUND: 'cannot be found: its name does not resolve',
  EAI_AGAIN: 'cannot be found: its name does not resolve',
  ETIMEDOUT: 'does not answer',
  ENETUNREACH: 'cannot be reached',
  EHOSTUNREACH: 'cannot be reached',
};
const NO_TLS: ReadonlySet<string> = new Set([
  'EPROTO',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
]);
/** Alerts with which a server ends a handshake for want of a certificate that it takes (RFC 8446, section 6.2). */
const CERTIFICATE_WANTED =
  /ALERT_(?:NO_|BAD_|UNSUPPORTED_)?CERTIFICATE(?:_REQUIRED|_EXPIRED|_REVOKED|_UNKNOWN)?$|ALERT_(?:UNKNOWN_CA|ACCESS_DENIED)$/;

function connectionError(error: unknown, url: URL | undefined): Error {
  if (error instanceof ConnectionError || error instanceof IngotError) return error;
  const host = url?.host ?? 'the server';
  const code = errnoOf(error) ?? 'failed';
  if (code === 'ERR_PROXY_TUNNEL') return tunnelError(error, host);
  if (CERTIFICATE_WANTED.test(code)) {
    const message = `${host} wants a certificate of ours that it trusts`;
    return new ConnectionError(message, false, error, 'certificate-wanted');
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS/.test(code)) {
    return new ConnectionError(
      `the certificate of ${host} is not trusted (${code})`,
      false,
      error,
      'untrusted',
    );
  }
  if (NO_TLS.has(code)) return new ConnectionError(`${host} does not speak TLS`, false, error, 'no-tls');
  const permanent = code === 'ENOTFOUND' || code.startsWith('ERR_SSL');
  return new ConnectionError(`${host} ${WORDS[code] ?? `failed (${code})`}`, !permanent, error);
}

/** Of Node's message, the proxy's host and its answer: the address may hold a password. */
function tunnelError(error: unknown, host: string): ConnectionError {
  const said = /via (\S+): HTTP\/\S+ (\d{3})/.exec(error instanceof Error ? error.message : '');
  const [, address = '', status = ''] = said ?? [];
  const proxy = URL.canParse(address) ? new URL(address).host : '';
  const answer = status === '' ? 'fails' : `answers ${status}`;
  return new ConnectionError(
    `the proxy ${proxy} on the way to ${host} ${answer}`,
    !status.startsWith('4'),
    undefined, // its message has the whole address
    'proxy',
  );
}

function interrupted(url: URL): IngotError {
  return new IngotError('INTERRUPTED', `interrupted while talking to ${url.host}`);
}
