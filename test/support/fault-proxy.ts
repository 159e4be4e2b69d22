/** A proxy before a registry that misbehaves as it is told. */
import http from 'node:http';
import { pipeline } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  /** Bytes of its body that came. */
  readonly received: number;
}

/** What happens to one request. */
export type Fault =
  /** Never reaches the registry. */
  | { readonly answer: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** The connection is cut after so many bytes of the request's body. */
  | { readonly cutRequestAfter: number }
  /**
   * The connection is cut after so many bytes of the request's body, and the registry keeps them: for those that can go
   * on in the middle, as Debian's cannot. Its uploads are then found under the address that they had before.
   */
  | { readonly keepRequest: number }
  /** The answer's body comes so many bytes at a time, with pauses. */
  | { readonly slowAnswer: number; readonly pauseMs: number }
  /** The connection is cut after so many bytes of the answer's body. */
  | { readonly cutAnswerAfter: number }
  /** The answer's body stops after so many bytes, and the connection stays open. */
  | { readonly stallAnswerAfter: number }
  /** Headers that the registry does not send. */
  | { readonly addHeaders: Readonly<Record<string, string>> }
  /** The answer's headers, changed. */
  | { readonly changeHeaders: (headers: http.IncomingHttpHeaders) => http.OutgoingHttpHeaders }
  /** The answer's body, changed. */
  | { readonly change: (bytes: Buffer) => Buffer }
  /** Nothing is ever answered. */
  | { readonly silent: true };

export interface FaultProxy extends AsyncDisposable {
  readonly host: string;
  readonly seen: readonly SeenRequest[];
}

export type Decide = (request: SeenRequest, earlier: readonly SeenRequest[]) => Fault | undefined;

/** Speaks plain HTTP on both sides. Addresses of the registry become the proxy's. */
export async function startFaultProxy(upstream: string, decide: Decide): Promise<FaultProxy> {
  const seen: { -readonly [Key in keyof SeenRequest]: SeenRequest[Key] }[] = [];
  /** By upload: the newest of what the registry calls its state. */
  const states = new Map<string, string>();
  const [hostname, port] = upstream.split(':');
  const server = http.createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const one = { method, url, headers, received: 0 };
    const fault = decide(one, seen);
    seen.push(one);
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    if (fault !== undefined && 'silent' in fault) return;
    if (fault !== undefined && 'answer' in fault) {
      request.resume();
      response.writeHead(fault.answer, fault.headers).end(fault.body);
      return;
    }
    request.on('data', (chunk: Buffer) => (one.received += chunk.length));
    if (fault !== undefined && 'keepRequest' in fault) {
      void keep(request, { hostname, port, path: withState(url, states) }, fault.keepRequest, states);
      return;
    }
    const path = withState(url, states);
    const outgoing = http.request({ hostname, port, method, path, headers }, (answer) => {
      answer.on('error', () => undefined);
      remember(answer, states);
      if (response.destroyed) {
        answer.destroy();
        return;
      }
      if (fault !== undefined && 'change' in fault) {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const body = fault.change(Buffer.concat(chunks));
          response.writeHead(answer.statusCode ?? 502, { ...answer.headers, 'content-length': body.length });
          response.end(body);
        });
        return;
      }
      const sent =
        fault !== undefined && 'changeHeaders' in fault
          ? fault.changeHeaders(answer.headers)
          : answer.headers;
      const added = fault !== undefined && 'addHeaders' in fault ? fault.addHeaders : {};
      response.writeHead(answer.statusCode ?? 502, { ...sent, ...added });
      if (fault !== undefined && 'slowAnswer' in fault) {
        void trickle(answer, response, fault.slowAnswer, fault.pauseMs);
        return;
      }
      const cuts = fault !== undefined && 'cutAnswerAfter' in fault;
      const stalls = fault !== undefined && 'stallAnswerAfter' in fault;
      if (!cuts && !stalls) {
        pipeline(answer, response, () => undefined);
        return;
      }
      let left = cuts ? fault.cutAnswerAfter : fault.stallAnswerAfter;
      answer.on('data', (chunk: Buffer) => {
        response.write(chunk.subarray(0, Math.max(0, left)), () => {
          if (cuts && left <= 0) response.socket?.destroy();
        });
        left -= chunk.length;
      });
    });
    outgoing.on('error', () => response.destroy());
    if (fault === undefined || !('cutRequestAfter' in fault)) {
      pipeline(request, outgoing, () => undefined);
      return;
    }
    let left = fault.cutRequestAfter;
    request.on('data', (chunk: Buffer) => {
      outgoing.write(chunk.subarray(0, Math.max(0, left)));
      left -= chunk.length;
      if (left > 0) return;
      outgoing.destroy();
      request.socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    host: `127.0.0.1:${address.port}`,
    seen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Gives the registry the beginning of a part as if it were all of it, and the client nothing. */
async function keep(
  request: http.IncomingMessage,
  to: http.RequestOptions,
  length: number,
  states: Map<string, string>,
): Promise<void> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const { socket } = request;
  // The client hears of it when the registry has what is kept.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= length) break;
  }
  request.removeAllListeners('data'); // or it would flow on
  const body = Buffer.concat(chunks).subarray(0, length);
  const headers = { 'content-type': 'application/octet-stream', 'content-length': body.length };
  await new Promise<void>((resolve) => {
    http
      .request({ ...to, method: 'PATCH', headers }, (answer) => {
        remember(answer, states);
        answer.resume().on('end', resolve);
      })
      .end(body);
  });
  socket.destroy();
}

async function trickle(
  answer: http.IncomingMessage,
  response: http.ServerResponse,
  bytes: number,
  pauseMs: number,
): Promise<void> {
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length && !response.destroyed; at += bytes) {
      response.write(chunk.subarray(at, at + bytes));
      await sleep(pauseMs);
    }
  }
  response.end();
}

const UPLOAD = /\/blobs\/uploads\/([0-9a-f-]{36})\?/;

function remember({ headers: { location = '' } }: http.IncomingMessage, states: Map<string, string>): void {
  const upload = UPLOAD.exec(location)?.[1];
  const state = URL.parse(location, 'http://x')?.searchParams.get('_state');
  if (upload !== undefined && typeof state === 'string') states.set(upload, state);
}

/** An upload has one address for the whole of it here. */
function withState(url: string, states: ReadonlyMap<string, string>): string {
  const state = states.get(UPLOAD.exec(url)?.[1] ?? '');
  if (state === undefined) return url;
  const newest = new URL(url, 'http://x');
  newest.searchParams.set('_state', state);
  return `${newest.pathname}${newest.search}`;
}
