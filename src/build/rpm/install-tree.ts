/** Layers of rpm packages: installed for good, on everything below, as rpm's database is one file that cannot be merged. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { formatOf } from '../../packages/package.ts';
import { RPM_DATABASE } from '../../packages/rpm/rpm-database.ts';
import type { PlannedTree, RpmInput } from '../../plan/plan.ts';
import { rpmInstallArgv } from '../../tools/rpm.ts';
import type { Store } from '../../store/store.ts';
import { inOverlay, type BelowTree } from '../overlay.ts';
import { writePlannedFiles } from '../planned-files.ts';
import type { RootFs } from '../root-fs.ts';
import { PACKAGES_INSIDE } from '../sandbox.ts';
import { readAccounts } from '../seal/accounts.ts';
import { settleIds } from '../seal/stable-ids.ts';
import { RPM, runRpm, type RpmOptions, type RpmRoot } from './run-rpm.ts';

export interface InstallOptions extends RpmOptions {
  readonly store: Store;
  /** Path of the root that rpm comes from. */
  readonly tools: string;
}

/** Programs that package scripts call, and that run once, in the seal. */
const MASKED = ['/usr/bin/dracut', '/usr/bin/kernel-install', '/usr/bin/kmod'];
/** What rpm and the programs that make accounts leave beside their files. */
const DEBRIS = /^etc\/(?:(?:passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock)$/;

/** What installing the step's packages on `below` changes. */
export async function makeInstallTree(
  root: string,
  step: PlannedTree,
  { database }: RpmInput,
  below: readonly BelowTree[],
  options: InstallOptions,
): Promise<void> {
  const { store, tools, signal } = options;
  await inOverlay(root, below, options, async (merged, namespace, fs) => {
    if (step.packages.length > 0) {
      const masked: string[] = [];
      for (const path of MASKED) if (await fs.exists(path)) masked.push(path);
      const packages = store.path('packages');
      const place: RpmRoot = { root: merged, namespace, tools, packages, epoch: step.epoch, masked };
      const accounts = await readAccounts(fs);
      const files = step.packages.map((item) => `${PACKAGES_INSIDE}/${store.packageName(item.sha256, formatOf(item))}`);
      await runRpm(rpmInstallArgv(RPM, database, files), place, options);
      await settleIds(fs, root, accounts, signal);
      await tidyDatabase(fs, database);
    }
    await writePlannedFiles(fs, step.files, store);
  });
}

/** The database as the seal of the stack carries it; no layer has a copy. */
export async function sealRpmDatabase(fs: RootFs, { database }: RpmInput): Promise<void> {
  const path = join(database, RPM_DATABASE);
  const content = await readFile(await fs.resolve(path));
  await fs.remove(path);
  await fs.writeFile(path, content);
  await tidyDatabase(fs, database);
}

/** rpm leaves its lock, and the memory that users of the database share; an empty log says that all is written. */
export async function tidyDatabase(fs: RootFs, database: string): Promise<void> {
  const log = join(database, `${RPM_DATABASE}-wal`);
  if ((await fs.readTextIfPresent(log)) === '') await fs.remove(log);
  for (const name of [`${RPM_DATABASE}-shm`, '.rpm.lock']) await fs.remove(join(database, name));
}

/** True for paths, relative to the tree, that layers leave to the seal, or that nobody keeps. */
export function isLeftToSeal(path: string, { database }: RpmInput): boolean {
  return DEBRIS.test(path) || path.startsWith(`${database.slice(1)}/`);
}

export function isSealedDatabase(path: string, { database }: RpmInput): boolean {
  return path === `${database.slice(1)}/${RPM_DATABASE}`;
}
