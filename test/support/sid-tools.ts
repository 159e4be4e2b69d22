/**
 * Programs of Debian sid as oracles: what others use today, whatever release the machine is. Their packages are
 * fetched as an image's are, and unpacked with all that they depend on. Nothing is configured and no namespace is
 * made: a program runs by its own loader with its own libraries, and sees the machine's files and network.
 *
 * Kept in the tests' store: what was chosen once stays as it is, so a later run needs no network.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

import { openCatalog } from '../../src/cli/load-image.ts';
import { digestOfJson, hexOf } from '../../src/digest.ts';
import { errnoOf } from '../../src/errors.ts';
import { fetchPackages } from '../../src/packages/fetch.ts';
import { openIndexes, updateIndexes } from '../../src/packages/indexes.ts';
import { loadMirrors } from '../../src/packages/mirror.ts';
import { LockedPackage } from '../../src/packages/package.ts';
import type { SolvedPackage } from '../../src/packages/solution.ts';
import { solvePackages } from '../../src/packages/solve.ts';
import { acquireFileLock } from '../../src/proc/file-lock.ts';
import { type Argv, run } from '../../src/proc/run.ts';
import { silentReporter as reporter } from '../../src/report/events.ts';
import { lockPackages } from '../../src/resolve/make-lock.ts';
import { Store, writeFileAtomically } from '../../src/store/store.ts';
import { TEST_FOLDER, TEST_STORE } from './built-image.ts';
import { PRODUCT_ROOT } from './cli.ts';

export interface SidTools {
  readonly path: string;
  /** The argument vector that runs a program of the root's /usr/bin. */
  argv(program: string, ...args: readonly string[]): Argv;
}

const Chosen = z.object({ created: z.string(), packages: z.array(LockedPackage) });
type Chosen = z.infer<typeof Chosen>;

/** @param names the packages that are wanted; what they depend on comes with them */
export async function sidTools(names: readonly string[]): Promise<SidTools> {
  const folder = join(TEST_FOLDER, 'sid');
  await mkdir(folder, { recursive: true });
  await using _lock = await acquireFileLock(join(folder, 'lock'));
  const record = join(folder, `${hexOf(digestOfJson(names)).slice(0, 12)}.json`);
  const store = await Store.open(TEST_STORE);
  const chosen = (await readChosen(record)) ?? (await choose(store, names));
  const path = join(folder, hexOf(digestOfJson(chosen.packages)).slice(0, 12));
  if (!existsSync(path)) {
    // A mirror forgets packages that it had when they were chosen: then the next run chooses anew.
    await rm(record, { force: true });
    await unpack(store, chosen, path);
  }
  await writeFileAtomically(record, JSON.stringify(chosen));
  return {
    path,
    argv: (program, ...args) => [
      join(path, 'usr/lib64/ld-linux-x86-64.so.2'),
      '--library-path',
      join(path, 'usr/lib/x86_64-linux-gnu'),
      join(path, 'usr/bin', program),
      ...args,
    ],
  };
}

async function choose(store: Store, names: readonly string[]): Promise<Chosen> {
  const now = new Date();
  const catalog = await openCatalog({
    cwd: PRODUCT_ROOT,
    productRoot: PRODUCT_ROOT,
    env: process.env,
    reporter,
  });
  const release = catalog.find('base', 'debian')?.definition.releases?.['sid'];
  if (release === undefined) throw new Error('the catalogue does not know sid');
  const mirrors = await loadMirrors(process.env);
  const indexes = await openIndexes({ store, mirrors, release, architecture: 'amd64', reporter });
  await updateIndexes(indexes, reporter);
  const wanted = names.map((name) => ({ name, by: 'the tests' }));
  const { packages } = await solvePackages(indexes, { wanted, keep: [] }, reporter);
  return { created: now.toISOString(), packages: lockPackages(closure(names, packages)) };
}

/** The named packages and what they depend on, without what every root has besides. */
function closure(names: readonly string[], packages: readonly SolvedPackage[]): readonly SolvedPackage[] {
  const providers = new Map<string, SolvedPackage>();
  for (const one of packages) {
    for (const name of namesIn(one.provides)) providers.set(name, one);
  }
  for (const one of packages) providers.set(one.package.name, one);
  const found = new Set(names.flatMap((name) => providers.get(name) ?? []));
  for (const { depends } of found) {
    for (const name of namesIn(depends)) {
      const provider = providers.get(name);
      if (provider !== undefined) found.add(provider);
    }
  }
  return [...found];
}

/** All names in a relation field: `a (>= 1) | b, c:any`. */
function namesIn(relations: string): readonly string[] {
  return relations.split(/[,|]/).flatMap((one) => /^\s*([a-z0-9][a-z0-9+.-]+)/.exec(one)?.[1] ?? []);
}

async function unpack(store: Store, { created, packages }: Chosen, path: string): Promise<void> {
  const mirrors = await loadMirrors(process.env);
  await fetchPackages(packages, { store, mirrors, created: new Date(created) });
  const temporary = await mkdtemp(`${path}.tmp-`);
  try {
    // A merged /usr, as base-files would make it.
    for (const name of ['bin', 'lib', 'lib64', 'sbin']) {
      await mkdir(join(temporary, 'usr', name), { recursive: true });
      await run(['ln', '-s', `usr/${name}`, join(temporary, name)]);
    }
    for (const { sha256 } of packages) {
      await run([
        'sh',
        '-c',
        'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink',
        'sh',
        store.packagePath(sha256),
        temporary,
      ]);
    }
    await rename(temporary, path);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function readChosen(path: string): Promise<Chosen | undefined> {
  try {
    return Chosen.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
