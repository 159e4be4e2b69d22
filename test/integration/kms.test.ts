/** Keys in a key management service, which cosign of Debian sid reaches by a plugin. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type Argv, run, type RunResult } from '../../src/proc/run.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';
import { makeKms, type TestKms } from '../support/kms-plugin.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { type SidTools, sidTools } from '../support/sid-tools.ts';
import { makeTestImage } from '../support/test-image.ts';

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);

let scratch: string;
let registry: TestRegistry;
let tools: SidTools;
let kms: TestKms;
let layout: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-kms-'));
  [registry, tools] = await Promise.all([startRegistry(), sidTools(['cosign', 'skopeo'])]);
  kms = await makeKms(join(scratch, 'kms'), tools);
  await writeFile(join(scratch, 'kms.pub'), kms.publicKey);
  ({ layout } = await makeTestImage(join(scratch, 'image'), [100]));
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

function start(argv: Argv): Promise<RunResult> {
  return run(argv, { cwd: scratch, env: { HOME: scratch }, okExitCodes: ANY_EXIT });
}

function ingot(...args: readonly string[]): Promise<RunResult> {
  const options = ['--insecure', registry.host, '--store', join(scratch, 'store'), '--json'];
  const program = join(PRODUCT_ROOT, 'src/main.ts');
  return start(kms.inside(process.execPath, program, ...args, ...options));
}

const cosignVerify = (key: string, ref: string): Promise<RunResult> =>
  start(
    kms.inside(
      ...([
        'cosign',
        'verify',
        '--key',
        key,
        '--insecure-ignore-tlog',
        '--allow-http-registry',
        ref,
      ] as const),
    ),
  );

test('sign images, and never leave it', async () => {
  const ref = `${registry.host}/kms/node:1`;
  const pushed = await ingot('push', `oci:${layout}`, ref, '--key', kms.uri);
  expect(pushed.exitCode, pushed.stdout + pushed.stderr).toBe(0);
  // In both forms; what it was built from would be one more.
  expect((await kms.asked()).filter((method) => method === 'signMessage').length).toBeGreaterThanOrEqual(2);
  const verified = await ingot('verify', ref, '--key', 'kms.pub');
  expect(JSON.parse(verified.stdout), verified.stdout).toMatchObject({
    verdict: 'trusted',
    manifests: [{ accepted: [{ form: 'bundle' }, { form: 'simple-signing' }], refused: [] }],
  });
  for (const key of ['kms.pub', kms.uri]) {
    const { exitCode, stderr } = await cosignVerify(key, ref);
    expect([key, exitCode, exitCode === 0 ? '' : stderr]).toEqual([key, 0, '']);
  }
});

test('that are not there sign nothing, and no tag moves', async () => {
  const pushed = await ingot(
    'push',
    `oci:${layout}`,
    `${registry.host}/kms/none:1`,
    '--key',
    'testkms://other',
  );
  expect(pushed.exitCode).toBe(1);
  expect(JSON.parse(pushed.stdout)).toMatchObject({ error: { code: 'TOOL_FAILED' } });
  expect(pushed.stderr).toContain('no such key: other');
  const { status } = await fetch(`http://${registry.host}/v2/kms/none/manifests/1`);
  expect(status).toBe(404);
});
