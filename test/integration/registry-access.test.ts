/** Ways to registries: who we are, whom we trust, proxies, mirrors, and what follows us to other hosts. */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { digestOf } from '../../src/digest.ts';
import type { ImageSource } from '../../src/oci/image-transfer.ts';
import { LayoutSource } from '../../src/oci/layout-source.ts';
import { parseImageReference } from '../../src/oci/reference.ts';
import { RegistryAccess, type RegistryAccessOptions } from '../../src/oci/registry/access.ts';
import { MEDIA_TYPES } from '../../src/oci/schema.ts';
import { copyImage } from '../../src/publish/copy-image.ts';
import { silentReporter } from '../../src/report/events.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { startForwardProxy } from '../support/forward-proxy.ts';
import {
  type Certificate,
  makeCertificate,
  PASSWORD,
  startRegistry,
  type TestRegistry,
  USER,
  writeAuthFile,
} from '../support/registry.ts';
import { makeTestImage, type TestImage } from '../support/test-image.ts';
import { startTokenServer } from '../support/token-server.ts';

const MIB = 1024 * 1024;
let scratch: string;
let certificate: Certificate;
/** With TLS and credentials. */
let guarded: TestRegistry;
/** Without either. */
let open: TestRegistry;
let image: TestImage;
let count = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-access-'));
  certificate = await makeCertificate(scratch);
  [guarded, open] = await Promise.all([startRegistry({ tls: certificate, htpasswd: true }), startRegistry()]);
  image = await makeTestImage(join(scratch, 'image'), [3 * MIB, 1000]);
  await writeAuthFile(join(scratch, 'auth.json'), [guarded.host]);
});
afterAll(async () => {
  await guarded[Symbol.asyncDispose]();
  await open[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

/** A home of its own, with nothing in it. */
async function newHome(): Promise<string> {
  return mkdtemp(join(scratch, 'home-'));
}

async function access(
  env: Readonly<Record<string, string>>,
  options: Omit<RegistryAccessOptions, 'env'> = {},
): Promise<RegistryAccess> {
  const all = { HOME: await newHome(), CONTAINERS_REGISTRIES_CONF: join(scratch, 'none'), ...env };
  return RegistryAccess.open({ env: all, pace: 0.01, partBytes: MIB, ...options });
}

const authFile = (): Readonly<Record<string, string>> => ({ REGISTRY_AUTH_FILE: join(scratch, 'auth.json') });

/** Pushes the image as `1` into a repository of its own, and reads it back. */
async function pushAndPull(
  registries: RegistryAccess,
  host: string,
  from?: (source: ImageSource) => ImageSource,
): Promise<string> {
  count += 1;
  const repository = `${host}/access/image-${count}`;
  const reference = parseImageReference(`${repository}:1`);
  await using layout = await LayoutSource.open(image.layout);
  await using target = registries.target(reference);
  const source = from?.(layout) ?? layout;
  await copyImage({ source, reference: '1.0', target, names: ['1'], reporter: silentReporter });
  await pull(registries, repository);
  return repository;
}

async function pull(registries: RegistryAccess, repository: string): Promise<void> {
  await using source = registries.source(parseImageReference(`${repository}:1`));
  expect((await source.manifest('1')).descriptor.digest).toBe(image.digest);
  for (const layer of image.layers) for await (const _chunk of source.blob(layer));
}

describe('who we are', () => {
  test('an identity token gets tokens that the registry verifies', async () => {
    await using tokens = await startTokenServer({
      certificate,
      accepts: ({ method, form }) => method === 'POST' && form.get('refresh_token') === 'long lived',
    });
    await using registry = await startRegistry({ settings: tokens.settings });
    const file = join(scratch, 'identity.json');
    await writeFile(file, JSON.stringify({ auths: { [registry.host]: { identitytoken: 'long lived' } } }));
    await using registries = await access({ REGISTRY_AUTH_FILE: file }, { insecure: [registry.host] });
    await pushAndPull(registries, registry.host);
    const forms = tokens.requests.map(({ form }) => Object.fromEntries(form));
    expect(forms[0]).toMatchObject({ grant_type: 'refresh_token', service: 'test registry' });
    expect(new Set(forms.map(({ scope }) => scope))).toEqual(
      new Set([`repository:access/image-${count}:pull,push`, `repository:access/image-${count}:pull`]),
    );
    expect(tokens.requests.map(({ url, authorization }) => [url, authorization])).not.toContainEqual([
      expect.anything(),
      expect.stringContaining('Basic'),
    ]);

    await writeFile(file, JSON.stringify({ auths: { [registry.host]: { identitytoken: 'another' } } }));
    await using wrong = await access({ REGISTRY_AUTH_FILE: file }, { insecure: [registry.host] });
    await expect(pushAndPull(wrong, registry.host)).rejects.toMatchObject({
      code: 'REGISTRY_DENIED',
      message: expect.not.stringContaining('another') as string,
    });
  });

  test('a token that runs out in the middle of an upload is renewed', async () => {
    const isPaused = { yet: false };
    // The registry takes a token for 60 seconds more than it says.
    const lifeSeconds = (): number => (isPaused.yet ? 300 : -58);
    await using tokens = await startTokenServer({ certificate, accepts: () => true, lifeSeconds });
    await using registry = await startRegistry({ settings: tokens.settings });
    await using registries = await access({}, { insecure: [registry.host] });
    let chunks = 0;
    let before = Infinity;
    await pushAndPull(registries, registry.host, (source) => ({
      shown: source.shown,
      manifest: (reference) => source.manifest(reference),
      referrers: (subject) => source.referrers(subject),
      blob: async function* (blob) {
        for await (const chunk of source.blob(blob)) {
          chunks += 1;
          if (chunks === 3) {
            // In a part of the large layer: the next one comes with a token that is too old.
            isPaused.yet = true;
            before = tokens.requests.length;
            await sleep(3200);
          }
          yield chunk;
        }
      },
      [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
    }));
    expect(tokens.requests.slice(before).some(({ url }) => url.includes('push'))).toBe(true);
  });

  test('a blob of a repository that nobody gives a token for is sent instead of mounted', async () => {
    const scopesOf = (url: string): readonly string[] =>
      new URL(url, 'http://tokens').searchParams.getAll('scope');
    await using tokens = await startTokenServer({
      certificate,
      // For one repository at a time.
      accepts: ({ url }) => scopesOf(url).length === 1,
    });
    await using registry = await startRegistry({ settings: tokens.settings });
    await using registries = await access({}, { insecure: [registry.host] });
    const repository = await pushAndPull(registries, registry.host);
    await using source = registries.source(parseImageReference(`${repository}:1`));
    const copy = `${registry.host}/access/copy`;
    await using target = registries.target(parseImageReference(`${copy}:1`));
    await copyImage({ source, reference: '1', target, names: ['1'], reporter: silentReporter });
    await pull(registries, copy);
    expect(tokens.requests.some(({ url }) => scopesOf(url).length === 2)).toBe(true);
  });

  test.each([
    ['an entry', { auths: { HOST: { auth: Buffer.from(`${USER}:${PASSWORD}`).toString('base64') } } }],
    ['a credential store', { credsStore: 'access-test' }],
  ])('%s of Docker’s config.json counts', async (_name, config) => {
    const bin = await mkdtemp(join(scratch, 'bin-'));
    const answer = JSON.stringify({ ServerURL: guarded.host, Username: USER, Secret: PASSWORD });
    const helper = `#!/bin/sh\n[ "$(cat)" = "${guarded.host}" ] && echo '${answer}'\n`;
    await writeFile(join(bin, 'docker-credential-access-test'), helper, { mode: 0o755 });
    const docker = await newHome();
    const text = JSON.stringify(config).replace('HOST', guarded.host);
    await writeFile(join(docker, 'config.json'), text);
    const env = { DOCKER_CONFIG: docker, PATH: `${bin}:/usr/bin:/bin` };
    await using registries = await access(env, { ca: [certificate.cert] });
    await pushAndPull(registries, guarded.host);
  });
});

describe('whom we trust', () => {
  async function withFiles(host: string, files: Readonly<Record<string, string>>): Promise<RegistryAccess> {
    const HOME = await newHome();
    const folder = join(HOME, '.config/containers/certs.d', host);
    await mkdir(folder, { recursive: true });
    for (const [name, from] of Object.entries(files)) await copyFile(from, join(folder, name));
    return access({ ...authFile(), HOME });
  }

  test('an authority in certs.d counts for its host alone', async () => {
    await using registries = await withFiles(guarded.host, { 'ca.crt': certificate.cert });
    await pushAndPull(registries, guarded.host);
    await using others = await withFiles('127.0.0.1:1', { 'ca.crt': certificate.cert });
    await expect(pushAndPull(others, guarded.host)).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
      message: expect.stringContaining('is not trusted') as string,
      hint: expect.stringContaining('--ca FILE') as string,
    });
  });

  test('a certificate of ours in certs.d is shown to a registry that wants one', async () => {
    await using registry = await startRegistry({ tls: certificate, clientAuthority: certificate.cert });
    const ca = { 'ca.crt': certificate.cert };
    const own = { 'client.cert': certificate.cert, 'client.key': certificate.key };
    await using registries = await withFiles(registry.host, { ...ca, ...own });
    await pushAndPull(registries, registry.host);
    await using nobody = await withFiles(registry.host, ca);
    await expect(pushAndPull(nobody, registry.host)).rejects.toMatchObject({
      code: 'REGISTRY_DENIED',
      message: expect.stringContaining('wants a certificate') as string,
      hint: expect.stringContaining('.cert') as string,
    });
  });

  test.each([
    [
      'a certificate that is none',
      { 'own.cert': 'broken', 'own.key': 'key' },
      /own\.cert holds no certificate/,
    ],
    ['a key that is none', { 'own.cert': 'cert', 'own.key': 'broken' }, /own\.key holds no private key/],
    [
      'a key of another certificate',
      { 'own.cert': 'cert', 'own.key': 'other' },
      /own\.key is not the key of .*own\.cert/,
    ],
  ])('of our own, %s is refused and named', async (_name, kinds, message) => {
    const broken = join(scratch, 'broken.pem');
    await writeFile(broken, '-----BEGIN CERTIFICATE-----\nMIIB!\n-----END CERTIFICATE-----\n');
    const folder = await mkdtemp(join(scratch, 'other-'));
    const other = await makeCertificate(folder);
    const paths: Readonly<Record<string, string>> = {
      broken,
      cert: certificate.cert,
      key: certificate.key,
      other: other.key,
    };
    const files = Object.entries(kinds).map(([name, kind]) => [name, paths[kind] ?? '']);
    await using registries = await withFiles(
      guarded.host,
      Object.fromEntries(files) as Record<string, string>,
    );
    await expect(pushAndPull(registries, guarded.host)).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(message) as string,
    });
  });

  test('an authority that is cut short is refused with its line', async () => {
    const whole = await readFile(certificate.cert, 'utf8');
    const path = join(scratch, 'cut.pem');
    await writeFile(path, `${whole}${whole.slice(0, 200)}`);
    const line = whole.split('\n').length;
    await expect(access(authFile(), { ca: [path] })).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining(`${path}:${line}: `) as string,
    });
  });

  test('a host that is nowhere is said to be', async () => {
    await using registries = await access({});
    await expect(pushAndPull(registries, 'registry.invalid')).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
      message: expect.stringContaining('registry.invalid cannot be found') as string,
    });
  });
});

