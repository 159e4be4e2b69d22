/**
 * Signatures by an identity, through Sigstore on loopback: cosign and skopeo of Debian sid verify ours, and we verify
 * cosign's.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { run, type RunResult } from '../../src/proc/run.ts';
import { TRUST_FOLDER } from '../../src/spec/update-schema.ts';
import { hostPolicyFiles } from '../../src/trust/host-policy.ts';
import { type InProcessResult, runInProcess } from '../support/in-process.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { type SidTools, sidTools } from '../support/sid-tools.ts';
import { startSigstore, type TestSigstore, tokenFor } from '../support/sigstore.ts';
import { makeTestImage } from '../support/test-image.ts';

const ISSUER = 'https://issuer.example.com';
const SUBJECT = 'https://ci.example.com/node/release';
const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
const EMAIL = 'builder@example.com';
const token = tokenFor({ iss: ISSUER, sub: SUBJECT });
const emailToken = (email = EMAIL): string =>
  tokenFor({ iss: ISSUER, sub: email, email, email_verified: true });

let scratch: string;
let registry: TestRegistry;
let tools: SidTools;
let sigstore: TestSigstore;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-keyless-'));
  [registry, tools, sigstore] = await Promise.all([
    startRegistry(),
    sidTools(['cosign', 'skopeo']),
    startSigstore(),
  ]);
  await writeFile(join(scratch, 'token'), token);
  await writeFile(join(scratch, 'root.json'), JSON.stringify(sigstore.trustedRoot));
  await writeAuthorities();
});

afterAll(async () => {
  await sigstore[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

function ingot(...args: readonly string[]): Promise<InProcessResult> {
  return ingotAs(token, ...args);
}

function ingotAs(who: string, ...args: readonly string[]): Promise<InProcessResult> {
  const more = ['--insecure', registry.host, '--store', join(scratch, 'store'), '--json'];
  const env = { SIGSTORE_ID_TOKEN: who };
  return runInProcess(scratch, [...args, ...more], { env, onStderr: () => undefined });
}

const authorities = (): readonly string[] => [
  ...['--keyless', '--fulcio-url', sigstore.url, '--rekor-url', sigstore.url, '--tsa-url', sigstore.url],
];

function cosign(...args: readonly string[]): Promise<RunResult> {
  return run(tools.argv('cosign', ...args), {
    cwd: scratch,
    env: { HOME: scratch },
    okExitCodes: ANY_EXIT,
  });
}

const identity = (subject = SUBJECT): readonly string[] => [
  ...['--certificate-identity', subject, '--certificate-oidc-issuer', ISSUER],
  ...['--trusted-root', 'root.json'],
];

test('cosign verifies what we sign, and not as somebody else’s', async () => {
  const { layout } = await makeTestImage(join(scratch, 'ours'), [10]);
  const ref = `${registry.host}/keyless/ours:1`;
  await ingot('push', `oci:${layout}`, ref, ...authorities());
  const older = ['verify', '--new-bundle-format=false', '--allow-http-registry'];
  const byOlder = await cosign(...older, ...identity(), ref);
  expect(byOlder.exitCode, byOlder.stderr).toBe(0);
  expect((await cosign(...older, ...identity('x'), ref)).exitCode).not.toBe(0);
  const verified = await cosign('verify', '--allow-http-registry', ...identity(), ref);
  expect(verified.exitCode, verified.stderr).toBe(0);
  expect((await cosign('verify', '--allow-http-registry', ...identity('x'), ref)).exitCode).not.toBe(0);
  const ours = await ingot('verify', ref, ...identity());
  expect(JSON.parse(ours.stdout), ours.stdout).toMatchObject({
    verdict: 'trusted',
    manifests: [
      {
        accepted: (['bundle', 'simple-signing'] as const).map((form) => ({
          form,
          certificate: { issuer: ISSUER, subject: SUBJECT },
        })),
        refused: [],
      },
    ],
  });
});

test('we verify what cosign signs', async () => {
  const { layout, digest } = await makeTestImage(join(scratch, 'theirs'), [20]);
  const ref = `${registry.host}/keyless/theirs:1`;
  await ingot('push', `oci:${layout}`, ref);
  const service = `url=${sigstore.url},api-version=1,start-time=2020-01-01T00:00:00Z,operator=test`;
  const made = await cosign(
    ...['signing-config', 'create', '--out', 'config.json', `--fulcio=${service}`],
    ...[`--rekor=${service}`, '--rekor-config=ANY'],
  );
  expect(made.exitCode, made.stderr).toBe(0);
  const signed = await cosign(
    ...[
      'sign',
      '-y',
      '--allow-http-registry',
      '--signing-config',
      'config.json',
      '--trusted-root',
      'root.json',
    ],
    ...['--identity-token', 'token', `${registry.host}/keyless/theirs@${digest}`],
  );
  expect(signed.exitCode, signed.stderr).toBe(0);
  const { exitCode, stdout } = await ingot('verify', ref, ...identity());
  expect(exitCode, stdout).toBe(0);
});

test('a trusted root that cosign makes of certificates and keys is one of ours', async () => {
  const { layout } = await makeTestImage(join(scratch, 'rooted'), [25]);
  const ref = `${registry.host}/keyless/rooted:1`;
  await ingot('push', `oci:${layout}`, ref, ...authorities());
  const since = 'start-time=2020-01-01T00:00:00Z';
  const make = (rekor: string, out: string): Promise<RunResult> =>
    cosign(
      ...['trusted-root', 'create', '--out', out, `--fulcio=url=${sigstore.url},certificate-chain=ca.pem`],
      ...[`--rekor=url=https://log.test,public-key=${rekor},${since}`],
      ...[`--ctfe=url=https://ct.test,public-key=ct.pem,${since}`],
      `--tsa=url=${sigstore.url},certificate-chain=tsa.pem`,
    );
  const made = await make('rekor.pem', 'made.json');
  expect(made.exitCode, made.stderr).toBe(0);
  const who = ['--certificate-identity', SUBJECT, '--certificate-oidc-issuer', ISSUER, '--trusted-root'];
  const verified = await ingot('verify', ref, ...who, 'made.json');
  expect(verified.exitCode, verified.stdout).toBe(0);
  await make('ct.pem', 'other.json');
  expect((await ingot('verify', ref, ...who, 'other.json')).exitCode).toBe(1);
});

describe('a node whose image trusts one address', () => {
  let policy: readonly string[];
  const repository = (): string => `${registry.host}/keyless/node`;

  beforeAll(async () => {
    const trusted = { issuer: ISSUER, subject: EMAIL };
    const trustedRoot = JSON.stringify(sigstore.trustedRoot);
    const rule = { keys: [], identities: [trusted], trustedRoot };
    const files = hostPolicyFiles({
      source: `${repository()}:stable`,
      policy: { default: 'reject', repositories: { [repository()]: rule } },
    });
    // As in an image, but for where that is.
    const root = join(scratch, 'root');
    for (const { path, content } of files) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content.replaceAll(TRUST_FOLDER, join(root, TRUST_FOLDER)));
    }
    const at = (path: string): string => join(root, 'etc/containers', path);
    policy = ['--policy', at('policy.json'), '--registries.d', at('registries.d')];
  });

  const pull = (ref: string): Promise<RunResult> =>
    run(
      tools.argv(
        ...(['skopeo', ...policy, 'copy', '--src-tls-verify=false', `docker://${ref}`] as const),
        `dir:${join(scratch, 'copied')}`,
      ),
      { cwd: scratch, env: { HOME: scratch }, okExitCodes: ANY_EXIT },
    );

  test('takes by skopeo what that address signed, and keeps one signature of it', async () => {
    const { layout } = await makeTestImage(join(scratch, 'by-email'), [30]);
    const ref = `${repository()}:1`;
    await ingotAs(emailToken(), 'push', `oci:${layout}`, ref, ...authorities());
    const pulled = await pull(ref);
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    await ingotAs(emailToken(), 'sign', ref, ...authorities());
    const { stdout } = await ingot(
      'verify',
      ref,
      '--policy',
      join(scratch, 'root', TRUST_FOLDER, 'trust.yaml'),
    );
    const [manifest] = (JSON.parse(stdout) as { manifests: { accepted: { form: string }[] }[] }).manifests;
    expect(manifest?.accepted.filter(({ form }) => form === 'simple-signing')).toHaveLength(1);
    expect((await pull(ref)).exitCode).toBe(0);
  });

  test('refuses what another, a workflow, or nobody signed', async () => {
    for (const [who, size] of [
      [emailToken('other@example.com'), 40],
      [token, 50],
    ] as const) {
      const { layout } = await makeTestImage(join(scratch, `by-${size}`), [size]);
      const ref = `${repository()}:by-${size}`;
      await ingotAs(who, 'push', `oci:${layout}`, ref, ...authorities());
      expect((await pull(ref)).stderr).toContain('Required email');
    }
    const { layout } = await makeTestImage(join(scratch, 'unsigned'), [60]);
    await ingot('push', `oci:${layout}`, `${repository()}:unsigned`);
    expect((await pull(`${repository()}:unsigned`)).stderr).toContain('no signature exists');
  });

  test('takes what cosign signed in the older form, as do we', async () => {
    const { layout, digest } = await makeTestImage(join(scratch, 'older'), [70]);
    const ref = `${repository()}:older`;
    await ingot('push', `oci:${layout}`, ref);
    await writeFile(join(scratch, 'email-token'), emailToken());
    const signed = await run(
      tools.argv(
        ...(['cosign', 'sign', '-y', '--allow-http-registry', '--new-bundle-format=false'] as const),
        ...['--use-signing-config=false', '--fulcio-url', sigstore.url, '--rekor-url', sigstore.url],
        ...['--identity-token', 'email-token', '--sign-container-identity', ref],
        `${repository()}@${digest}`,
      ),
      {
        cwd: scratch,
        env: {
          HOME: scratch,
          SIGSTORE_ROOT_FILE: join(scratch, 'ca.pem'),
          SIGSTORE_CT_LOG_PUBLIC_KEY_FILE: join(scratch, 'ct.pem'),
          SIGSTORE_REKOR_PUBLIC_KEY: join(scratch, 'rekor.pem'),
        },
        okExitCodes: ANY_EXIT,
      },
    );
    expect(signed.exitCode, signed.stderr).toBe(0);
    const pulled = await pull(ref);
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    const ours = await ingot('verify', ref, ...identity(EMAIL));
    expect(JSON.parse(ours.stdout), ours.stdout).toMatchObject({
      verdict: 'trusted',
      manifests: [{ accepted: [{ form: 'simple-signing', certificate: { subject: EMAIL } }] }],
    });
  });
});

/** Certificates and keys as files, as whoever runs a Sigstore of their own has them. */
async function writeAuthorities(): Promise<void> {
  const pem = (label: string, base64: string): string =>
    `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;
  const { certificateAuthorities, ctlogs, tlogs, timestampAuthorities } =
    sigstore.trustedRoot as unknown as Authorities;
  const chainOf = ({ certChain: { certificates } }: Authority): string =>
    certificates.map(({ rawBytes }) => pem('CERTIFICATE', rawBytes)).join('');
  const contents = {
    'ca.pem': chainOf(certificateAuthorities[0]),
    'tsa.pem': chainOf(timestampAuthorities[0]),
    'ct.pem': pem('PUBLIC KEY', ctlogs[0].publicKey.rawBytes),
    'rekor.pem': pem('PUBLIC KEY', tlogs[0].publicKey.rawBytes),
  };
  for (const [name, content] of Object.entries(contents)) await writeFile(join(scratch, name), content);
}

/** Of the trusted root. */
interface Authority {
  readonly certChain: { readonly certificates: readonly { readonly rawBytes: string }[] };
}
interface Authorities {
  readonly certificateAuthorities: readonly [Authority];
  readonly timestampAuthorities: readonly [Authority];
  readonly ctlogs: readonly [{ readonly publicKey: { readonly rawBytes: string } }];
  readonly tlogs: readonly [{ readonly publicKey: { readonly rawBytes: string } }];
}
