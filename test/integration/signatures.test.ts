/** Signatures: cosign and skopeo of Debian sid verify ours, and we verify theirs. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { digestOf } from '../../src/digest.ts';
import { run, type RunResult } from '../../src/proc/run.ts';
import { cosignPublicKeyArgv, cosignSignBlobArgv } from '../../src/tools/cosign.ts';
import { isSignedBy, parsePublicKey } from '../../src/trust/public-key.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { startReferrersProxy } from '../support/referrers-proxy.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { type SidTools, sidTools } from '../support/sid-tools.ts';
import { packLayer, writeSmallImage, writeTree } from '../support/small-image.ts';
import { makeTestImage } from '../support/test-image.ts';
import { makeTestIndex, type TestIndex } from '../support/test-index.ts';

const PASSWORD = 'correct horse';
const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);

let scratch: string;
let registry: TestRegistry;
let tools: SidTools;
let index: TestIndex;
let env: Record<string, string>;
let count = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-signatures-'));
  [registry, tools, index] = await Promise.all([
    startRegistry(),
    sidTools(['cosign', 'skopeo']),
    makeTestIndex(join(scratch, 'images')),
  ]);
  env = { HOME: scratch, INGOT_STORE: join(scratch, 'store'), COSIGN_PASSWORD: PASSWORD };
  await ingotJson(['key', 'new', 'ours'], { env, cwd: scratch });
  await cosign('generate-key-pair', '--output-key-prefix', 'theirs');
  await cosign('signing-config', 'create', '--out', 'no-servers.json');
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

/** Whatever it answers. */
function tryTool(program: string, ...args: readonly string[]): Promise<RunResult> {
  return run(tools.argv(program, ...args), {
    cwd: scratch,
    env: { HOME: scratch, COSIGN_PASSWORD: PASSWORD },
    okExitCodes: ANY_EXIT,
  });
}

async function cosign(...args: readonly string[]): Promise<RunResult> {
  const result = await tryTool('cosign', ...args);
  if (result.exitCode !== 0) throw new Error(`cosign ${args.join(' ')}: ${result.stderr}`);
  return result;
}

const cosignVerify = (key: string, ref: string, ...more: readonly string[]): Promise<RunResult> =>
  tryTool('cosign', 'verify', '--key', key, '--insecure-ignore-tlog', '--allow-http-registry', ...more, ref);

/** Signed and pushed to a repository of its own, as `1.0` and `stable`. */
async function pushSigned(key: string | undefined, host = registry.host): Promise<string> {
  count += 1;
  const repository = `${host}/signed/image-${count}`;
  const signing = key === undefined ? [] : ['--key', join(scratch, key)];
  const args = [
    'push',
    `oci:${index.layout}:1.0`,
    `${repository}:1.0`,
    '--tag',
    'stable',
    '--insecure',
    host,
  ];
  await ingotJson([...args, ...signing], { env });
  return repository;
}

const verify = (ref: string, ...more: readonly string[]): ReturnType<typeof ingot> =>
  ingot(['verify', ref, '--insecure', ref.split('/')[0] ?? '', ...more, '--json'], { env, cwd: scratch });

/** Copies with a policy that asks for `key` below this registry. */
async function skopeoCopy(ref: string, key: string, more: readonly string[] = []): Promise<RunResult> {
  const folder = await mkdtemp(join(scratch, 'policy-'));
  const requirement = { type: 'sigstoreSigned', keyPath: join(scratch, key) };
  const transports = { docker: { [registry.host]: [requirement] } };
  await writeFile(join(folder, 'policy.json'), JSON.stringify({ default: [{ type: 'reject' }], transports }));
  await mkdir(join(folder, 'registries.d'));
  await writeFile(
    join(folder, 'registries.d/all.yaml'),
    `docker:\n  ${registry.host}:\n    use-sigstore-attachments: true\n`,
  );
  return tryTool(
    'skopeo',
    ...['--policy', join(folder, 'policy.json'), '--registries.d', join(folder, 'registries.d')],
    ...['copy', '--src-tls-verify=false', ...more],
    ...[`docker://${ref}`, `dir:${join(folder, 'copied')}`],
  );
}