describe('proxies', () => {
  test('lead to a registry with TLS, whose credentials they do not see', async () => {
    const basic = `Basic ${Buffer.from('me:a word').toString('base64')}`;
    await using proxy = await startForwardProxy(basic);
    const ca = [certificate.cert];
    const through = { ...authFile(), HTTPS_PROXY: `http://me:a%20word@${proxy.host}` };
    await using registries = await access(through, { ca });
    const repository = await pushAndPull(registries, guarded.host);
    expect(proxy.seen.length).toBeGreaterThan(0);
    expect(new Set(proxy.seen.map(({ line }) => line))).toEqual(new Set([`CONNECT ${guarded.host}`]));
    const before = proxy.seen.length;
    await using past = await access({ ...through, NO_PROXY: 'example.com,127.0.0.1' }, { ca });
    await pull(past, repository);
    expect(proxy.seen).toHaveLength(before);
  });

  test('that refuse us, or are not there, are named', async () => {
    await using proxy = await startForwardProxy('Basic whoever');
    const ca = [certificate.cert];
    const refused = await access({ ...authFile(), https_proxy: `http://me:secret@${proxy.host}` }, { ca });
    await using _refused = refused;
    await expect(pushAndPull(refused, guarded.host)).rejects.toMatchObject({
      code: 'REGISTRY_UNREACHABLE',
      message: expect.stringMatching(/^(?!.*secret).*proxy.*407/) as string,
    });
    await using absent = await access({ ...authFile(), https_proxy: 'http://127.0.0.1:1' }, { ca });
    await expect(pushAndPull(absent, guarded.host)).rejects.toMatchObject({ code: 'REGISTRY_UNREACHABLE' });
  });

  test('lead to a registry without TLS', async () => {
    await using proxy = await startForwardProxy();
    const env = { http_proxy: `http://${proxy.host}` };
    await using registries = await access(env, { insecure: [open.host] });
    await pushAndPull(registries, open.host);
    expect(proxy.seen.map(({ line }) => line)).toContain(
      `GET http://${open.host}/v2/access/image-${count}/manifests/1`,
    );
  });
});

