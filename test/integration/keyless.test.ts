/** Signatures by an identity, through Sigstore on loopback: cosign of Debian sid verifies ours, and we verify its own. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run, type RunResult } from '../../src/proc/run.ts';
import { type InProcessResult, runInProcess } from '../support/in-process.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { type SidTools, sidTools } from '../support/sid-tools.ts';
import { startSigstore, type TestSigstore, tokenFor } from '../support/sigstore.ts';
import { makeTestImage } from '../support/test-image.ts';

const ISSUER = 'https://issuer.example.com';
const SUBJECT = 'https://ci.example.com/node/release';
const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
const token = tokenFor({ iss: ISSUER, sub: SUBJECT });

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
});

afterAll(async () => {
  await sigstore[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

function ingot(...args: readonly string[]): Promise<InProcessResult> {
  const more = ['--insecure', registry.host, '--store', join(scratch, 'store'), '--json'];
  const env = { SIGSTORE_ID_TOKEN: token };
  return runInProcess(scratch, [...args, ...more], { env, onStderr: () => undefined });
}

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
  const authorities = ['--fulcio-url', sigstore.url, '--rekor-url', sigstore.url, '--tsa-url', sigstore.url];
  await ingot('push', `oci:${layout}`, ref, '--keyless', ...authorities);
  const verified = await cosign('verify', '--allow-http-registry', ...identity(), ref);
  expect(verified.exitCode, verified.stderr).toBe(0);
  expect((await cosign('verify', '--allow-http-registry', ...identity('x'), ref)).exitCode).not.toBe(0);
  const ours = await ingot('verify', ref, ...identity());
  expect(JSON.parse(ours.stdout), ours.stdout).toMatchObject({
    verdict: 'trusted',
    manifests: [{ accepted: [{ form: 'bundle', certificate: { issuer: ISSUER, subject: SUBJECT } }] }],
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