describe('what we sign', () => {
  let repository: string;
  beforeAll(async () => {
    repository = await pushSigned('ours.key');
  });

  test('cosign verifies, by the bundle and by the older form, the index and its images', async () => {
    for (const digest of [index.digest, ...index.images]) {
      const ref = `${repository}@${digest}`;
      const bundle = await cosignVerify('ours.pub', ref);
      expect(bundle.exitCode, bundle.stderr).toBe(0);
      expect(bundle.stdout).toContain(digest);
      const older = await cosignVerify('ours.pub', ref, '--new-bundle-format=false');
      expect(older.exitCode, older.stderr).toBe(0);
      expect(older.stdout).toContain(`${repository}:1.0`);
    }
    expect((await cosignVerify('theirs.pub', `${repository}@${index.digest}`)).exitCode).not.toBe(0);
  });

  test.each(['1.0', 'stable'])('skopeo pulls as %s by a policy', async (tag) => {
    const copied = await skopeoCopy(`${repository}:${tag}`, 'ours.pub');
    expect(copied.exitCode, copied.stderr).toBe(0);
    const all = await skopeoCopy(`${repository}:${tag}`, 'ours.pub', ['--all']);
    expect(all.exitCode, all.stderr).toBe(0);
    expect((await skopeoCopy(`${repository}:${tag}`, 'theirs.pub')).exitCode).not.toBe(0);
  });

  test('we verify, in both forms, and say by which key', async () => {
    const result = await verify(`${repository}:stable`, '--key', 'ours.pub');
    const { fingerprint } = await ingotJson(['key', 'show', 'ours.pub'], { env, cwd: scratch });
    expect(JSON.parse(result.stdout)).toMatchObject({
      verdict: 'trusted',
      digest: index.digest,
      manifests: [...index.images, index.digest].map((digest) => ({
        digest,
        accepted: [
          { form: 'bundle', key: fingerprint, identity: repository },
          { form: 'simple-signing', key: fingerprint, identity: `${repository}:1.0` },
          { form: 'simple-signing', key: fingerprint, identity: `${repository}:stable` },
        ],
        refused: [],
      })),
    });
  });

  test('is not signed again with the same key, and keeps what another signed', async () => {
    const tags = await readTag(repository, index.digest);
    const again = await ingotJson(
      ['sign', `${repository}:1.0`, '--key', 'ours.key', '--insecure', registry.host],
      { env, cwd: scratch },
    );
    expect(again['manifests']).toEqual(
      [...index.images, index.digest].map((digest) => ({
        digest,
        added: { bundle: false, simpleSignatures: 0, attestations: [] },
      })),
    );
    expect(await readTag(repository, index.digest)).toBe(tags);
    await ingotJson(['sign', `${repository}:1.0`, '--key', 'theirs.key', '--insecure', registry.host], {
      env,
      cwd: scratch,
    });
    for (const key of ['ours.pub', 'theirs.pub']) {
      expect((await verify(`${repository}:1.0`, '--key', key)).exitCode).toBe(0);
      expect((await skopeoCopy(`${repository}:1.0`, key)).exitCode).toBe(0);
    }
  });

  test('goes along into an archive and back, and is verified there', async () => {
    const archive = join(scratch, 'signed.tar');
    await ingotJson(
      ['copy', `${repository}:1.0`, `oci-archive:${archive}:1.0`, '--insecure', registry.host],
      { env },
    );
    const named = ['verify', `oci-archive:${archive}`, '--key', join(scratch, 'ours.pub')];
    expect(await ingotJson(named, { env })).toMatchObject({ verdict: 'trusted', digest: index.digest });
    expect(await ingotJson([...named, '--as', repository], { env })).toMatchObject({ verdict: 'trusted' });
    const other = await ingot([...named, '--as', `${registry.host}/another`, '--json'], { env });
    expect(other.exitCode).toBe(1);
    const back = `${registry.host}/signed/back:1.0`;
    await ingotJson(['copy', `oci-archive:${archive}`, back, '--insecure', registry.host], { env });
    // Signed for another repository: whoever moved it here has no say in that.
    expect((await verify(back, '--key', 'ours.pub')).exitCode).toBe(1);
    expect((await verify(back, '--key', 'ours.pub', '--as', repository)).exitCode).toBe(0);
  });
});

async function readTag(repository: string, digest: string): Promise<string> {
  const url = `http://${repository.replace('/', '/v2/')}/manifests/${digest.replace(':', '-')}.sig`;
  const answer = await fetch(url, { headers: { accept: 'application/vnd.oci.image.manifest.v1+json' } });
  return answer.text();
}

