/** One image of several architectures: made, pushed, read by other tools, and pulled. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { digestOfJson } from '../../src/digest.ts';
import { verifyLayout } from '../../src/oci/layout.ts';
import type { Index } from '../../src/oci/schema.ts';
import { run } from '../../src/proc/run.ts';
import { renderLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { fullLock } from '../support/bills.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { startRegistry, type TestRegistry } from '../support/registry.ts';
import { packLayer, writeSmallImage, writeTree } from '../support/small-image.ts';

let folder: string;
let registry: TestRegistry;
let amd64: string;
let arm64: string;
let env: Record<string, string>;

const said = { 'org.opencontainers.image.title': 'node', 'org.opencontainers.image.version': '1' };

async function image(name: string, architecture: string, more: Record<string, string> = {}): Promise<string> {
  const layer = await packLayer(folder, 'base', (tree) => writeTree(tree, { 'etc/arch': architecture }));
  return writeSmallImage(join(folder, name), [layer], { ...said, ...more }, { os: 'linux', architecture });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ingot index-'));
  registry = await startRegistry();
  env = { INGOT_STORE: join(folder, 'store') };
  amd64 = await image('amd64', 'amd64', { 'dev.ingot.kernel': 'one' });
  arm64 = await image('arm64', 'arm64', { 'dev.ingot.kernel': 'other' });
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const insecure = (): string[] => ['--insecure', registry.host];
const read = async (reference: string): Promise<Index> => {
  const { stdout } = await run(['skopeo', 'inspect', '--raw', '--tls-verify=false', reference]);
  return JSON.parse(stdout) as Index;
};
const architectureOf = async (reference: string, architecture: string): Promise<string> => {
  const how = ['--tls-verify=false', '--override-arch', architecture, '--override-os', 'linux'] as const;
  const { stdout } = await run([
    'skopeo',
    ...how.slice(1),
    'inspect',
    how[0],
    '--format',
    '{{.Architecture}}',
    reference,
  ]);
  return stdout.trim();
};

describe('ingot index', () => {
  it('makes an index that others read, the same from whichever order', async () => {
    const ref = `${registry.host}/ai/node:1`;
    const [made] = (await ingotJson(['index', ref, arm64, amd64, ...insecure()], { env }))['images'] as [
      { digest: string; mediaType: string },
    ];
    const index = await read(`docker://${ref}`);
    expect(index.manifests.map(({ platform }) => platform)).toEqual([
      { os: 'linux', architecture: 'amd64' },
      { os: 'linux', architecture: 'arm64' },
    ]);
    expect(index.annotations).toEqual(said); // and not what they say differently
    expect(await architectureOf(`docker://${ref}`, 'arm64')).toBe('arm64');
    expect(await architectureOf(`docker://${ref}`, 'amd64')).toBe('amd64');
    const layout = `oci:${join(folder, 'other')}:1`;
    const again = (await ingotJson(['index', layout, amd64, arm64], { env }))['images'];
    expect(again).toMatchObject([{ digest: made.digest, mediaType: made.mediaType }]);
    expect((await verifyLayout(join(folder, 'other'))).size).toBe(7);
  });

  it('is copied, pulled and inspected as a whole', async () => {
    const ref = `${registry.host}/ai/node:1`;
    const seen = await ingotJson(['inspect', ref, ...insecure()], { env });
    expect(seen).toMatchObject({ annotations: said, manifests: [{}, {}] });
    const { stdout } = await ingot(['inspect', ref, ...insecure()], { env });
    expect(stdout).toMatch(/linux\/amd64 .*\nlinux\/arm64 /);
    await ingotJson(['pull', ref, '--output', join(folder, 'pulled'), ...insecure()], { env });
    expect((await verifyLayout(join(folder, 'pulled'))).size).toBe(7);
    const archive = `oci-archive:${join(folder, 'usb.tar')}:1`;
    await ingotJson(['copy', `oci:${join(folder, 'pulled')}:1`, archive], { env });
    const there = await ingotJson(['copy', archive, `${registry.host}/ai/second:1`, ...insecure()], { env });
    expect(there['images']).toMatchObject([{ digest: seen['digest'] }]);
  });

  it('takes the images of an index among the images', async () => {
    const riscv = await image('riscv', 'riscv64');
    const target = `oci:${join(folder, 'three')}:1`;
    await ingotJson(['index', target, riscv, `oci:${join(folder, 'other')}:1`], { env });
    const seen = await ingotJson(['inspect', target], { env });
    expect((seen['manifests'] as Index['manifests']).map(({ platform }) => platform?.architecture)).toEqual([
      'amd64',
      'arm64',
      'riscv64',
    ]);
  });

  it('refuses two images of one platform, and one image', async () => {
    const twin = await image('twin', 'amd64', { 'dev.ingot.kernel': 'twin' });
    const target = `oci:${join(folder, 'refused')}:1`;
    for (const images of [[amd64, twin], [amd64]]) {
      const { exitCode, stderr } = await ingot(['index', target, ...images], { env });
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining('USAGE')]);
    }
  });
});

describe('push of a declaration', () => {
  const lockOf = (variant?: string): Lock => {
    const {
      modules: _modules,
      agent: _agent,
      containers: _containers,
      compile: _compile,
      variant: _variant,
      ...rest
    } = fullLock();
    const base = {
      ...rest.base,
      architecture: variant === undefined ? ('amd64' as const) : ('arm64' as const),
    };
    return { ...rest, name: 'node', version: '1', base, ...(variant !== undefined && { variant }) };
  };
  const declare = (file: string, more = ''): string => {
    mkdirSync(join(folder, 'project'), { recursive: true });
    const path = join(folder, 'project', file);
    writeFileSync(path, `name: node\nbase: debian@13\n${more}`);
    return path;
  };
  /** What `ingot build` leaves behind, without the hour of building it for another architecture. */
  const leaveBuilt = async (file: string, variant?: string): Promise<void> => {
    const lock = lockOf(variant);
    const at = variant === undefined ? '' : `@${variant}`;
    writeFileSync(file.replace('.yaml', `${at}.lock.yaml`), renderLock(lock));
    const layout = join('project/build', `node${at}`);
    await image(layout, lock.base.architecture, { 'dev.ingot.lock': digestOfJson(lock) });
    const index = join(folder, layout, 'index.json');
    const { manifests, ...rest } = JSON.parse(readFileSync(index, 'utf8')) as Index;
    const annotations = { 'org.opencontainers.image.ref.name': lock.version };
    writeFileSync(
      index,
      JSON.stringify({ ...rest, manifests: manifests.map((one) => ({ ...one, annotations })) }),
    );
  };
  const push = (file: string, ...args: string[]) =>
    ingot(['push', file, ...args, ...insecure(), '--json'], { env, cwd: join(folder, 'project') });

  it('finds the image that was built of its lock, and no other', async () => {
    const file = declare('node.yaml');
    await leaveBuilt(file);
    const ref = `${registry.host}/declared/one:1`;
    const { exitCode, stdout } = await push(file, ref);
    expect(exitCode, stdout).toBe(0);
    expect(await read(`docker://${ref}`)).not.toHaveProperty('manifests');
    writeFileSync(file.replace('.yaml', '.lock.yaml'), renderLock({ ...lockOf(), version: '2' }));
    const older = await push(file, ref);
    expect([older.exitCode, older.stderr]).toEqual([1, expect.stringMatching(/NOT_FOUND[^]*ingot build/)]);
    writeFileSync(
      file.replace('.yaml', '.lock.yaml'),
      renderLock({ ...lockOf(), created: '2026-01-01T00:00:00Z' }),
    );
    expect((await push(file, ref)).stderr).toContain('built of another lock');
  });

  it('with a variant for another architecture is one image of both', async () => {
    const file = declare('both.yaml', 'variants: [{name: arm, arch: arm64}]\n');
    await leaveBuilt(file);
    const ref = `${registry.host}/declared/both:1`;
    const before = await push(file, ref);
    expect([before.exitCode, before.stderr]).toEqual([2, expect.stringContaining('both@arm.lock.yaml')]);
    await leaveBuilt(file, 'arm');
    const { exitCode, stderr } = await push(file, ref);
    expect(exitCode, stderr).toBe(0);
    expect((await read(`docker://${ref}`)).manifests.map(({ platform }) => platform?.architecture)).toEqual([
      'amd64',
      'arm64',
    ]);
    await push(file, `${registry.host}/declared/arm:1`, '--variant', 'arm');
    expect(await architectureOf(`docker://${registry.host}/declared/arm:1`, 'arm64')).toBe('arm64');
    expect(await read(`docker://${registry.host}/declared/arm:1`)).not.toHaveProperty('manifests');
  });

  it('refuses what it cannot choose', async () => {
    const file = declare('many.yaml', 'variants: [{name: a, arch: arm64}, {name: b, arch: arm64}]\n');
    const ref = `${registry.host}/declared/many:1`;
    expect((await push(file, ref)).stderr).toMatch(/USAGE[^]*two variants for arm64/);
    expect((await push(amd64, ref, '--variant', 'a')).stderr).toMatch(
      /USAGE[^]*--variant is for declarations/,
    );
  });
});
