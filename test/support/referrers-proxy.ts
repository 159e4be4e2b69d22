/**
 * The referrers API (distribution-spec 1.1, "Listing Referrers") in front of a registry that has none. It remembers
 * what is put through it, so it knows nothing of what came another way. Plain HTTP on both sides.
 */
import http from 'node:http';

import { digestOf } from '../../src/digest.ts';
import { describeReferrer } from '../../src/oci/image-graph.ts';
import { type Descriptor, Manifest, MEDIA_TYPES } from '../../src/oci/schema.ts';

export interface ReferrersProxy extends AsyncDisposable {
  readonly host: string;
}

/** @param answer what it says instead of what it knows */
export async function startReferrersProxy(
  upstream: string,
  answer?: (subject: string) => readonly Descriptor[],
): Promise<ReferrersProxy> {
  const [hostname, port] = upstream.split(':');
  /** By `repository digest`. */
  const known = new Map<string, Descriptor[]>();

  const list = (url: URL, response: http.ServerResponse): boolean => {
    const [, repository, subject] = /^\/v2\/(.+)\/referrers\/([^/]+)$/.exec(url.pathname) ?? [];
    if (repository === undefined || subject === undefined) return false;
    const type = url.searchParams.get('artifactType');
    const all = answer?.(subject) ?? known.get(`${repository} ${subject}`) ?? [];
    const manifests = type === null ? all : all.filter(({ artifactType }) => artifactType === type);
    response.writeHead(200, {
      'content-type': MEDIA_TYPES.index,
      ...(type !== null && { 'oci-filters-applied': 'artifactType' }),
    });
    response.end(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }));
    return true;
  };
  const remember = (url: URL, body: Buffer): Record<string, string> => {
    const [, repository] = /^\/v2\/(.+)\/manifests\/[^/]+$/.exec(url.pathname) ?? [];
    const { data } = Manifest.safeParse(JSON.parse(body.toString()));
    if (repository === undefined || data?.subject === undefined) return {};
    const descriptor = { mediaType: MEDIA_TYPES.manifest, digest: digestOf(body), size: body.length };
    const key = `${repository} ${data.subject.digest}`;
    const others = (known.get(key) ?? []).filter(({ digest }) => digest !== descriptor.digest);
    known.set(key, [...others, describeReferrer({ descriptor, bytes: body })]);
    return { 'oci-subject': data.subject.digest };
  };

  const server = http.createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const parsed = new URL(url, 'http://registry');
    if (method === 'GET' && list(parsed, response)) return;
    const putsManifest = method === 'PUT' && parsed.pathname.includes('/manifests/');
    const body: Buffer[] = [];
    const outgoing = http.request({ hostname, port, method, path: url, headers }, (found) => {
      const isTaken = putsManifest && found.statusCode === 201;
      const added = isTaken ? remember(parsed, Buffer.concat(body)) : {};
      response.writeHead(found.statusCode ?? 502, { ...found.headers, ...added });
      found.pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    request.on('data', (chunk: Buffer) => {
      if (putsManifest) body.push(chunk);
    });
    request.pipe(outgoing);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    host: `127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
