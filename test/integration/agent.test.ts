/** An image with the agent: what runs in it, and what a build refuses to take for it. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { runInSandbox } from '../../src/build/sandbox.ts';
import type { RunResult } from '../../src/proc/run.ts';
import { minimalEnvironment, run, type Argv } from '../../src/proc/run.ts';
import { builtImage, TEST_FOLDER, type BuiltImage } from '../support/built-image.ts';
import { ingotJson, PRODUCT_ROOT } from '../support/cli.ts';

const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
const { version } = JSON.parse(readFileSync(join(PRODUCT_ROOT, 'package.json'), 'utf8')) as {
  version: string;
};

let base: BuiltImage;
let folder: string;
let declaration: string;
let built: Record<string, unknown>;
let root: string;

/** The shared image and the agent: its other layers are in the store. */
beforeAll(async () => {
  base = await builtImage();
  mkdirSync(join(TEST_FOLDER, 'scratch'), { recursive: true });
  folder = mkdtempSync(join(TEST_FOLDER, 'scratch/agent-'));
  declaration = join(folder, 'node.yaml');
  writeFileSync(declaration, `${readFileSync(base.declaration, 'utf8')}\nagent: true\n`);
  cpSync(base.declaration.replace('.yaml', '.lock.yaml'), join(folder, 'node.lock.yaml'));
  await ingotJson(['--store', base.store, 'lock', declaration]);
  built = await ingotJson(['--store', base.store, 'build', declaration, '--output', join(folder, 'layout')]);
  root = unpack(join(folder, 'layout'), join(folder, 'root'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface LayerOfBuild {
  readonly name: string;
  readonly digest: string;
  readonly cached: boolean;
}
const layersOf = (result: Record<string, unknown>): readonly LayerOfBuild[] =>
  result['layers'] as readonly LayerOfBuild[];

/** All layers over each other, as they are in the image. */
function unpack(layout: string, target: string): string {
  mkdirSync(target);
  const readBlob = (digest: string): { manifests: Blob[]; layers: Blob[] } =>
    JSON.parse(readFileSync(blobPath(layout, digest), 'utf8')) as never;
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { manifests: Blob[] };
  for (const { digest } of readBlob(index.manifests[0]?.digest ?? '').layers) {
    const kept = ['--exclude=.wh.*', '--xattrs', '--numeric-owner', '-p'];
    execFileSync('tar', ['--zstd', ...kept, '-xf', blobPath(layout, digest), '-C', target]);
  }
  return target;
}

interface Blob {
  readonly digest: string;
}

const blobPath = (layout: string, digest: string): string =>
  join(layout, 'blobs/sha256', digest.slice('sha256:'.length));

const inside = (...argv: [string, ...string[]]): Promise<RunResult> =>
  runInSandbox(argv, { root, epoch: 0 }, { okExitCodes: ANY_EXIT });

/** The same checkout at another place, whose npm packages are behind a link. */
function copyCheckout(): string {
  const copy = join(folder, 'another checkout');
  mkdirSync(copy);
  for (const name of [
    'src',
    'layers',
    'drivers',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'LICENSE',
  ]) {
    cpSync(join(PRODUCT_ROOT, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(PRODUCT_ROOT, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

async function ingotOf(checkout: string, args: readonly string[]): Promise<RunResult> {
  const argv = [process.execPath, join(checkout, 'src/main.ts'), '--store', base.store, ...args];
  return run(argv as unknown as Argv, { env: minimalEnvironment({ NO_COLOR: '1' }), okExitCodes: ANY_EXIT });
}

test('only the agent and the seal had to be built for it', () => {
  const names = new Set(
    layersOf(built)
      .filter(({ cached }) => !cached)
      .map(({ name }) => name.split('/')[0]),
  );
  expect([...names].filter((name) => name !== 'seal' && name !== 'agent-ingot')).toEqual([]);
});

test('the agent runs in the image, without network, and says the locked version', async () => {
  expect(await inside('ingot', '--version')).toMatchObject({ exitCode: 0, stdout: version, stderr: '' });
  const check = (
    JSON.parse(readFileSync(join(root, 'usr/lib/ingot/health.json'), 'utf8')) as {
      name: string;
      run: string;
    }[]
  ).find(({ name }) => name === 'ingot-runs');
  expect(check?.run).toContain(version);
  expect((await inside('sh', '-c', check?.run ?? 'false')).exitCode).toBe(0);
});

test('its doctor looks at the node, and what builds says that it cannot', async () => {
  const { exitCode, stdout, stderr } = await inside('ingot', 'doctor', '--json');
  expect(exitCode, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    healthy: true,
    checks: [
      { name: 'node', status: 'pass' },
      { name: 'image', status: 'pass', found: expect.stringContaining('debian-minimal ') as string },
      { name: 'deployment', status: 'warn' },
      { name: 'engine', status: 'pass', found: '/usr/bin/ostree' },
    ],
  });
  const refused = await inside('ingot', 'validate', '/etc/node.yaml', '--json');
  expect(refused.exitCode).toBe(2);
  expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'ENVIRONMENT' } });
});

test('another checkout makes the same image; with one word changed it refuses the lock', async () => {
  const checkout = copyCheckout();
  const output = join(folder, 'second layout');
  const same = await ingotOf(checkout, ['build', declaration, '--output', output, '--json']);
  expect(same.exitCode, same.stderr).toBe(0);
  expect(JSON.parse(same.stdout)).toMatchObject({ digest: built['digest'] });

  const source = join(checkout, 'src/cli/root-command.ts');
  writeFileSync(source, readFileSync(source, 'utf8').replace('for AI nodes', 'for your nodes'));
  const check = await ingotOf(checkout, ['lock', declaration, '--check', '--json']);
  expect(check.exitCode).toBe(1);
  const changed = ['ingot.mjs', 'ingot-node.mjs'].map((name) => ({
    what: 'agent',
    message: expect.stringMatching(`^its agent's ${name} is sha256:`) as string,
  }));
  const { locks } = JSON.parse(check.stdout) as { readonly locks: readonly [{ readonly reasons: object[] }] };
  expect(locks).toMatchObject([{ fresh: false }]);
  expect(locks[0].reasons).toHaveLength(2);
  expect(locks[0].reasons).toEqual(expect.arrayContaining(changed));
  const refused = await ingotOf(checkout, ['build', declaration, '--output', output, '--json']);
  expect(refused.exitCode).toBe(2);
  expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'LOCK_STALE' } });
});
