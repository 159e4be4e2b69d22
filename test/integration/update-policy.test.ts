/** The policy that `update` puts into an image, in the hands of skopeo: in the root that was built, and with no option. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';

import { type Argv, run, type RunResult } from '../../src/proc/run.ts';
import { imageOfTree } from '../support/base-image.ts';
import { TEST_STORE } from '../support/built-image.ts';
import { ingotJson } from '../support/cli.ts';
import { type InProcessResult, runInProcess } from '../support/in-process.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { type SidTools, sidTools } from '../support/sid-tools.ts';
import { writeTree } from '../support/small-image.ts';
import { makeTestImage } from '../support/test-image.ts';
import { unpackImage } from '../support/unpack-image.ts';

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
const env = { COSIGN_PASSWORD: 'correct horse' };

let scratch: string;
let registry: TestRegistry;
let tools: SidTools;
let root: string;
let layout: string;
let source: string;
let count = 0;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-update-'));
  [registry, tools] = await Promise.all([startRegistry(), sidTools(['cosign', 'skopeo'])]);
  await mkdir(join(scratch, '.git'));
  for (const name of ['old', 'new', 'other'])
    await runInProcess(scratch, ['key', 'new', name], { env, onStderr: () => undefined });
  source = `${registry.host}/ai/node`;
  const tree = join(scratch, 'tree');
  await writeTree(tree, {
    'usr/lib/os-release': 'ID=tiny\n',
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
    'etc/group': 'root:x:0:\n',
    // As Fedora's and Debian's packages have it.
    'etc/containers/policy.json': '{"default":[{"type":"insecureAcceptAnything"}]}\n',
  });
  const base = await imageOfTree(join(scratch, 'base'), tree);
  await writeFile(
    join(scratch, 'trust.yaml'),
    stringify({
      repositories: {
        [`${registry.host}/mirror/node`]: { keys: ['old.pub'], signedAs: source },
        [`${registry.host}/scratch/*`]: 'accept',
      },
    }),
  );
  await writeFile(
    join(scratch, 'node.yaml'),
    stringify({
      name: 'node',
      base: { image: base.ref },
      update: { source: `${source}:stable`, verify: { keys: ['old.pub', 'new.pub'] }, signer: 'new.pub' },
    }),
  );
  layout = join(scratch, 'node');
  const cli = { cwd: scratch };
  await ingotJson(['--store', TEST_STORE, 'lock', 'node.yaml'], cli);
  const built = await ingotJson(['--store', TEST_STORE, 'build', 'node.yaml', '--output', layout], cli);
  root = join(scratch, 'root');
  await unpackImage(layout, String(built['version']), root);
}, 600_000);

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

/** In this process, with the registry as one without TLS. */
async function ingot(...args: readonly string[]): Promise<InProcessResult> {
  const more = ['--insecure', registry.host, '--store', join(scratch, 'store'), '--json'];
  return runInProcess(scratch, [...args, ...more], { env, onStderr: () => undefined });
}

/** An image at `ref`, without a signature or by a key. */
async function publish(ref: string, key?: string): Promise<string> {
  count += 1;
  const { layout: made } = await makeTestImage(join(scratch, `image-${count}`), [count]);
  await ingot('push', `oci:${made}`, ref, ...(key === undefined ? [] : ['--key', key]));
  return ref;
}

/** skopeo, which takes the image's own policy from where programs look for it. */
function pull(ref: string): Promise<RunResult> {
  const [loader, ...args] = tools.argv(
    'skopeo',
    'copy',
    '--src-tls-verify=false',
    `docker://${ref}`,
    'dir:/tmp/copied',
  );
  const inRoot = (text: string): string => text.replace(tools.path, '/run/sid');
  const argv: Argv = [
    ...(['bwrap', '--die-with-parent', '--bind', root, '/', '--dev', '/dev', '--proc', '/proc'] as const),
    ...['--tmpfs', '/tmp', '--tmpfs', '/var', '--tmpfs', '/run', '--ro-bind', tools.path, '/run/sid'],
    ...['--', inRoot(loader), ...args.map(inRoot)],
  ];
  return run(argv, { env: { HOME: '/tmp' }, okExitCodes: ANY_EXIT });
}

describe('skopeo with the policy of the built image', () => {
  test.each(['old', 'new'])('takes an update that is signed with the %s key', async (key) => {
    const pulled = await pull(await publish(`${source}:by-${key}`, `${key}.key`));
    expect(pulled.exitCode, pulled.stderr).toBe(0);
  });

  test('refuses what nobody signed, what another signed, and what was signed for another place', async () => {
    expect((await pull(await publish(`${source}:unsigned`))).stderr).toContain('no signature exists');
    expect((await pull(await publish(`${source}:wrong`, 'other.key'))).stderr).toContain('invalid signature');
    const staged = await publish(`${registry.host}/staging/node:1`, 'new.key');
    await ingot('copy', staged, `${source}:moved`);
    expect((await pull(`${source}:moved`)).stderr).toContain('Signature for identity');
    // A repository that no rule names.
    expect((await pull(staged)).stderr).toContain('rejected by policy');
  });

  test('keeps the project’s other rules', async () => {
    const mirror = `${registry.host}/mirror/node`;
    await ingot('copy', await publish(`${source}:mirrored`, 'old.key'), `${mirror}:1`);
    expect((await pull(`${mirror}:1`)).exitCode).toBe(0);
    expect((await pull(await publish(`${registry.host}/scratch/any:1`))).exitCode).toBe(0);
  });
});

test('Ingot takes the same by the image’s trust.yaml', async () => {
  const policy = ['--policy', join(root, 'usr/lib/ingot/trust/trust.yaml')];
  const ref = await publish(`${source}:same`, 'new.key');
  expect(await ingot('verify', ref, ...policy)).toMatchObject({ exitCode: 0 });
  expect(await ingot('verify', await publish(`${source}:none`), ...policy)).toMatchObject({ exitCode: 1 });
  expect(JSON.parse(await readFile(join(root, 'usr/lib/ingot/update.json'), 'utf8'))).toEqual({
    source: `${source}:stable`,
  });
});

test('the image is not signed as an update with a key that it would refuse', async () => {
  const push = ['push', `oci:${layout}`, `${source}:2`, '--key'];
  await expect(ingot(...push, 'other.key')).rejects.toMatchObject({ code: 'UPDATE_LOCKOUT' });
  const { status } = await fetch(`http://${source.replace('/', '/v2/')}/manifests/2`);
  expect(status).toBe(404);
  await ingot(...push, 'new.key');
  const sign = ['sign', `${source}:2`, '--key'];
  await expect(ingot(...sign, 'other.key')).rejects.toMatchObject({ code: 'UPDATE_LOCKOUT' });
  await ingot(...sign, 'old.key');
  await ingot(...push, 'other.key', '--allow-lock-out');
  // Its nodes do not update from there.
  await ingot('push', `oci:${layout}`, `${registry.host}/staging/node:2`, '--key', 'other.key');
});
