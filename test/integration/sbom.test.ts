/** What an image is made of, told of a real one and held against what dpkg and the lock say. */
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Component } from '../../src/sbom/bill.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { run } from '../../src/proc/run.ts';
import { debsbomPackages } from '../support/debsbom.ts';
import { readSpdx } from '../support/spdx-rules.ts';
import { spdxComplaints } from '../support/spdx-tools.ts';
import { unpackImage } from '../support/unpack-image.ts';

let image: BuiltImage;
let folder: string;
let lockFile: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/sbom-'));
  // Other tests write to the shared layout, and may put another image there meanwhile.
  await run(['cp', '--archive', '--link', image.layout, join(folder, 'layout')]);
  image = { ...image, layout: join(folder, 'layout'), ref: `oci:${join(folder, 'layout')}:${image.version}` };
  lockFile = image.declaration.replace('.yaml', '.lock.yaml');
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const sbom = (...args: string[]): Promise<Record<string, unknown>> =>
  ingotJson(['--store', image.store, 'sbom', ...args]);

it('has the packages that dpkg has, with the sources that dpkg names', async () => {
  const root = join(folder, 'root');
  await unpackImage(image.layout, image.version, root);
  const format = '${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n';
  const { stdout } = await run([
    ...(['dpkg-query', '--admindir', join(root, 'usr/lib/sysimage/dpkg')] as const),
    ...['--show', '--showformat', format],
  ]);
  const { components } = (await sbom(image.ref)) as unknown as { components: readonly Component[] };
  const told = components.map(
    ({ name, version, architecture, source }) =>
      `${name} ${version ?? ''} ${architecture ?? ''} ${source?.name ?? ''} ${source?.version ?? ''}`,
  );
  expect(told.sort()).toEqual(stdout.trim().split('\n').sort());
  // Each is the package file that the lock names, in the layer that owns it.
  const lock = parseLock(readFileSync(lockFile, 'utf8'), lockFile);
  const locked = lock.layers.flatMap(({ name: layer, packages }) =>
    packages.map(({ name, sha256 }) => `${name} ${sha256} ${layer}`),
  );
  expect(components.map((one) => `${one.name} ${one.sha256 ?? ''} ${one.layer ?? ''}`).sort()).toEqual(
    locked.sort(),
  );
});

it('names the packages by the addresses that debsbom gives them', async () => {
  const root = join(folder, 'for-debsbom');
  await unpackImage(image.layout, image.version, root);
  // Where a booted node has it.
  await mkdir(join(root, 'var/lib'), { recursive: true });
  await symlink('../../usr/lib/sysimage/dpkg', join(root, 'var/lib/dpkg'));
  const theirs = await debsbomPackages(root);
  const { components } = (await sbom(image.ref)) as unknown as { components: readonly Component[] };
  const ours = components.filter(({ kind }) => kind === 'package').map(({ purl = '' }) => purl);
  // Ours say the release besides.
  expect(ours.every((purl) => purl.includes('distro=trixie'))).toBe(true);
  expect(ours.map((purl) => purl.replace(/&distro=[^&]*/, '')).sort()).toEqual([...theirs].sort());
  expect(theirs.length).toBeGreaterThan(150);
});

it('finds the layer of a package in the image itself, without a lock', async () => {
  const elsewhere = await ingotJson(['--store', join(folder, 'empty'), 'sbom', image.ref]);
  const with_ = (await sbom(image.ref)) as unknown as { components: readonly Component[] };
  const without = elsewhere as unknown as { components: readonly Component[]; gaps: readonly string[] };
  expect(without.gaps).toHaveLength(1);
  expect(without.components.map(({ id, layer }) => `${id} ${layer ?? ''}`)).toEqual(
    with_.components.map(({ id, layer }) => `${id} ${layer ?? ''}`),
  );
  expect(without.components.every(({ sha256 }) => sha256 === undefined)).toBe(true);
});

it('claims the licences that copyright files state, and no others', async () => {
  const { components } = (await sbom(image.ref)) as unknown as { components: readonly Component[] };
  const of = (name: string): string | undefined =>
    components.find((one) => one.name === name)?.licence?.expression;
  expect(of('zlib1g')).toContain('Zlib');
  expect(of('dash')).toContain('BSD-3-Clause');
  const known = components.filter(({ licence }) => licence !== undefined).length;
  expect(known).toBeGreaterThan(components.length * 0.8);
  const answer = await ingot(['--store', image.store, 'sbom', image.ref, '--licence', 'NOASSERTION']);
  expect(answer.stdout).toContain(`${components.length - known} of ${components.length} components`);
});

it('writes documents that hold to both schemas, the same bytes each time', async () => {
  for (const format of ['spdx', 'cyclonedx']) {
    const file = join(folder, `image.${format}.json`);
    await sbom(image.ref, '--format', format, '--output', file);
    const text = readFileSync(file, 'utf8');
    const again = await ingot(['--store', image.store, 'sbom', image.ref, '--format', format]);
    expect(`${again.stdout}\n`).toBe(text);
    if (format === 'spdx') {
      expect(readSpdx(text).packages.length).toBeGreaterThan(150);
      expect(await spdxComplaints(file)).toBe('');
    } else expect(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text)).toBeNull();
  }
});

it('refuses the lock of another image', async () => {
  const { exitCode, stderr } = await ingot(['sbom', image.ref, '--lock', 'images/debian-minimal.lock.yaml']);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('LOCK_STALE')]);
});
