/**
 * The driver's packages of a lock with the files of another release in them, as Debian has those in another suite: what
 * the lock would be had it been made then. Files are told by their names; where the other release has none of a name,
 * the lock's own stays.
 */
import { createHash } from 'node:crypto';
import {
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';

import { fetchPackages } from '../src/packages/fetch.ts';
import { loadMirrors } from '../src/packages/mirror.ts';
import type { LockedPackage } from '../src/packages/package.ts';
import { run } from '../src/proc/run.ts';
import { lockPackages } from '../src/resolve/make-lock.ts';
import { IngotError } from '../src/errors.ts';
import type { BenchContext } from './benchmark.ts';
import { solveIn } from './peers-root.ts';
import { addPackage } from './repack.ts';

const COMPONENTS = ['main', 'contrib', 'non-free', 'non-free-firmware'];
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** A release of the driver in one of Debian's suites. */
export interface DriverRelease {
  /** As NVIDIA numbers it. */
  readonly version: string;
  /** Of Debian. */
  readonly suite: string;
  /** Of the packages that have its files. */
  readonly packages: readonly string[];
}

/** Its files, by their names. */
export async function filesOfRelease(
  { version, suite, packages }: DriverRelease,
  folder: string,
  context: BenchContext,
): Promise<ReadonlyMap<string, string>> {
  const { store, env, signal, reporter } = context;
  const archive = { name: 'debian', suites: [suite], components: COMPONENTS, keyring: KEYRING };
  const release = { suite, checkValidUntil: false, archives: [archive] };
  const solved = await solveIn(context, release, packages, []);
  const wanted = lockPackages(solved.packages).filter(({ name }) => packages.includes(name));
  const other = wanted.find((one) => !one.version.startsWith(`${version}-`));
  if (wanted.length !== packages.length || other !== undefined) {
    const found = other === undefined ? 'not all of its packages' : `${other.name} ${other.version}`;
    throw new IngotError('PACKAGE_GONE', `Debian's ${suite} has ${found}, and ${version} was looked for`, {
      hint: 'bench/deltas.ts names the releases; take those that Debian has now',
    });
  }
  const mirrors = await loadMirrors(env, signal);
  await reporter.stage(`Fetch the driver ${version}`, (stage) =>
    fetchPackages(wanted, { store, mirrors, created: context.now(), stage, signal }),
  );
  const files = new Map<string, string>();
  await mkdir(folder);
  for (const { name, sha256 } of wanted) {
    const tree = join(folder, name);
    await run(['dpkg-deb', '--extract', store.packagePath(sha256), tree], { signal });
    for (const path of await filesBelow(tree)) files.set(basename(path), path);
  }
  return files;
}

/**
 * @param from the lock's release
 * @returns one for each of `packages`, in order; those of other sources as they are
 */
export async function repackAs(
  packages: readonly LockedPackage[],
  from: string,
  { version: to }: Pick<DriverRelease, 'version'>,
  files: ReadonlyMap<string, string>,
  context: BenchContext,
): Promise<LockedPackage[]> {
  const repacked: LockedPackage[] = [];
  for (const file of packages) {
    repacked.push(
      file.version.startsWith(`${from}-`) ? await repackOne(file, from, to, files, context) : file,
    );
  }
  return repacked;
}

async function repackOne(
  file: LockedPackage,
  from: string,
  to: string,
  files: ReadonlyMap<string, string>,
  { store, signal }: BenchContext,
): Promise<LockedPackage> {
  await using scratch = await store.scratch('release');
  const tree = join(scratch.path, 'tree');
  await run(['dpkg-deb', '--raw-extract', store.packagePath(file.sha256), tree], { signal });
  for (const path of await filesBelow(tree)) {
    const name = basename(path);
    const other = files.get(name.replaceAll(from, to));
    const isControl = path.startsWith(join(tree, 'DEBIAN/'));
    if (isControl) await writeFile(path, (await readFile(path, 'utf8')).replaceAll(from, to));
    else if (other !== undefined && !(await lstat(path)).isSymbolicLink()) await copyFile(other, path);
    const target = (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined;
    if (target?.includes(from) === true) {
      await rm(path);
      await symlink(target.replaceAll(from, to), path);
    }
    const renamed = join(tree, relative(tree, path).replaceAll(from, to));
    if (renamed === path) continue;
    await mkdir(dirname(renamed), { recursive: true });
    await rename(path, renamed);
  }
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory() && entry.name.includes(from)) {
      await rm(join(entry.parentPath, entry.name), { recursive: true, force: true });
    }
  }
  await writeSums(tree);
  const built = join(scratch.path, 'package.deb');
  await run(['dpkg-deb', '--root-owner-group', '-Zxz', '-z1', '--build', tree, built], { signal });
  return { ...file, ...(await addPackage(built, file, file.version.replace(from, to), store, signal)) };
}

async function writeSums(tree: string): Promise<void> {
  const path = join(tree, 'DEBIAN/md5sums');
  if ((await stat(path).catch(() => undefined)) === undefined) return;
  const lines: string[] = [];
  for (const file of (await filesBelow(tree)).sort()) {
    if (file.startsWith(join(tree, 'DEBIAN/')) || (await lstat(file)).isSymbolicLink()) continue;
    const sum = createHash('md5')
      .update(await readFile(file))
      .digest('hex');
    lines.push(`${sum}  ${relative(tree, file)}\n`);
  }
  await writeFile(path, lines.join(''));
}

/** Links too. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}
