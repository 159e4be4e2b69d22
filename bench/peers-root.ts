/**
 * The root that buildah, mkosi, skopeo and oras run from: Debian's own packages of sid, whose versions are current, whatever the
 * machine is. Made by the same code as the tools root and kept in the benchmarks' store.
 */
import { ensureToolsRoot } from '../src/build/tools-tree.ts';
import { openCatalog } from '../src/cli/load-image.ts';
import { digestOfJson } from '../src/digest.ts';
import { IngotError } from '../src/errors.ts';
import { openIndexes, updateIndexes } from '../src/packages/indexes.ts';
import { fetchPackages } from '../src/packages/fetch.ts';
import { loadMirrors, type Mirrors } from '../src/packages/mirror.ts';
import type { LockedPackage } from '../src/packages/package.ts';
import type { Solution } from '../src/packages/solution.ts';
import { solvePackages } from '../src/packages/solve.ts';
import type { Argv } from '../src/proc/run.ts';
import { imagePackages } from '../src/resolve/compare-locks.ts';
import type { Lock } from '../src/resolve/lock.ts';
import { lockPackages } from '../src/resolve/make-lock.ts';
import type { BenchContext } from './benchmark.ts';

const RELEASE = 'sid';
const PACKAGES = [
  // Builds by a Containerfile.
  ...['buildah', 'crun', 'netavark', 'ca-certificates'],
  // Builds images by a configuration of its own.
  ...['mkosi', 'apt', 'cpio', 'kmod', 'mount', 'systemd', 'zstd', 'skopeo'],
  // Moves images.
  'oras',
];

/** @returns the root's path */
export async function ensurePeers(context: BenchContext): Promise<string> {
  const { store, reporter, signal, env } = context;
  const { suite, archives, packages } = await solveFor(context, RELEASE, PACKAGES, []);
  const lock = {
    created: context.now().toISOString(),
    tools: { definition: digestOfJson(PACKAGES), suite, archives, packages: lockPackages(packages) },
  };
  const mirrors = (): Promise<Mirrors> => loadMirrors(env, signal);
  const { path } = await ensureToolsRoot({ lock, store, mirrors, reporter, signal });
  return path;
}

/** apt and what it needs besides the lock's packages, in the store: a Containerfile installs from inside. */
export async function fetchApt(lock: Lock, context: BenchContext): Promise<LockedPackage[]> {
  const { store, reporter, signal, env } = context;
  const present = [...imagePackages(lock)];
  const { packages } = await solveFor(context, lock.base.release, ['apt'], present);
  const known = new Set(present.map(({ name }) => name));
  const missing = lockPackages(packages).filter(({ name }) => !known.has(name));
  const created = new Date(lock.created);
  const mirrors = await loadMirrors(env, signal);
  await reporter.stage('Fetch apt', (stage) =>
    fetchPackages(missing, { store, mirrors, created, stage, signal }),
  );
  return missing;
}

async function solveFor(
  context: BenchContext,
  number: string,
  names: readonly string[],
  keep: readonly LockedPackage[],
): Promise<Solution> {
  const catalog = await openCatalog(context);
  const release = catalog.find('base', 'debian')?.definition.releases?.[number];
  if (release === undefined) throw new IngotError('CATALOG_INVALID', `debian has no release ${number}`);
  return solveIn(context, release, names, keep);
}

/** What apt would install of a release of Debian. */
export async function solveIn(
  context: BenchContext,
  release: Parameters<typeof openIndexes>[0]['release'],
  names: readonly string[],
  keep: readonly LockedPackage[],
): Promise<Solution> {
  const { store, reporter, signal, env } = context;
  const mirrors = await loadMirrors(env, signal);
  const indexes = await openIndexes({ store, mirrors, release, architecture: 'amd64', reporter, signal });
  await reporter.stage(`Update package indexes of ${release.suite}`, () =>
    updateIndexes(indexes, reporter, signal),
  );
  const wanted = names.map((name) => ({ name, by: 'the benchmark' }));
  const kept = keep.map(({ name, version }) => ({ name, version }));
  return solvePackages(indexes, { wanted, keep: kept }, reporter, signal);
}

/**
 * Makes an overlay of the root the program's own root, with `work` in it at /peers, and becomes the program. For a
 * mount namespace of its own: nothing is unmounted.
 */
const ENTER = `
root=$1 work=$2 spare=$3; shift 3
mkdir -p "$spare/upper" "$spare/own" "$spare/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$spare/upper,workdir=$spare/own" "$spare/root"
cd "$spare/root"
mkdir -p peers proc sys dev run tmp
mount --rbind "$work" peers
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . .
umount -l .
cd /peers
exec "$@"
`;

/** In mount and process namespaces of its own, as `measure` runs it. */
export function apart(argv: Argv): Argv {
  return ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--', ...argv];
}

/**
 * @param root of `ensurePeers`
 * @param work folder that the program sees as /peers
 * @param spare a folder on the same file system, for what is written outside of /peers
 */
export function inPeersArgv(root: string, work: string, spare: string, program: Argv): Argv {
  const environment = ['env', '-i', 'PATH=/usr/sbin:/usr/bin', 'HOME=/root', 'LC_ALL=C.UTF-8'];
  return ['sh', '-e', '-c', ENTER, 'sh', root, work, spare, ...environment, ...program];
}
