/** A proxy before a registry that misbehaves as it is told. */
import http from 'node:http';
import { pipeline } from 'node:stream';

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
}

/** What happens to one request. */
export type Fault =
  /** Never reaches the registry. */
  | { readonly answer: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** The connection is cut after so many bytes of the request's body. */
  | { readonly cutRequestAfter: number }
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
  const seen: SeenRequest[] = [];
  const [hostname, port] = upstream.split(':');
  const server = http.createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const one = { method, url, headers };
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
    const outgoing = http.request({ hostname, port, method, path: url, headers }, (answer) => {
      answer.on('error', () => undefined);
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
