/** Registries, mirrors and networks that misbehave, before Debian's registry. */
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { canonicalJson, digestOf } from '../../src/digest.ts';
import type { ImageSource, ImageTarget, ManifestDocument } from '../../src/oci/image-transfer.ts';
import { verifyLayout } from '../../src/oci/layout.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { LayoutTarget } from '../../src/oci/layout-target.ts';
import { parseImageReference } from '../../src/oci/reference.ts';
import { RegistryAccess } from '../../src/oci/registry/access.ts';
import { type Descriptor, MEDIA_TYPES } from '../../src/oci/schema.ts';
import { copyImage } from '../../src/publish/copy-image.ts';
import { StoredSource } from '../../src/publish/stored-source.ts';
import { createReporter, silentReporter } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import { type Decide, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { startRegistry, type TestRegistry, writeAuthFile } from '../support/registry.ts';
import { makeTestImage, type TestImage } from '../support/test-image.ts';

const MIB = 1024 * 1024;
let scratch: string;
let registry: TestRegistry;
let image: TestImage;
let counter = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-faults-'));
  registry = await startRegistry();
  image = await makeTestImage(join(scratch, 'image'), [5 * MIB, 10_000]);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

async function accessTo(hosts: readonly string[], idleMs = 5000): Promise<RegistryAccess> {
  const env = { HOME: scratch, CONTAINERS_REGISTRIES_CONF: join(scratch, 'none') };
  return RegistryAccess.open({ env, insecure: hosts, pace: 0.01, partBytes: MIB, idleMs });
}

/** Pushes the image through a proxy into a repository of its own, and reads it back without the proxy. */
async function pushThrough(decide: Decide, idleMs?: number): Promise<FaultProxy['seen']> {
  counter += 1;
  await using proxy = await startFaultProxy(registry.host, decide);
  await using registries = await accessTo([proxy.host, registry.host], idleMs);
  await using source = await LayoutSource.open(image.layout);
  await using target = registries.target(parseImageReference(`${proxy.host}/push-${counter}`));
  await copyImage({ source, reference: '1.0', target, names: ['1'], reporter: silentReporter });
  await using back = registries.source(parseImageReference(`${registry.host}/push-${counter}`));
  expect((await back.manifest('1')).descriptor.digest).toBe(image.digest);
  for (const layer of image.layers) for await (const _chunk of back.blob(layer));
  return proxy.seen;
}

const isPart = ({ method }: { readonly method: string }): boolean => method === 'PATCH';
const first =
  (matches: (request: Parameters<Decide>[0]) => boolean, fault: ReturnType<Decide>, times = 1): Decide =>
  (request, earlier) =>
    matches(request) && earlier.filter(matches).length < times ? fault : undefined;

describe('a push survives', () => {
  test.each<readonly [string, Decide]>([
    [
      'connections cut in the middle of a part',
      (request, earlier) =>
        isPart(request) && earlier.filter(isPart).length === 2 ? { cutRequestAfter: 300_000 } : undefined,
    ],
    ['the first part cut', first(isPart, { cutRequestAfter: 100_000 })],
    [
      '429 with Retry-After',
      first(({ method }) => method === 'POST', { answer: 429, headers: { 'retry-after': '0' } }, 2),
    ],
    ['500 for a part', first(isPart, { answer: 500 }, 2)],
    [
      '503 for the last request',
      first(({ method, url }) => method === 'PUT' && url.includes('/blobs/'), { answer: 503 }, 2),
    ],
    [
      '401 in the middle of an upload',
      (request, earlier) =>
        isPart(request) && earlier.filter(isPart).length === 3
          ? { answer: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }
          : undefined,
    ],
    [
      'an upload that is forgotten',
      (request, earlier) =>
        isPart(request) && earlier.filter(isPart).length === 2 ? { answer: 404 } : undefined,
    ],
    ['a registry that takes no parts', (request) => (isPart(request) ? { answer: 405 } : undefined)],
    ['502 for the manifest', first(({ url }) => url.includes('/manifests/1'), { answer: 502 }, 2)],
  ])('%s', async (_name, decide) => {
    await pushThrough(decide);
  });

  test('a server that falls silent', async () => {
    await pushThrough(first(isPart, { silent: true }), 700);
  });
});

test('a push that cannot succeed says why, and moves no tag', async () => {
  const down: Decide = ({ method }) =>
    method === 'PATCH' || method === 'PUT' ? { answer: 503, body: 'sorry\u001b[31m' } : undefined;
  await expect(pushThrough(down)).rejects.toMatchObject({
    code: 'REGISTRY_UNREACHABLE',
    message: expect.stringMatching(/503: sorry \[31m$/) as string,
  });
  await using registries = await accessTo([registry.host]);
  const back = registries.source(parseImageReference(`${registry.host}/push-${counter}`));
  await expect(back.manifest('1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a layout with a damaged blob is not sent', async () => {
  const bad = await makeTestImage(join(scratch, 'bad'), [3 * MIB]);
  const [layer] = bad.layers;
  const path = join(bad.layout, 'blobs/sha256', layer?.digest.slice(7) ?? '');
  const bytes = await readFile(path);
  bytes[2 * MIB] = (bytes[2 * MIB] ?? 0) ^ 1;
  await writeFile(path, bytes);
  await using registries = await accessTo([registry.host]);
  await using source = await LayoutSource.open(bad.layout);
  await using target = registries.target(parseImageReference(`${registry.host}/bad`));
  const copying = copyImage({ source, reference: '1.0', target, names: ['1'], reporter: silentReporter });
  await expect(copying).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(await target.hasManifest({ mediaType: '', digest: bad.digest, size: 0 })).toBe(false);
});

describe('a pull', () => {
  const isBlob = ({ method, url }: { readonly method: string; readonly url: string }): boolean =>
    method === 'GET' && url.includes(image.layers[0]?.digest ?? '');

  async function pullThrough(decide: Decide): Promise<FaultProxy['seen']> {
    await pushThrough(() => undefined);
    await using proxy = await startFaultProxy(registry.host, decide);
    await using registries = await accessTo([proxy.host]);
    await using source = registries.source(parseImageReference(`${proxy.host}/push-${counter}:1`));
    const [layer] = image.layers;
    if (layer === undefined) throw new Error('no layer');
    expect((await source.manifest('1')).descriptor.digest).toBe(image.digest);
    const hash = createHash('sha256');
    for await (const chunk of source.blob(layer)) hash.update(chunk);
    expect(`sha256:${hash.digest('hex')}`).toBe(layer.digest);
    return proxy.seen;
  }

  test('goes on by range where it was cut', async () => {
    const seen = await pullThrough((request, earlier) =>
      isBlob(request) && earlier.filter(isBlob).length < 3 ? { cutAnswerAfter: MIB } : undefined,
    );
    const ranges = seen.filter(isBlob).map(({ headers }) => headers.range);
    expect(ranges).toHaveLength(4);
    expect(ranges.slice(1)).toEqual(
      ranges.slice(1).map(() => expect.stringMatching(/^bytes=\d+-5\d+$/) as string),
    );
  });

  test.each<readonly [string, Decide]>([
    ['as it is', () => undefined],
    [
      'cut in pieces that do not say how many there are',
      (request) =>
        isBlob(request)
          ? {
              changeHeaders: ({ 'content-length': _, ...headers }) => ({
                ...headers,
                'transfer-encoding': 'chunked',
              }),
            }
          : undefined,
    ],
  ])('gets into a layout and on to another registry what is sent %s', async (_name, decide) => {
    await pushThrough(() => undefined);
    const from = `push-${counter}`;
    await using proxy = await startFaultProxy(registry.host, decide);
    await using registries = await accessTo([proxy.host, registry.host]);
    const store = await Store.open(join(scratch, `store-${counter}`));
    const directory = join(scratch, `pulled-${counter}`);
    const copy = async (source: ImageSource, target: ImageTarget): Promise<void> => {
      await copyImage({ source, reference: '1', target, names: ['1'], reporter: silentReporter });
    };
    await using far = registries.source(parseImageReference(`${proxy.host}/${from}:1`));
    await using layout = await LayoutTarget.open(directory, scratch);
    await copy(new StoredSource(far, store), layout);
    expect((await verifyLayout(directory)).size).toBe(4);
    await using target = registries.target(parseImageReference(`${registry.host}/again-${counter}`));
    await copy(far, target);
    await using back = registries.source(parseImageReference(`${registry.host}/again-${counter}:1`));
    for (const layer of image.layers) for await (const _chunk of back.blob(layer));
  });

  test('waits for a server that asks for it', async () => {
    const started = performance.now();
    await pullThrough(first(isBlob, { answer: 429, headers: { 'retry-after': '60' } })); // scaled by 0.01
    expect(performance.now() - started).toBeGreaterThan(600);
  });

  test.each<readonly [string, Decide, string]>([
    [
      'wrong content',
      (request) =>
        isBlob(request) ? { change: (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)) } : undefined,
      'DIGEST_MISMATCH',
    ],
    [
      'another size',
      (request) =>
        isBlob(request) ? { answer: 200, headers: { 'content-length': '3' }, body: 'abc' } : undefined,
      'DIGEST_MISMATCH',
    ],
    [
      'another manifest',
      ({ url }) =>
        url.includes('/manifests/')
          ? { change: (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.from('\n')]) }
          : undefined,
      'DIGEST_MISMATCH',
    ],
    [
      'a manifest of 5 MiB',
      ({ url }) => (url.includes('/manifests/') ? { answer: 200, body: ' '.repeat(5 * MIB) } : undefined),
      'IMAGE_INVALID',
    ],
    [
      'a redirect without end',
      (request) => (isBlob(request) ? { answer: 307, headers: { location: request.url } } : undefined),
      'REGISTRY_FAILED',
    ],
    [
      'a redirect to a file',
      (request) =>
        isBlob(request) ? { answer: 307, headers: { location: 'file:///etc/passwd' } } : undefined,
      'REGISTRY_FAILED',
    ],
    ['500 for ever', (request) => (isBlob(request) ? { answer: 500 } : undefined), 'REGISTRY_UNREACHABLE'],
  ])('refuses %s', async (_name, decide, code) => {
    await expect(pullThrough(decide)).rejects.toMatchObject({ code });
  });
});

test('credentials do not follow a redirect', async () => {
  await pushThrough(() => undefined);
  await using elsewhere = await startFaultProxy(registry.host, () => undefined);
  const challenge = { 'www-authenticate': 'Basic realm="test"' };
  await using proxy = await startFaultProxy(registry.host, ({ url, headers }) => {
    if (headers.authorization === undefined) return { answer: 401, headers: challenge };
    return url.includes('/blobs/')
      ? { answer: 307, headers: { location: `http://${elsewhere.host}${url}` } }
      : undefined;
  });
  const file = join(scratch, 'auth.json');
  await writeFile(
    file,
    JSON.stringify({ auths: { [proxy.host]: { auth: Buffer.from('me:secret').toString('base64') } } }),
  );
  const env = { HOME: scratch, REGISTRY_AUTH_FILE: file, CONTAINERS_REGISTRIES_CONF: join(scratch, 'none') };
  await using registries = await RegistryAccess.open({ env, insecure: [proxy.host], pace: 0.01 });
  await using source = registries.source(parseImageReference(`${proxy.host}/push-${counter}:1`));
  for (const layer of image.layers) for await (const _chunk of source.blob(layer));
  expect(elsewhere.seen).toHaveLength(2);
  expect(elsewhere.seen.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  expect(proxy.seen.at(-1)?.headers.authorization).toMatch(/^Basic /);
});

test.each([
  ['Basic', (_host: string) => 'Basic realm="mine"'],
  ['a token server of its own', (host: string) => `Bearer realm="http://${host}/token",service="mine"`],
])('nor are they given to the other host when it asks for them: %s', async (_name, challengeOf) => {
  await pushThrough(() => undefined);
  await using elsewhere = await startFaultProxy(registry.host, ({ url }) =>
    url.startsWith('/token')
      ? { answer: 200, body: JSON.stringify({ token: 'theirs' }) }
      : { answer: 401, headers: { 'www-authenticate': challengeOf(elsewhere.host) } },
  );
  await using proxy = await startFaultProxy(registry.host, ({ url, headers }) => {
    if (headers.authorization === undefined)
      return { answer: 401, headers: { 'www-authenticate': 'Basic realm="test"' } };
    return url.includes('/blobs/')
      ? { answer: 307, headers: { location: `http://${elsewhere.host}${url}` } }
      : undefined;
  });
  const file = join(scratch, 'asked-auth.json');
  await writeAuthFile(file, [proxy.host]);
  const env = { HOME: scratch, REGISTRY_AUTH_FILE: file, CONTAINERS_REGISTRIES_CONF: join(scratch, 'none') };
  await using registries = await RegistryAccess.open({ env, insecure: [proxy.host], pace: 0.01 });
  await using source = registries.source(parseImageReference(`${proxy.host}/push-${counter}:1`));
  await source.manifest('1');
  const [layer] = image.layers;
  if (layer === undefined) throw new Error('no layer');
  await expect(source.blob(layer).next()).rejects.toMatchObject({
    code: 'REGISTRY_DENIED',
    message: expect.stringContaining(`sends us to ${elsewhere.host}, which answers 401`) as string,
  });
  expect(elsewhere.seen.map(({ url }) => url.replace(/sha256:.*/, ''))).toEqual([
    `/v2/push-${counter}/blobs/`,
  ]);
  expect(elsewhere.seen[0]?.headers.authorization).toBeUndefined();
});

test('tokens are fetched by scope, with credentials, and again when they have expired', async () => {
  const tokens = new Map<string, number>();
  const asked: { readonly url: string; readonly authorization: string | undefined }[] = [];
  const server = http.createServer((request, response) => {
    asked.push({ url: request.url ?? '', authorization: request.headers.authorization });
    // It has too much to do at first, and once later.
    if (asked.length === 1 || asked.length === 4) {
      response.writeHead(asked.length === 1 ? 503 : 429, { 'retry-after': '0' }).end();
      return;
    }
    const token = randomBytes(24).toString('base64url');
    tokens.set(token, 0);
    response.end(JSON.stringify({ token, expires_in: 300 }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  const challenge = { 'www-authenticate': `Bearer realm="http://127.0.0.1:${port}/token",service="test"` };
  // A token is good for six requests.
  await using proxy = await startFaultProxy(registry.host, ({ headers }) => {
    const token = headers.authorization?.replace('Bearer ', '') ?? '';
    const used = tokens.get(token);
    if (used === undefined || used >= 6) return { answer: 401, headers: challenge };
    tokens.set(token, used + 1);
    return undefined;
  });
  const file = join(scratch, 'token-auth.json');
  await writeFile(
    file,
    JSON.stringify({ auths: { [proxy.host]: { auth: Buffer.from('me:secret').toString('base64') } } }),
  );
  const env = { HOME: scratch, REGISTRY_AUTH_FILE: file, CONTAINERS_REGISTRIES_CONF: join(scratch, 'none') };
  try {
    await using registries = await RegistryAccess.open({
      env,
      insecure: [proxy.host],
      pace: 0.01,
      partBytes: MIB,
    });
    await using source = await LayoutSource.open(image.layout);
    await using target = registries.target(parseImageReference(`${proxy.host}/by-token`));
    await copyImage({ source, reference: '1.0', target, names: ['1'], reporter: silentReporter });
  } finally {
    server.close();
    server.closeAllConnections();
  }
  expect(asked.length).toBeGreaterThan(4);
  expect(asked[0]?.url).toBe('/token?service=test&scope=repository%3Aby-token%3Apull%2Cpush');
  expect(new Set(asked.map(({ authorization }) => authorization))).toEqual(
    new Set([`Basic ${Buffer.from('me:secret').toString('base64')}`]),
  );
});

describe('referrers', () => {
  function referrer(text: string, subject: Descriptor, config: Descriptor): ManifestDocument {
    const bytes = Buffer.from(
      canonicalJson({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.manifest,
        artifactType: 'test/note',
        config,
        layers: [],
        subject,
        annotations: { text },
      }),
    );
    return {
      descriptor: { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length },
      bytes,
    };
  }

  async function write(host: string, count: number): Promise<readonly ManifestDocument[]> {
    await pushThrough(() => undefined);
    const reference = parseImageReference(`${host}/push-${counter}`);
    await using registries = await accessTo([host]);
    await using source = registries.source(reference);
    const document = await source.manifest('1');
    const { config } = JSON.parse(document.bytes.toString()) as { readonly config: Descriptor };
    const notes = Array.from({ length: count }, (_, at) => referrer(String(at), document.descriptor, config));
    // Each with a target of its own, as separate programs are.
    await Promise.all(notes.map((note) => registries.target(reference).putManifest(note, [])));
    const found = await source.referrers(image.digest);
    expect(found.map(({ digest }) => digest).sort()).toEqual(
      notes.map(({ descriptor }) => descriptor.digest).sort(),
    );
    expect(found[0]).toMatchObject({ artifactType: 'test/note' });
    return notes;
  }

  test('stand in the fallback index, written by several at once', async () => {
    await write(registry.host, 3);
  });

  test.each([
    ['on two pages', 2],
    ['without end', Infinity],
  ])('are listed %s', async (_name, pages) => {
    const page = (at: number): object => ({
      mediaType: MEDIA_TYPES.manifest,
      artifactType: 'test/note',
      digest: digestOf(String(at)),
      size: 10,
    });
    await using proxy = await startFaultProxy(registry.host, ({ url }) => {
      const at = Number(new URL(url, 'http://r').searchParams.get('page') ?? 1);
      const manifests = [page(at)];
      return {
        answer: 200,
        headers: {
          'content-type': MEDIA_TYPES.index,
          ...(at < pages && { link: `</v2/listed/referrers/${image.digest}?page=${at + 1}>; rel="next"` }),
        },
        body: JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests }),
      };
    });
    await using registries = await accessTo([proxy.host]);
    await using source = registries.source(parseImageReference(`${proxy.host}/listed`));
    const listed = source.referrers(image.digest);
    if (pages === Infinity) {
      await expect(listed).rejects.toMatchObject({
        code: 'REGISTRY_FAILED',
        message: expect.stringContaining('on more than 64 pages') as string,
      });
    } else {
      expect(await listed).toEqual([page(1), page(2)]);
    }
  });

  test('are left to a registry that has the API', async () => {
    const known: Descriptor[] = [];
    await using proxy = await startFaultProxy(registry.host, ({ method, url }) => {
      if (!url.includes('/referrers/'))
        return method === 'PUT' && url.includes('/manifests/')
          ? { addHeaders: { 'oci-subject': image.digest } }
          : undefined;
      const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: known };
      return { answer: 200, headers: { 'content-type': MEDIA_TYPES.index }, body: JSON.stringify(index) };
    });
    await pushThrough(() => undefined);
    const reference = parseImageReference(`${proxy.host}/push-${counter}`);
    await using registries = await accessTo([proxy.host]);
    await using source = registries.source(reference);
    const document = await source.manifest('1');
    const { config } = JSON.parse(document.bytes.toString()) as { readonly config: Descriptor };
    const note = referrer('api', document.descriptor, config);
    await registries.target(reference).putManifest(note, []);
    known.push({ ...note.descriptor, artifactType: 'test/note' });
    expect(await source.referrers(image.digest)).toEqual(known);
    await expect(source.manifest(`sha256-${image.digest.slice(7)}`)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('go along with a copy, cosign tags too, but for one that was deleted', async () => {
    const [note, deleted] = await write(registry.host, 2);
    const gone = deleted?.descriptor.digest ?? '';
    const url = `http://${registry.host}/v2/push-${counter}/manifests/${gone}`;
    expect((await fetch(url, { method: 'DELETE' })).status).toBe(202);
    const warnings: string[] = [];
    const reporter = createReporter([
      (event) => {
        if (event.type === 'log' && event.level === 'warning') warnings.push(event.message);
      },
    ]);
    const from = parseImageReference(`${registry.host}/push-${counter}:1`);
    await using registries = await accessTo([registry.host]);
    const tag = `sha256-${image.digest.slice(7)}.sig`;
    await using source = registries.source(from);
    await registries.target(from).putManifest(await source.manifest('1'), [tag]);
    await using target = registries.target(parseImageReference(`${registry.host}/copied-${counter}`));
    const copied = await copyImage({
      source,
      reference: '1',
      target,
      names: ['1'],
      reporter,
    });
    expect(copied.referrers).toContain(note?.descriptor.digest);
    expect(copied.referrers).not.toContain(gone);
    expect(warnings).toEqual([expect.stringContaining(`lists ${gone}, which is gone`)]);
    await using back = registries.source(parseImageReference(`${registry.host}/copied-${counter}:1`));
    expect((await back.referrers(image.digest)).map(({ digest }) => digest)).toEqual([
      note?.descriptor.digest,
    ]);
    expect((await back.manifest(tag)).descriptor.digest).toBe(image.digest);
  });
});
