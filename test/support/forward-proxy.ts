/** A proxy of the kind that `http_proxy` and `https_proxy` name: requests with whole addresses, and CONNECT. */
import http from 'node:http';
import { connect, type Socket } from 'node:net';
import { pipeline } from 'node:stream';

export interface ForwardProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** `CONNECT HOST:PORT` and `GET http://…`, each with the credentials that came along. */
  readonly seen: readonly { readonly line: string; readonly authorization: string | undefined }[];
}

/** `authorization`: the `Proxy-Authorization` that it wants. */
export async function startForwardProxy(authorization?: string): Promise<ForwardProxy> {
  const seen: { line: string; authorization: string | undefined }[] = [];
  const tunnels = new Set<Socket>();
  const isRefused = (request: http.IncomingMessage): boolean => {
    const given = request.headers['proxy-authorization'];
    seen.push({ line: `${request.method ?? ''} ${request.url ?? ''}`, authorization: given });
    return authorization !== undefined && given !== authorization;
  };
  const server = http.createServer((request, response) => {
    if (isRefused(request)) {
      response.writeHead(407).end();
      return;
    }
    const { method, headers, url = '' } = request;
    const outgoing = http.request(new URL(url), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      pipeline(answer, response, () => undefined);
    });
    outgoing.on('error', () => response.writeHead(502).end());
    pipeline(request, outgoing, () => undefined);
  });
  server.on('connect', (request, client) => {
    client.on('error', () => undefined);
    if (isRefused(request)) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n');
      return;
    }
    const [hostname, port] = (request.url ?? '').split(':');
    const upstream = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      pipeline(client, upstream, () => undefined);
      pipeline(upstream, client, () => undefined);
    });
    upstream.on('error', () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
    tunnels.add(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  return {
    host: `127.0.0.1:${port}`,
    seen,
    [Symbol.asyncDispose]: async () => {
      for (const tunnel of tunnels) tunnel.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
