/**
 * A token server of the distribution project's protocol, whose tokens a registry verifies by itself
 * (https://distribution.github.io/distribution/spec/auth/jwt/).
 */
import { randomUUID, sign, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';

import type { Certificate } from './registry.ts';

export interface TokenRequest {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  /** Of a POST. */
  readonly form: URLSearchParams;
}

export interface TokenServer extends AsyncDisposable {
  readonly requests: readonly TokenRequest[];
  /** For `startRegistry`: tokens of this server count, and nothing else. */
  readonly settings: string;
}

export interface TokenServerOptions {
  /** Signs the tokens; registries trust it. */
  readonly certificate: Certificate;
  /** Who gets tokens. */
  readonly accepts: (request: TokenRequest) => boolean;
  /** Asked for each token: the seconds from now that it says it is good for. Default: 300. */
  readonly lifeSeconds?: () => number;
}

const ISSUER = 'test issuer';
const SERVICE = 'test registry';

export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const { certificate, accepts, lifeSeconds = () => 300 } = options;
  const key = await readFile(certificate.key, 'utf8');
  const der = new X509Certificate(await readFile(certificate.cert)).raw.toString('base64');
  const requests: TokenRequest[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      const form = new URLSearchParams(Buffer.concat(chunks).toString());
      const one = { method, url, authorization: headers.authorization, form };
      requests.push(one);
      if (!accepts(one)) {
        response.writeHead(401).end();
        return;
      }
      const query = new URL(url, 'http://localhost').searchParams;
      const scopes = method === 'POST' ? (form.get('scope') ?? '').split(' ') : query.getAll('scope');
      const token = tokenFor(scopes, lifeSeconds(), key, der);
      // It says that they live longer than they do: a clock that is wrong looks like this.
      response.end(JSON.stringify(method === 'POST' ? { access_token: token } : { token, expires_in: 300 }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  return {
    requests,
    settings: [
      'auth:',
      '  token:',
      `    realm: http://127.0.0.1:${port}/token`,
      `    service: ${SERVICE}`,
      `    issuer: ${ISSUER}`,
      `    rootcertbundle: ${certificate.cert}`,
    ].join('\n'),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function tokenFor(scopes: readonly string[], lifeSeconds: number, key: string, der: string): string {
  const now = Math.floor(Date.now() / 1000);
  const access = scopes.map((scope) => {
    const [type, name, actions = ''] = scope.split(':');
    return { type, name, actions: actions.split(',') };
  });
  const times = { iat: now - 600, nbf: now - 600, exp: now + lifeSeconds };
  const claims = { iss: ISSUER, sub: 'ingot', aud: SERVICE, jti: randomUUID(), ...times, access };
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const content = `${encode({ typ: 'JWT', alg: 'ES256', x5c: [der] })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(content), { key, dsaEncoding: 'ieee-p1363' });
  return `${content}.${signature.toString('base64url')}`;
}
