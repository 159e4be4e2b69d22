/** What `bench build` works on: one declaration with three locks, the packages of them all, and a root for the peers. */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { runLock } from '../src/cli/commands/lock.ts';
import { lockPathOf } from '../src/cli/load-lock.ts';
import { preparePlan } from '../src/cli/prepare-plan.ts';
import { PRODUCT_ROOT } from '../src/cli/root-command.ts';
import { hexOf } from '../src/digest.ts';
import { fetchPackages } from '../src/packages/fetch.ts';
import { loadMirrors, withRepositories } from '../src/packages/mirror.ts';
import type { LockedPackage } from '../src/packages/package.ts';
import type { Plan, PlanStep } from '../src/plan/plan.ts';
import { run, type Argv } from '../src/proc/run.ts';
import { imagePackages } from '../src/resolve/compare-locks.ts';
import { renderLock } from '../src/resolve/lock-text.ts';
import type { Lock } from '../src/resolve/lock.ts';
import type { Store } from '../src/store/store.ts';
import type { BenchContext } from './benchmark.ts';
import { makeRepository } from './local-repository.ts';
import { ensurePeers, fetchApt } from './peers-root.ts';
import { repackAll } from './repack.ts';

const DECLARATION = 'images/debian-nvidia-cuda.yaml';

/** One state of the node's packages: the declaration with a lock of its own. */
export interface Variant {
  readonly name: string;
  readonly declaration: string;
  readonly lock: Lock;
  readonly plan: Plan;
}

export interface Variants {
  readonly store: Store;
  readonly initial: Variant;
  /** A later version of every package of the driver's layer. */
  readonly driver: Variant;
}

export interface BuildWork extends Variants {
  readonly folder: string;
  /** A later version of every package of CUDA's layer. */
  readonly cuda: Variant;
  /** What the peers see as /peers: `repository`, `context`, and what they make. */
  readonly peersWork: string;
  readonly peersRoot: string;
  readonly peersSpare: string;
  /** Where Ingot writes its layouts. */
  readonly output: string;
}

/** The image, and the one that a new driver makes of it; their packages are in the store. */
export async function prepareVariants(
  context: BenchContext,
  declaration: string = DECLARATION,
): Promise<Variants> {
  const { scratch, store } = context;
  for (const name of ['initial', 'driver']) await mkdir(join(scratch, name));
  const initial = await lockInitial(join(scratch, 'initial'), declaration, context);
  return { store, initial, driver: await makeLater('driver', initial, join(scratch, 'driver'), context) };
}

export async function prepareBuildWork(context: BenchContext): Promise<BuildWork> {
  const { scratch, store, reporter, signal } = context;
  const folder = (name: string): string => join(scratch, name);
  const { initial, driver } = await prepareVariants(context);
  for (const name of ['cuda', 'work', 'spare', 'output']) await mkdir(folder(name));
  const cuda = await makeLater('cuda', initial, folder('cuda'), context);
  const packages = new Map<string, LockedPackage>(
    [await fetchApt(initial.lock, context), ...[initial, driver, cuda].map(({ lock }) => imagePackages(lock))]
      .flatMap((files) => [...files])
      .map((file) => [file.sha256, file]),
  );
  const { suite, architecture } = initial.lock.base;
  const repository = join(folder('work'), 'repository');
  await mkdir(repository);
  await reporter.stage('Make a package repository', () =>
    makeRepository(repository, { store, suite, architecture, packages: [...packages.values()], signal }),
  );
  return {
    folder: scratch,
    store,
    initial,
    driver,
    cuda,
    peersWork: folder('work'),
    peersRoot: await ensurePeers(context),
    peersSpare: folder('spare'),
    output: folder('output'),
  };
}

export async function lockInitial(folder: string, original: string, context: BenchContext): Promise<Variant> {
  const { reporter, store, env, signal } = context;
  const declaration = join(folder, 'image.yaml');
  await copyFile(resolve(context.productRoot, original), declaration);
  await runLock(context, [declaration], {});
  const { lock, plan } = await preparePlan(context, declaration);
  const mirrors = withRepositories(await loadMirrors(env, signal), lock.archives);
  await reporter.stage('Fetch packages', (stage) =>
    fetchPackages(imagePackages(lock), { store, mirrors, created: new Date(lock.created), stage, signal }),
  );
  return { name: 'initial', declaration, lock, plan };
}

