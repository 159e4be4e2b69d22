/**
 * Declarations whose layers bring packages that a test makes itself, on the shared image's base and kernel: what is
 * tried is the layers and the seal, and nothing else has to be built. The lock is written as `ingot lock` would.
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { stringify } from 'yaml';

import { loadCatalog } from '../../src/catalog/load.ts';
import { loadLock, lockPathOf } from '../../src/cli/load-lock.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { run } from '../../src/proc/run.ts';
import { renderLock } from '../../src/resolve/lock-text.ts';
import type { LockedLayer } from '../../src/resolve/lock.ts';
import { loadSpec } from '../../src/spec/load.ts';
import { declarationDigest } from '../../src/spec/normalise.ts';
import { Store } from '../../src/store/store.ts';
import type { BuiltImage } from './built-image.ts';
import { ingot, PRODUCT_ROOT, type CliOptions, type CliResult } from './cli.ts';

export interface LocalPackage {
  readonly name: string;
  readonly version?: string;
  /** More fields of its control file, such as `Depends`. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Content by path. */
  readonly files?: Readonly<Record<string, string>>;
  /** Maintainer scripts by name, such as `postinst`, without their first line; also the data that lies beside them. */
  readonly scripts?: Readonly<Record<string, string>>;
  /** Shell commands that change the tree before it is packed, in it. */
  readonly prepare?: string;
}

/** Makes a package and puts it into a store, where builds find it. */
export async function addPackage(store: Store, item: LocalPackage): Promise<LockedPackage> {
  const { name, version = '1' } = item;
  const tree = await mkdtemp(join(tmpdir(), 'ingot-local-'));
  try {
    const fields = {
      Section: 'misc',
      Priority: 'optional',
      Maintainer: 'Tests <t@example.com>',
      ...item.fields,
    };
    const lines = Object.entries({ Package: name, Version: version, Architecture: 'amd64', ...fields });
    const put = async (path: string, content: string, mode = 0o644): Promise<void> => {
      await mkdir(dirname(join(tree, path)), { recursive: true });
      await writeFile(join(tree, path), content, { mode });
    };
    await put(
      'DEBIAN/control',
      [...lines.map(([key, value]) => `${key}: ${value}`), `Description: ${name}`, ''].join('\n'),
    );
    for (const [path, content] of Object.entries(item.files ?? {})) await put(path, content);
    for (const [script, content] of Object.entries(item.scripts ?? {})) {
      const isData = ['conffiles', 'templates', 'triggers'].includes(script);
      await put(
        `DEBIAN/${script}`,
        isData ? content : `#!/bin/sh\nset -e\n${content}\n`,
        isData ? 0o644 : 0o755,
      );
    }
    if (item.prepare !== undefined) await run(['sh', '-ec', item.prepare], { cwd: tree });
    const deb = `${tree}.deb`;
    const env = { SOURCE_DATE_EPOCH: '1700000000' };
    await run(['dpkg-deb', '--root-owner-group', '-Znone', '--build', tree, deb], { env });
    return await addFile(store, name, version, deb);
  } finally {
    await rm(tree, { recursive: true, force: true });
    await rm(`${tree}.deb`, { force: true });
  }
}

/** Puts any file into a store as the package that a lock would name. */
export async function addFile(
  store: Store,
  name: string,
  version: string,
  deb: string,
): Promise<LockedPackage> {
  const content = await readFile(deb);
  const sha256 = createHash('sha256').update(content).digest('hex');
  // Whole at once: tests that run beside this one take over what the store has.
  await using scratch = await store.scratch('package');
  const whole = join(scratch.path, 'package.deb');
  await copyFile(deb, whole);
  await mkdir(dirname(store.packagePath(sha256)), { recursive: true });
  await rename(whole, store.packagePath(sha256));
  const filename = `pool/local/${name}_${version}_amd64.deb`;
  return { name, version, architecture: 'amd64', sha256, size: content.length, filename, archive: 'debian' };
}

export interface LocalLayer {
  /** The layer asks for those that the test makes; others are there because these need them. */
  readonly packages: readonly (LocalPackage | LockedPackage)[];
  /** Other local layers that it stands on. */
  readonly needs?: readonly string[];
  readonly files?: readonly { readonly path: string; readonly content: string }[];
}

export interface LocalProject {
  readonly declaration: string;
  /** `ingot --store … build DECLARATION --output LAYOUT …`. */
  readonly build: (more?: readonly string[], options?: CliOptions) => Promise<CliResult>;
  readonly arguments: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly layout: string;
}

/**
 * A declaration in `folder`, which is made, of these addons and nothing else.
 *
 * @param store where to build; the shared one has the base and the kernel
 */
export async function localProject(
  image: BuiltImage,
  folder: string,
  layers: Readonly<Record<string, LocalLayer>>,
  store = image.store,
): Promise<LocalProject> {
  await mkdir(join(folder, 'layers/addon'), { recursive: true });
  for (const [name, { packages, needs = [], files = [] }] of Object.entries(layers)) {
    const asked = packages.filter((item) => !('sha256' in item)).map((item) => item.name);
    const definition = {
      name,
      kind: 'addon',
      summary: `${name} for tests`,
      ...(needs.length > 0 && { needs }),
      install: { debian: { packages: asked, files } },
    };
    await writeFile(join(folder, `layers/addon/${name}.yaml`), stringify(definition));
  }
  const declaration = join(folder, 'node.yaml');
  const addons = Object.keys(layers);
  await writeFile(declaration, stringify({ name: 'node', base: 'debian@13', kernel: 'cloud', addons }));

  const shared = await loadLock(lockPathOf(image.declaration));
  const catalog = await loadCatalog([join(PRODUCT_ROOT, 'layers'), join(folder, 'layers')]);
  const parsed = await loadSpec(declaration, {
    cwd: folder,
    variant: undefined,
    known: { addons, bases: ['debian'], kernels: ['cloud'], agents: [] },
    defaultRelease: () => undefined,
  });
  const opened = await Store.open(store);
  const locked: LockedLayer[] = [];
  for (const [name, { packages }] of Object.entries(layers)) {
    const found = catalog.find('addon', name);
    if (found === undefined) throw new Error(`no layer ${name}`);
    const items: LockedPackage[] = [];
    for (const item of packages) items.push('sha256' in item ? item : await addPackage(opened, item));
    locked.push({
      name: `addon-${name}`,
      kind: 'addon',
      definition: { name, digest: found.digest },
      created: shared.created,
      packages: items,
    });
  }
  const below = shared.layers.filter(({ name }) => name === 'base' || name === 'kernel');
  const lock = {
    ...shared,
    name: 'node',
    declaration: declarationDigest(parsed.image),
    layers: [...below, ...locked],
  };
  await writeFile(lockPathOf(declaration), renderLock(lock));
  const layout = join(folder, 'layout');
  const env = { INGOT_LAYERS: join(folder, 'layers') };
  const args = ['--store', store, 'build', declaration, '--output', layout];
  return {
    declaration,
    arguments: args,
    env,
    layout,
    build: (more = [], options = {}) =>
      ingot([...args, ...more], { ...options, env: { ...env, ...options.env } }),
  };
}
