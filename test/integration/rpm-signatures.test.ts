/** What rpm packages are trusted by: the key that a layer pins, on the index of its repository or on its packages. */
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';

import { loadLock } from '../../src/cli/load-lock.ts';
import { TEST_STORE } from '../support/built-image.ts';
import { type CliResult, ingot } from '../support/cli.ts';
import { TestKey } from '../support/mirror.ts';
import { buildRpm, indexRepository, makeSmallBase, rpmFile, signRpm } from '../support/rpm-repository.ts';

let work: string;
let key: TestKey;
let base: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'ingot-rpm-'));
  key = await TestKey.create();
  base = (await makeSmallBase(work, join(work, 'layout'), '')).ref;
}, 120_000);

afterAll(async () => {
  await key[Symbol.asyncDispose]();
  await rm(work, { recursive: true, force: true });
});

/** A repository of two packages, of which `signed` are. */
async function repositoryOf(name: string, signed: readonly string[]): Promise<string> {
  const repository = join(work, name);
  await mkdir(repository);
  for (const item of ['tool', 'library']) {
    const preamble = item === 'tool' ? ['Requires: library'] : [];
    await buildRpm(work, repository, { name: item, preamble, files: { [`/usr/lib/${item}`]: name } });
    if (signed.includes(item)) await signRpm(await rpmFile(repository, item), key);
  }
  await indexRepository(repository);
  return repository;
}

async function lock(name: string, repository: string, more: object): Promise<CliResult & { file: string }> {
  const folder = join(work, `project-${name}`);
  await mkdir(join(folder, 'layers/addon'), { recursive: true });
  const pinned = { fingerprint: await key.fingerprint(), keyring: key.keyring };
  const repositories = [{ name: 'vendor', url: `file://${repository}`, key: pinned, ...more }];
  const install = { rpm: { packages: ['tool'], repositories } };
  const layer = { name: 'vendor-tool', kind: 'addon', summary: 'A tool', install };
  await writeFile(join(folder, 'layers/addon/vendor-tool.yaml'), stringify(layer));
  const file = join(folder, `${name}.yaml`);
  await writeFile(file, stringify({ name, base: { image: base }, addons: ['vendor-tool'] }));
  return { ...(await ingot(['--store', TEST_STORE, 'lock', file])), file };
}

describe('a repository that signs its packages', () => {
  test('is locked with the key that they were verified with', async () => {
    const repository = await repositoryOf('signed', ['tool', 'library']);
    const { file, stderr, exitCode } = await lock('signed', repository, {});
    expect(stderr).toContain('Verify packages of vendor: done');
    expect(exitCode).toBe(0);
    const locked = await loadLock(file.replace(/\.yaml$/, '.lock.yaml'));
    expect(locked.archives).toMatchObject([{ name: 'vendor', keys: [await key.fingerprint()] }]);
    const layer = locked.layers.find(({ name }) => name === 'addon-vendor-tool');
    expect(layer?.packages.map(({ name }) => name)).toEqual(['library', 'tool']);
  });

  test('is refused for one that is not, which is named', async () => {
    const repository = await repositoryOf('half', ['tool']);
    const { stderr, exitCode } = await lock('half', repository, {});
    expect(stderr).toContain('error[MIRROR_UNTRUSTED]');
    expect(stderr).toMatch(/the key of the repository vendor: library 1\.0-1$/m);
    expect(exitCode).toBe(1);
  });

  test('is refused when another key has signed', async () => {
    await using other = await TestKey.create();
    const repository = await repositoryOf('other', ['library']);
    await signRpm(await rpmFile(repository, 'tool'), other);
    await indexRepository(repository);
    const { stderr, exitCode } = await lock('other', repository, {});
    expect(stderr).toMatch(/the key of the repository vendor: tool 1\.0-1$/m);
    expect(exitCode).toBe(1);
  });
});

describe('a repository that signs its index', () => {
  test('is locked, and refused once the index is another', async () => {
    const repository = await repositoryOf('index', []);
    const index = join(repository, 'repodata/repomd.xml');
    await key.gpg('--detach-sign', '--armor', '--output', `${index}.asc`, index);
    const first = await lock('index', repository, { signs: 'index' });
    expect(first.stderr).not.toContain('Verify packages');
    expect(first.exitCode).toBe(0);
    await appendFile(index, '<!-- somebody else -->\n');
    const second = await lock('index-again', repository, { signs: 'index' });
    expect(second.stderr).toContain(
      'error[MIRROR_UNTRUSTED]: the index of the repository vendor is not signed',
    );
    expect(second.exitCode).toBe(1);
  });
});
