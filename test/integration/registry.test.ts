/** push, pull, copy and inspect against Debian's registry, with skopeo at the other end. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { verifyLayout } from '../../src/oci/layout.ts';
import { run } from '../../src/proc/run.ts';
import { type CliResult, ingot, ingotJson, startIngot } from '../support/cli.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
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

let scratch: string;
let certificate: Certificate;
/** With TLS and credentials. */
let guarded: TestRegistry;
/** Without either. */
let open: TestRegistry;
let image: TestImage;
let env: Record<string, string>;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-push-'));
  certificate = await makeCertificate(scratch);
  [guarded, open] = await Promise.all([startRegistry({ tls: certificate, htpasswd: true }), startRegistry()]);
  image = await makeTestImage(join(scratch, 'image'), [300_000, 0, 3_000_000]);
  await writeAuthFile(join(scratch, 'auth.json'), [guarded.host]);
  env = {
    HOME: scratch,
    INGOT_STORE: join(scratch, 'store'),
    REGISTRY_AUTH_FILE: join(scratch, 'auth.json'),
    CONTAINERS_REGISTRIES_CONF: join(scratch, 'no-registries.conf'),
  };
});

afterAll(async () => {
  await guarded[Symbol.asyncDispose]();
  await open[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

const skopeo = (...args: readonly string[]): Promise<unknown> =>
  run(['skopeo', '--insecure-policy', ...args], {
    env: { REGISTRY_AUTH_FILE: join(scratch, 'auth.json'), HOME: scratch },
  });
const withCa = (): readonly string[] => ['--ca', certificate.cert];
const plain = (): readonly string[] => ['--insecure', open.host];

describe('push', () => {
  test('sends what skopeo reads, and nothing twice', async () => {
    const ref = `${guarded.host}/ai/node`;
    const args = ['push', `oci:${image.layout}`, `${ref}:1.0`, '--tag', 'stable', ...withCa()];
    const first = await ingotJson(args, { env });
    expect(first['images']).toMatchObject([{ digest: image.digest, sent: 4, names: ['1.0', 'stable'] }]);
    const again = await ingotJson(args, { env });
    expect(again['images']).toMatchObject([{ digest: image.digest, sent: 0, sentBytes: 0 }]);
    const target = join(scratch, 'by-skopeo');
    await skopeo(
      'copy',
      '--preserve-digests',
      '--src-tls-verify=false',
      `docker://${ref}:stable`,
      `oci:${target}:1.0`,
    );
    expect((await verifyLayout(target)).size).toBe(5);
  });

  test('goes to several places', async () => {
    const refs = [`${open.host}/several/a:1`, `${open.host}/several/b:2`];
    const { images } = await ingotJson(['push', `oci:${image.layout}`, ...refs, ...plain()], { env });
    expect(images).toMatchObject(refs.map((ref) => ({ ref, digest: image.digest })));
  });

  test('killed in the middle sends what was not there, and no more', async () => {
    const large = await makeTestImage(join(scratch, 'killed'), [9_000_000, 200_000, 400_000]);
    const [biggest] = large.layers;
    const isLargest = (url: string): boolean => url.includes(encodeURIComponent(biggest?.digest ?? ''));
    // The largest layer never gets through at first.
    await using proxy = await startFaultProxy(open.host, ({ method, url }, earlier) =>
      method === 'PUT' && isLargest(url) && !earlier.some((one) => one.method === 'PUT' && isLargest(one.url))
        ? { silent: true }
        : undefined,
    );
    const repository = `${proxy.host}/killed`;
    const args = ['push', `oci:${large.layout}`, `${repository}:1`, '--insecure', proxy.host];
    const started = startIngot(args, { env });
    const url = `http://${open.host}/v2/killed`;
    const others = large.layers.slice(1).map(({ digest }) => `${url}/blobs/${digest}`);
    const isThere = async (address: string): Promise<boolean> =>
      (await fetch(address, { method: 'HEAD' })).status === 200;
    const isAtLargest = (): boolean => proxy.seen.some((one) => one.method === 'PUT' && isLargest(one.url));
    await expect
      .poll(async () => isAtLargest() && (await Promise.all(others.map(isThere))).every(Boolean), {
        timeout: 30_000,
      })
      .toBe(true);
    process.kill(started.pid, 'SIGKILL');
    await started.ended;
    expect(await isThere(`${url}/manifests/1`)).toBe(false);
    const before = proxy.seen.length;
    const { images } = await ingotJson(args, { env });
    expect(images).toMatchObject([{ digest: large.digest }]);
    const sent = proxy.seen
      .slice(before)
      .filter(({ url: to, method }) => method !== 'HEAD' && !to.includes('/manifests/'))
      .map(({ headers }) => Number(headers['content-length'] ?? 0))
      .filter((bytes) => bytes > 0);
    // The configuration may have been on its way, too.
    expect(sent.filter((bytes) => bytes > 10_000)).toEqual([biggest?.size]);
  });

  test('and pull take the same memory, however large the image is', async () => {
    const peakOf = async (args: readonly string[], name: string): Promise<number> => {
      const started = startIngot(args, { env: { ...env, INGOT_STORE: join(scratch, name) } });
      let peak = 0;
      const watch = setInterval(() => {
        try {
          const status = readFileSync(`/proc/${started.pid}/status`, 'utf8');
          peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
        } catch {
          // it has ended
        }
      }, 20);
      const { exitCode, stderr } = await started.ended;
      clearInterval(watch);
      expect([exitCode, exitCode === 0 ? '' : stderr]).toEqual([0, '']);
      return peak;
    };
    const huge = await makeTestImage(join(scratch, 'huge'), [60_000_000, 50_000_000, 40_000_000]);
    const ref = `${open.host}/huge:1`;
    const push = await peakOf(['push', `oci:${huge.layout}`, ref, ...plain()], 'huge-store');
    const pull = await peakOf(['pull', ref, '--output', join(scratch, 'huge-out'), ...plain()], 'huge-store');
    expect(push).toBeGreaterThan(50);
    expect(push).toBeLessThan(200);
    expect(pull).toBeLessThan(200);
    for (const name of ['huge', 'huge-store', 'huge-out']) await rm(join(scratch, name), { recursive: true });
  });

  test.each([
    ['no tag', () => ['push', `oci:${image.layout}`, `${open.host}/x`], 'USAGE', 2],
    ['a digest', () => ['push', `oci:${image.layout}`, `${open.host}/x@${image.digest}`], 'USAGE', 2],
    ['no registry', () => ['push', `oci:${image.layout}`, 'node:1.0'], 'USAGE', 2],
    [
      'no such image',
      () => ['push', `oci:${image.layout}:2.0`, `${open.host}/x:1`, ...plain()],
      'NOT_FOUND',
      1,
    ],
    ['no TLS', () => ['push', `oci:${image.layout}`, `${open.host}/x:1`], 'REGISTRY_UNREACHABLE', 1],
    [
      'an unknown authority',
      () => ['push', `oci:${image.layout}`, `${guarded.host}/x:1`],
      'REGISTRY_UNREACHABLE',
      1,
    ],
    [
      'no such file',
      () => ['push', `oci:${image.layout}`, `${guarded.host}/x:1`, '--ca', '/nowhere'],
      'USAGE',
      2,
    ],
  ])('with %s is refused', async (_name, args, code, exitCode) => {
    const result = await ingot([...args(), '--json'], { env });
    expect({ exitCode: result.exitCode, code: codeOf(result) }).toEqual({ exitCode, code });
  });

  test('with a wrong password, or none, is refused, and the password is shown nowhere', async () => {
    const wrong = join(scratch, 'wrong.json');
    const auth = Buffer.from(`${USER}:not ${PASSWORD}`).toString('base64');
    await writeFile(wrong, JSON.stringify({ auths: { [guarded.host]: { auth } } }));
    const none = join(scratch, 'none.json');
    await writeFile(none, '{}');
    for (const file of [wrong, none]) {
      const args = ['push', `oci:${image.layout}`, `${guarded.host}/x:1`, ...withCa(), '--json', '-v'];
      const result = await ingot(args, { env: { ...env, REGISTRY_AUTH_FILE: file } });
      expect(codeOf(result)).toBe('REGISTRY_DENIED');
      expect(result.stdout + result.stderr).not.toMatch(new RegExp(`${PASSWORD}|${auth}`));
    }
  });
});

test('a credential helper is asked, the server on its stdin', async () => {
  const bin = join(scratch, 'bin');
  await mkdir(bin, { recursive: true });
  const helper = join(bin, 'docker-credential-test');
  const answer = JSON.stringify({ ServerURL: guarded.host, Username: USER, Secret: PASSWORD });
  await writeFile(
    helper,
    `#!/bin/sh\n[ "$*" = get ] && [ "$(cat)" = "${guarded.host}" ] && echo '${answer}' && exit 0\necho 'credentials not found in native keychain'; exit 1\n`,
    { mode: 0o755 },
  );
  const file = join(scratch, 'helpers.json');
  await writeFile(file, JSON.stringify({ credHelpers: { [guarded.host]: 'test' } }));
  const { exitCode } = await ingot(['push', `oci:${image.layout}`, `${guarded.host}/helped:1`, ...withCa()], {
    env: { ...env, REGISTRY_AUTH_FILE: file, PATH: `${bin}:/usr/bin:/bin` },
  });
  expect(exitCode).toBe(0);
});

describe('pull', () => {
  test('gets what skopeo pushed', async () => {
    const ref = `${guarded.host}/from/skopeo:1.0`;
    await skopeo(
      'copy',
      '--preserve-digests',
      '--dest-tls-verify=false',
      `oci:${image.layout}:1.0`,
      `docker://${ref}`,
    );
    const output = join(scratch, 'pulled');
    const { images } = await ingotJson(['pull', ref, '--output', output, ...withCa()], { env });
    expect(images).toMatchObject([{ digest: image.digest, names: ['1.0'] }]);
    expect((await verifyLayout(output)).size).toBe(5);
    // A second layout costs nothing: its blobs are in the store.
    const other = join(scratch, 'pulled-again');
    await ingotJson(['pull', `${guarded.host}/from/skopeo@${image.digest}`, '--output', other, ...withCa()], {
      env,
    });
    const [layer] = image.layers;
    expect((await stat(join(other, 'blobs/sha256', layer?.digest.slice(7) ?? ''))).nlink).toBeGreaterThan(2);
  });

  test('killed in the middle goes on where it was', async () => {
    const large = await makeTestImage(join(scratch, 'large'), [24_000_000]);
    await ingotJson(['push', `oci:${large.layout}`, `${open.host}/large:1`, ...plain()], { env });
    const [layer] = large.layers;
    const hex = layer?.digest.slice(7) ?? '';
    // The first answer stops in the middle and stays open.
    await using proxy = await startFaultProxy(open.host, ({ method, url }, earlier) => {
      if (method !== 'GET' || !url.includes(hex)) return undefined;
      return earlier.some((one) => one.method === 'GET' && one.url === url)
        ? undefined
        : { stallAnswerAfter: 9_000_000 };
    });
    const output = join(scratch, 'resumed');
    const store = join(scratch, 'resumed-store');
    const args = ['pull', `${proxy.host}/large:1`, '--output', output, '--insecure', proxy.host];
    const started = startIngot(args, { env: { ...env, INGOT_STORE: store } });
    const partial = join(store, 'blobs/partial', hex);
    await expect
      .poll(
        () =>
          stat(partial).then(
            (file) => file.size,
            () => 0,
          ),
        { timeout: 30_000 },
      )
      .toBeGreaterThan(8_000_000);
    process.kill(started.pid, 'SIGKILL');
    await started.ended;
    await expect(stat(output)).rejects.toMatchObject({ code: 'ENOENT' });
    await ingotJson(args, { env: { ...env, INGOT_STORE: store } });
    expect((await verifyLayout(output)).size).toBe(3);
    const ranges = proxy.seen.filter(({ url }) => url.includes(hex)).map(({ headers }) => headers.range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.at(-1)).toMatch(/^bytes=[89]\d{6}-/);
    expect(await readdir(join(store, 'blobs/partial'))).toEqual([]);
  });

  test('asks mirrors first, and believes them nothing', async () => {
    await ingotJson(['push', `oci:${image.layout}`, `${open.host}/mirrored/node:1`, ...plain()], { env });
    await using mirror = await startFaultProxy(open.host, ({ url }) =>
      url.includes('/blobs/') ? { change: (bytes) => Buffer.from(bytes.map((byte) => byte ^ 1)) } : undefined,
    );
    const conf = join(scratch, 'registries.conf');
    await writeFile(
      conf,
      `[[registry]]\nprefix = "registry.example.com/ai"\nlocation = "${open.host}/mirrored"\ninsecure = true\n` +
        `[[registry.mirror]]\nlocation = "${mirror.host}/mirrored"\ninsecure = true\n`,
    );
    const output = join(scratch, 'from-mirror');
    const { images } = await ingotJson(['pull', 'registry.example.com/ai/node:1', '--output', output], {
      env: { ...env, INGOT_STORE: join(scratch, 'mirror-store'), CONTAINERS_REGISTRIES_CONF: conf },
    });
    expect(images).toMatchObject([{ digest: image.digest }]);
    expect((await verifyLayout(output)).size).toBe(5);
    expect(mirror.seen.filter(({ url }) => url.includes('/blobs/')).length).toBeGreaterThan(0);
  });
});

describe('copy', () => {
  test('takes blobs over within a registry', async () => {
    await ingotJson(['push', `oci:${image.layout}`, `${guarded.host}/one/node:1`, ...withCa()], { env });
    const args = ['copy', `${guarded.host}/one/node:1`, `${guarded.host}/two/node:1`, ...withCa()];
    expect((await ingotJson(args, { env }))['images']).toMatchObject([
      { mounted: 4, sent: 0, digest: image.digest },
    ]);
  });

  test('goes through an archive and another registry, and the digest stays', async () => {
    const archive = join(scratch, 'node.tar');
    await ingotJson(['copy', `oci:${image.layout}:1.0`, `oci-archive:${archive}:1.0`], { env });
    await skopeo('inspect', '--raw', `oci-archive:${archive}:1.0`);
    await ingotJson(['copy', `oci-archive:${archive}`, `${open.host}/archived:1`, ...plain()], { env });
    const across = ['copy', `${open.host}/archived:1`, `${guarded.host}/across:1`, ...plain(), ...withCa()];
    expect((await ingotJson(across, { env }))['images']).toMatchObject([{ sent: 4, digest: image.digest }]);
    const output = join(scratch, 'unarchived');
    await ingotJson(['copy', `oci-archive:${archive}:1.0`, `oci:${output}:2.0`], { env });
    expect((await verifyLayout(output)).size).toBe(5);
  });
});

test('inspect tells what an image is', async () => {
  await ingotJson(['push', `oci:${image.layout}`, `${guarded.host}/seen:1`, ...withCa()], { env });
  const seen = await ingotJson(['inspect', `${guarded.host}/seen:1`, ...withCa()], { env });
  expect(seen).toMatchObject({
    digest: image.digest,
    layers: image.layers,
    config: { os: 'linux' },
    referrers: [],
  });
  const { stdout } = await ingot(['inspect', `oci:${image.layout}`], { env });
  expect(stdout).toContain(image.digest);
  const raw = join(
    guarded.root,
    'data/docker/registry/v2/blobs/sha256',
    image.digest.slice(7, 9),
    image.digest.slice(7),
    'data',
  );
  expect((await readFile(raw)).length).toBeGreaterThan(100);
});

function codeOf({ stdout }: CliResult): unknown {
  return (JSON.parse(stdout) as { readonly error?: { readonly code?: string } }).error?.code;
}
