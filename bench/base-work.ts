/** What `bench base` works on: the declaration and its lock, the packages as each side wants them, and folders. */
import { copyFile, link, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { runLock } from '../src/cli/commands/lock.ts';
import { lockPathOf } from '../src/cli/load-lock.ts';
import { preparePlan } from '../src/cli/prepare-plan.ts';
import { IngotError } from '../src/errors.ts';
import { fetchPackages } from '../src/packages/fetch.ts';
import { loadMirrors } from '../src/packages/mirror.ts';
import { imagePackages } from '../src/resolve/compare-locks.ts';
import { renderLock } from '../src/resolve/lock-text.ts';
import type { Lock } from '../src/resolve/lock.ts';
import { loadSpec } from '../src/spec/load.ts';
import { declarationDigest } from '../src/spec/normalise.ts';
import type { Store } from '../src/store/store.ts';
import type { BenchContext } from './benchmark.ts';
import { makeRepository } from './local-repository.ts';

const DECLARATION = 'images/debian-minimal.yaml';

export interface BaseWork {
  readonly folder: string;
  /** Its lock stands beside it. */
  readonly declaration: string;
  /** The same with another kernel argument; written by `changeKernelArguments`. */
  readonly changed: string;
  readonly lock: Lock;
  /** The lock's packages, as apt reads them. */
  readonly repository: string;
  /** Where the packages come from. */
  readonly packages: Store;
  /** Store of the builds that are measured. */
  readonly ingotStore: string;
  /** What is made lies here. */
  readonly output: string;
  /** Of the images built from `declaration`. */
  readonly digests: Set<string>;
}

export async function prepareWork(context: BenchContext): Promise<BaseWork> {
  const { reporter, scratch, signal, store } = context;
  const folder = join(scratch, 'image');
  const declaration = join(folder, 'debian-minimal.yaml');
  await mkdir(folder);
  await copyFile(join(context.productRoot, DECLARATION), declaration);
  const lock = await lockWithPackages(declaration, context);
  const work: BaseWork = {
    folder: scratch,
    declaration,
    changed: join(folder, 'changed.yaml'),
    lock,
    repository: join(scratch, 'repository'),
    packages: store,
    ingotStore: join(scratch, 'store'),
    output: join(scratch, 'output'),
    digests: new Set(),
  };
  await mkdir(work.repository);
  await mkdir(work.output);
  const { suite, architecture } = lock.base;
  const packages = imagePackages(lock);
  await reporter.stage('Make a package repository', () =>
    makeRepository(work.repository, { store, suite, architecture, packages, signal }),
  );
  return work;
}

const NEEDS_NEW_LOCK = new Set(['LOCK_MISSING', 'LOCK_STALE', 'LOCK_INVALID', 'PACKAGE_GONE']);

/** The declaration's own lock while it holds and its packages can be had, else one made now. */
async function lockWithPackages(declaration: string, context: BenchContext): Promise<Lock> {
  const own = lockPathOf(join(context.productRoot, DECLARATION));
  await copyFile(own, lockPathOf(declaration)).catch(() => undefined); // absent: LOCK_MISSING below
  try {
    return await checkAndFetch(declaration, context);
  } catch (error) {
    if (!(error instanceof IngotError) || !NEEDS_NEW_LOCK.has(error.code)) throw error;
    context.reporter.warning(`the lock of ${DECLARATION} cannot be built any more: ${error.message}`);
  }
  await runLock(context, [declaration], {});
  return checkAndFetch(declaration, context);
}

async function checkAndFetch(declaration: string, context: BenchContext): Promise<Lock> {
  const { reporter, store, env, signal } = context;
  const { lock } = await preparePlan(context, declaration);
  const mirrors = await loadMirrors(env, signal);
  const created = new Date(lock.created);
  await reporter.stage('Fetch packages', (stage) =>
    fetchPackages(imagePackages(lock), { store, mirrors, created, stage, signal }),
  );
  return lock;
}

/** A store of nothing but the packages. */
export async function emptyIngotStore(work: BaseWork): Promise<void> {
  await rm(work.ingotStore, { recursive: true, force: true });
  for (const { sha256 } of imagePackages(work.lock)) {
    const target = join(work.ingotStore, 'packages', sha256.slice(0, 2), `${sha256}.deb`);
    await mkdir(dirname(target), { recursive: true });
    await link(work.packages.packagePath(sha256), target);
  }
}

export async function emptyOutput(work: BaseWork): Promise<void> {
  await rm(work.output, { recursive: true, force: true });
  await mkdir(work.output);
}

/** Writes a declaration that differs in one kernel argument, new in each round, and the lock that goes with it. */
export async function changeKernelArguments(work: BaseWork, round: number): Promise<void> {
  const text = `extends: ./debian-minimal.yaml\nname: ${work.lock.name}\nkernelArguments: [ingot.bench=${round}]\n`;
  await writeFile(work.changed, text);
  const { image } = await loadSpec(work.changed, { defaultRelease: () => work.lock.base.release });
  const lock: Lock = { ...work.lock, declaration: declarationDigest(image) };
  await writeFile(lockPathOf(work.changed), renderLock(lock));
}