/** The lock that would be made when the archive got a later version of what the layers of `kind` own. */
async function makeLater(
  kind: 'driver' | 'cuda',
  initial: Variant,
  folder: string,
  context: BenchContext,
): Promise<Variant> {
  const owned = packagesOf(initial, kind);
  const repacked = await context.reporter.stage(`Make a later version of the ${kind}`, () =>
    repackAll(owned, context.store, context.signal),
  );
  return withPackages(initial, { name: kind, kind, packages: repacked }, folder, context);
}

/** What the layers of a kind own. */
export function packagesOf({ lock }: Variant, kind: 'driver' | 'cuda'): readonly LockedPackage[] {
  return lock.layers.filter((layer) => layer.kind === kind).flatMap((layer) => layer.packages);
}

/** The declaration with a lock of a day later, in which layers of a kind have other packages of the same names. */
export async function withPackages(
  { declaration: original, lock }: Variant,
  changes: {
    readonly name: Variant['name'];
    readonly kind: 'driver' | 'cuda';
    readonly packages: readonly LockedPackage[];
  },
  folder: string,
  context: BenchContext,
): Promise<Variant> {
  const { name, kind, packages } = changes;
  const created = new Date(Date.parse(lock.created) + 86_400_000).toISOString().replace(/\.\d+Z$/, 'Z');
  const later = new Map<string, LockedPackage>(packages.map((file) => [file.name, file]));
  const declaration = join(folder, 'image.yaml');
  await copyFile(original, declaration);
  const changed: Lock = {
    ...lock,
    created,
    version: `${lock.version}.1`,
    layers: lock.layers.map((layer) =>
      layer.kind === kind
        ? { ...layer, created, packages: layer.packages.map((file) => later.get(file.name) ?? file) }
        : layer,
    ),
  };
  await writeFile(lockPathOf(declaration), renderLock(changed));
  const { plan } = await preparePlan(context, declaration);
  return { name, declaration, lock: changed, plan };
}

export function buildArgv(store: Store, variant: Variant, layout: string): Argv {
  return [
    ...([join(PRODUCT_ROOT, 'bin/ingot')] as const),
    ...['--json', '--store', store.root],
    ...['build', variant.declaration, '--output', layout],
  ];
}

/** Unmeasured. */
export async function buildLayout(
  store: Store,
  variant: Variant,
  layout: string,
  { reporter, signal }: Pick<BenchContext, 'reporter' | 'signal'>,
): Promise<void> {
  await run(buildArgv(store, variant, layout), {
    signal,
    onLine: (line) => {
      reporter.debug(line);
    },
  });
}

/** Makes the store forget what steps were built into, so that they are built again. */
export async function forget(store: Store, steps: readonly PlanStep[]): Promise<void> {
  for (const { key, treeKey } of steps) {
    const record = store.path('records', 'layers', `${hexOf(key)}.json`);
    const text = await readFile(record, 'utf8').catch(() => '');
    for (const [, hex = ''] of text.matchAll(/"digest": "sha256:([0-9a-f]{64})"/g)) {
      await rm(store.blobPath(hex), { force: true });
    }
    await rm(record, { force: true });
    // Trees hold files that their owner may not write.
    await rm(store.path('trees', hexOf(treeKey)), { recursive: true, force: true });
  }
}

/** Bytes of the blobs below `layout` that `before` has not. */
export async function newBytes(before: string, layout: string, signal: AbortSignal): Promise<number> {
  const list = async (folder: string): Promise<Map<string, number>> => {
    const blobs = join(folder, 'blobs/sha256');
    const { stdout } = await run(['find', blobs, '-type', 'f', '-printf', '%f %s\n'], { signal });
    return new Map(
      stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => [line.slice(0, 64), Number(line.slice(65))]),
    );
  };
  const had = await list(before);
  let bytes = 0;
  for (const [hex, size] of await list(layout)) if (!had.has(hex)) bytes += size;
  return bytes;
}