describe('what cosign signs', () => {
  const newForm = ['--signing-config', 'no-servers.json'];
  const oldForm = ['--new-bundle-format=false', '--use-signing-config=false', '--tlog-upload=false'];
  const sign = (ref: string, more: readonly string[]): Promise<RunResult> =>
    cosign('sign', '-y', '--allow-http-registry', '--recursive', '--key', 'theirs.key', ...more, ref);

  test.each([
    ['as a bundle', newForm, 'bundle'],
    ['in the older form', oldForm, 'simple-signing'],
  ])('%s, we verify', async (_name, flags, form) => {
    const repository = await pushSigned(undefined);
    await sign(`${repository}@${index.digest}`, flags);
    const result = await verify(`${repository}:1.0`, '--key', 'theirs.pub');
    expect(result.exitCode, result.stdout).toBe(0);
    const { manifests } = JSON.parse(result.stdout) as {
      manifests: { digest: string; accepted: object[] }[];
    };
    expect(manifests.find(({ digest }) => digest === index.digest)?.accepted).toMatchObject([{ form }]);
    const other = await verify(`${repository}:1.0`, '--key', 'ours.pub');
    expect(other.exitCode).toBe(1);
    expect(JSON.parse(other.stdout)).toMatchObject({
      verdict: 'refused',
      manifests: [{}, {}, { refused: [{ reason: 'key' }] }],
    });
  });

  test('stays when we sign too', async () => {
    const repository = await pushSigned(undefined);
    await sign(`${repository}@${index.digest}`, oldForm);
    await sign(`${repository}@${index.digest}`, newForm);
    await ingotJson(['sign', `${repository}:1.0`, '--key', 'ours.key', '--insecure', registry.host], {
      env,
      cwd: scratch,
    });
    for (const more of [[], ['--new-bundle-format=false']]) {
      for (const key of ['ours.pub', 'theirs.pub']) {
        expect((await cosignVerify(key, `${repository}@${index.digest}`, ...more)).exitCode).toBe(0);
      }
    }
  });

  test('with the referrers API, we verify', async () => {
    await using proxy = await startReferrersProxy(registry.host);
    const repository = await pushSigned(undefined, proxy.host);
    await sign(`${repository}@${index.digest}`, newForm);
    expect((await verify(`${repository}:1.0`, '--key', 'theirs.pub')).exitCode).toBe(0);
    await ingotJson(['sign', `${repository}:1.0`, '--key', 'ours.key', '--insecure', proxy.host], {
      env,
      cwd: scratch,
    });
    expect((await cosignVerify('ours.pub', `${repository}@${index.digest}`)).exitCode).toBe(0);
    expect((await readTag(repository, index.digest)).includes(registry.host)).toBe(false);
  });
});

test('an image that nobody signed is refused by skopeo and by us', async () => {
  const repository = await pushSigned(undefined);
  expect((await skopeoCopy(`${repository}:1.0`, 'ours.pub')).stderr).toContain('signature');
  const result = await verify(`${repository}:1.0`, '--key', 'ours.pub');
  expect(result.exitCode).toBe(1);
  expect(JSON.parse(result.stdout)).toMatchObject({ verdict: 'refused', digest: index.digest });
});

test('an attestation of cosign’s is no signature, and counts as what it is', async () => {
  const repository = await pushSigned(undefined);
  const ref = `${repository}@${index.digest}`;
  await writeFile(join(scratch, 'predicate.json'), '{"buildDefinition":{}}');
  await cosign(
    ...[
      'attest',
      '-y',
      '--allow-http-registry',
      '--key',
      'theirs.key',
      '--signing-config',
      'no-servers.json',
    ],
    ...['--type', 'slsaprovenance1', '--predicate', 'predicate.json', ref],
  );
  const asSignature = await verify(`${repository}:1.0`, '--key', 'theirs.pub');
  expect(asSignature.exitCode).toBe(1);
  await ingotJson(['sign', `${repository}:1.0`, '--key', 'theirs.key', '--insecure', registry.host], {
    env,
    cwd: scratch,
  });
  const attested = await verify(`${repository}:1.0`, '--key', 'theirs.pub', '--type', 'slsaprovenance1');
  expect(attested.exitCode, attested.stdout).toBe(0);
  const { manifests } = JSON.parse(attested.stdout) as { manifests: { attestations: object[] }[] };
  expect(manifests.at(-1)?.attestations).toMatchObject([
    { predicateType: 'https://slsa.dev/provenance/v1', predicate: { buildDefinition: {} } },
  ]);
  expect((await verify(`${repository}:1.0`, '--key', 'theirs.pub', '--type', 'cyclonedx')).exitCode).toBe(1);
});