describe('mirrors', () => {
  test.each([
    ['is not there', () => Promise.resolve({ host: '127.0.0.1:1', seen: [] })],
    ['lacks the image', () => startFaultProxy(open.host, () => ({ answer: 404 }))],
    ['fails', () => startFaultProxy(open.host, () => ({ answer: 500 }))],
    ['wants credentials', () => startFaultProxy(open.host, () => ({ answer: 401 }))],
  ])('one that %s is passed over, and never told who we are', async (_name, start) => {
    await using at = await access(authFile(), { ca: [certificate.cert] });
    const repository = await pushAndPull(at, guarded.host);
    const mirror = await start();
    const conf = join(await newHome(), 'registries.conf');
    await writeFile(
      conf,
      `[[registry]]\nlocation = "${guarded.host}"\n` +
        `[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n`,
    );
    const env = { ...authFile(), CONTAINERS_REGISTRIES_CONF: conf };
    await using registries = await access(env, { ca: [certificate.cert] });
    await pull(registries, repository);
    expect(mirror.seen.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
    if ('seen' in mirror && mirror.host !== '127.0.0.1:1') expect(mirror.seen.length).toBeGreaterThan(0);
    if (Symbol.asyncDispose in mirror) await mirror[Symbol.asyncDispose]();
  });

  /** @param host of the registry that the mirror stands for */
  async function mirrored(host: string, mirror: string): Promise<RegistryAccess> {
    const conf = join(await newHome(), 'registries.conf');
    const [registry, at] = [host, mirror].map((one) => `location = "${one}"\ninsecure = true\n`);
    await writeFile(conf, `[[registry]]\n${registry ?? ''}[[registry.mirror]]\n${at ?? ''}`);
    return access({ CONTAINERS_REGISTRIES_CONF: conf });
  }

  test('one that gives everybody a token is used', async () => {
    await using direct = await access({}, { insecure: [open.host] });
    const repository = await pushAndPull(direct, open.host);
    await using mirror = await startFaultProxy(open.host, ({ url, headers }) => {
      if (url.startsWith('/token')) return { answer: 200, body: JSON.stringify({ token: 'anybody' }) };
      if (headers.authorization === 'Bearer anybody') return undefined;
      const challenge = `Bearer realm="http://${mirror.host}/token",service="mirror"`;
      return { answer: 401, headers: { 'www-authenticate': challenge } };
    });
    const absent = '127.0.0.1:1';
    await using registries = await mirrored(absent, mirror.host);
    await pull(registries, repository.replace(open.host, absent));
  });

  test('one that cuts every blob is left for the registry', async () => {
    await using direct = await access({}, { insecure: [open.host] });
    const repository = await pushAndPull(direct, open.host);
    const isBlob = ({ url }: { readonly url: string }): boolean => url.includes('/blobs/');
    await using mirror = await startFaultProxy(open.host, (request) =>
      isBlob(request) ? { cutAnswerAfter: 0 } : undefined,
    );
    await using registry = await startFaultProxy(open.host, () => undefined);
    await using registries = await mirrored(registry.host, mirror.host);
    await pull(registries, repository.replace(open.host, registry.host));
    expect(mirror.seen.filter(isBlob)).toHaveLength(1);
    expect(registry.seen.every(isBlob)).toBe(true);
    expect(registry.seen).toHaveLength(image.layers.length);
  });
});

test.each(['plain HTTP', 'TLS'])(
  'the memory of what was taken of a download is given back: %s',
  async (kind) => {
    const host = kind === 'TLS' ? guarded.host : open.host;
    await using registries = await access(authFile(), { ca: [certificate.cert], insecure: [open.host] });
    const repository = await pushAndPull(registries, host);
    await using source = registries.source(parseImageReference(`${repository}:1`));
    const [layer] = image.layers;
    if (layer === undefined) throw new Error('nothing to read');
    let bytes = 0;
    let earlier: readonly Buffer[] = [];
    for await (const batch of source.blobBatches(layer)) {
      // Pieces of a few bytes are left to the collector.
      expect(earlier.filter(({ length }) => length > 4096)).toEqual([]);
      bytes += batch.reduce((sum, { length }) => sum + length, 0);
      earlier = batch;
    }
    expect(bytes).toBe(layer.size);
  },
);

test('an upload that goes on at another host takes no credentials along', async () => {
  await using elsewhere = await startFaultProxy(open.host, () => undefined);
  await using proxy = await startFaultProxy(open.host, ({ method, headers }) => {
    if (headers.authorization === undefined)
      return { answer: 401, headers: { 'www-authenticate': 'Basic realm="test"' } };
    const changeHeaders = (sent: object): Record<string, string> =>
      Object.fromEntries(
        Object.entries(sent).map(([name, value]) => [
          name,
          name === 'location' ? String(value).replace(proxy.host, elsewhere.host) : String(value),
        ]),
      );
    return method === 'POST' ? { changeHeaders } : undefined;
  });
  const file = join(scratch, 'elsewhere.json');
  await writeAuthFile(file, [proxy.host]);
  const env = { REGISTRY_AUTH_FILE: file };
  await using registries = await access(env, { insecure: [proxy.host] });
  await pushAndPull(registries, proxy.host);
  expect(elsewhere.seen.map(({ method }) => method)).toContain('PATCH');
  expect(elsewhere.seen.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
});

test('a manifest that registries do not take is not sent', async () => {
  await using registries = await access({}, { insecure: [open.host] });
  await using target = registries.target(parseImageReference(`${open.host}/access/huge:1`));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, padding: 'x'.repeat(4 * MIB) }));
  const descriptor = { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length };
  await expect(target.putManifest({ descriptor, bytes }, ['1'])).rejects.toMatchObject({
    code: 'IMAGE_INVALID',
    message: expect.stringContaining('registries take 4 MiB') as string,
  });
});