test('what a pushed image was built from is attested, and cosign verifies that', async () => {
  const lock = digestOf('a lock');
  const { layout } = await makeTestImage(join(scratch, 'locked'), [10], { 'dev.ingot.lock': lock });
  const ref = `${registry.host}/signed/locked:1.0`;
  const push = [
    'push',
    `oci:${layout}`,
    ref,
    '--insecure',
    registry.host,
    '--builder-id',
    'https://ci.example.com/1',
  ];
  await ingotJson([...push, '--key', 'ours.key'], { env, cwd: scratch });
  expect((await verify(ref, '--key', 'ours.pub', '--type', 'slsaprovenance1')).exitCode).toBe(0);
  const { stdout } = await cosign(
    ...['verify-attestation', '--key', 'ours.pub', '--insecure-ignore-tlog', '--allow-http-registry'],
    ...['--type', 'slsaprovenance1', ref],
  );
  const { payload } = JSON.parse(stdout) as { readonly payload: string };
  expect(JSON.parse(Buffer.from(payload, 'base64').toString())).toMatchObject({
    predicate: {
      buildDefinition: { externalParameters: { lock: { sha256: lock.slice(7) } } },
      runDetails: { builder: { id: 'https://ci.example.com/1' } },
    },
  });
  const again = await ingotJson([...push, '--key', 'ours.key'], { env, cwd: scratch });
  expect(again['images']).toMatchObject([
    { signed: { manifests: [{ added: { bundle: false, simpleSignatures: 0, attestations: [] } }] } },
  ]);
  for (const more of [[], ['--key', 'ours.key', '--builder-id', 'me']]) {
    const wrong = more.length === 0 ? push : [...push.slice(0, -2), ...more];
    expect((await ingot(wrong, { env, cwd: scratch })).exitCode).toBe(2);
  }
});

test('a list of packages is signed before the tag leads there, and cosign verifies it', async () => {
  const layer = await packLayer(scratch, 'base', (tree) =>
    writeTree(tree, { 'usr/lib/os-release': 'ID=debian\nVERSION_ID="13"\n' }),
  );
  const image = await writeSmallImage(join(scratch, 'listed'), [layer]);
  // The tag is the last thing that is put.
  const stale: string[] = [];
  await using proxy = await startFaultProxy(registry.host, ({ method, url }, earlier) => {
    const isPut = method === 'PUT' && url.includes('/manifests/');
    if (isPut && earlier.some((one) => one.method === 'PUT' && one.url.endsWith('/manifests/1.0')))
      stale.push(url);
    return undefined;
  });
  const ref = `${proxy.host}/signed/listed`;
  const at = ['--insecure', proxy.host];
  const push = ['push', image, `${ref}:1.0`, ...at, '--sbom', 'spdx'];
  const { sboms } = await ingotJson([...push, '--key', 'ours.key'], { env, cwd: scratch });
  const [sbom] = sboms as readonly { readonly digest: string; readonly key: string }[];
  expect(sbom?.key).toMatch(/^sha256:/);
  expect(stale).toEqual([]);
  const document = `${ref}@${sbom?.digest ?? ''}`;
  expect((await cosignVerify('ours.pub', document)).exitCode).toBe(0);
  expect((await cosignVerify('ours.pub', document, '--new-bundle-format=false')).exitCode).toBe(0);
  expect((await cosignVerify('theirs.pub', document)).exitCode).not.toBe(0);

  const print = ['sbom', `${ref}:1.0`, '--format', 'spdx', '--attached', ...at];
  const attached = await ingot([...print, '--key', 'ours.pub'], { env, cwd: scratch });
  expect(JSON.parse(attached.stdout)).toMatchObject({ spdxVersion: 'SPDX-2.3' });
  const refused = await ingot([...print, '--key', 'theirs.pub'], { env, cwd: scratch });
  expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining('NOT_FOUND')]);
  expect((await ingot([...print.slice(0, 4), '--key', 'ours.pub'], { env, cwd: scratch })).exitCode).toBe(2);
});

test('cosign reads our keys, and signs for us as it does with those of a KMS', async () => {
  const path = join(scratch, 'ours.key');
  const [, ...publicKeyArgs] = cosignPublicKeyArgv(path);
  const { stdout } = await cosign(...publicKeyArgs);
  expect(`${stdout}\n`).toBe(await readFile(join(scratch, 'ours.pub'), 'utf8'));
  const content = Buffer.from('to be signed');
  await writeFile(join(scratch, 'content'), content);
  const [, ...signArgs] = cosignSignBlobArgv(path, 'content', 'signature');
  await cosign(...signArgs);
  const signature = Buffer.from(await readFile(join(scratch, 'signature'), 'utf8'), 'base64');
  expect(isSignedBy(parsePublicKey(stdout, 'ours'), content, signature)).toBe(true);
});
