/**
 * The packages of an image, installed the way a Containerfile does it: on the image's own base one layer after
 * another, each copied files and an `apt-get install`, nothing left for later. What the image is compared with.
 */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { makeRepository } from '../../bench/local-repository.ts';
import { allowServices, forbidServices } from '../../src/build/debian/bootstrap.ts';
import { writePlannedFiles } from '../../src/build/planned-files.ts';
import { RootFs } from '../../src/build/root-fs.ts';
import { unitArgvs } from '../../src/build/seal/units.ts';
import { makeBaseTree } from '../../src/build/steps.ts';
import { openTreeStore, type TreeStore } from '../../src/build/trees.ts';
import type { Plan, PlanStep } from '../../src/plan/plan.ts';
import { MountNamespace } from '../../src/proc/mount-namespace.ts';
import { type Argv, run, type RunResult } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import type { Store } from '../../src/store/store.ts';
import { renderAptState } from '../../src/tools/apt.ts';
import { bubblewrapArgv } from '../../src/tools/bubblewrap.ts';
import { mountOverlayArgv } from '../../src/tools/mount.ts';

const SUITE = 'locked';

/** A root that lasts until it is disposed. */
export class SequentialRoot implements AsyncDisposable {
  readonly #namespace: MountNamespace;
  readonly #inside: string;
  readonly #epoch: number;

  constructor(namespace: MountNamespace, inside: string, epoch: number) {
    this.#namespace = namespace;
    this.#inside = inside;
    this.#epoch = epoch;
  }

  /** Its path on this machine. */
  get path(): string {
    return this.#namespace.outsidePath(this.#inside);
  }

  async run(program: Argv): Promise<RunResult> {
    return this.#namespace.run(containerArgv(this.#inside, this.#epoch, [], program));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
  }
}

/**
 * @param store has the packages of the plan, and its modules if it has any
 * @param folder an empty one on the store's file system, for whatever this takes
 */
export async function installInSequence(plan: Plan, store: Store, folder: string): Promise<SequentialRoot> {
  const [base, ...layers] = plan.steps.filter(({ kind }) => kind !== 'seal');
  if (base === undefined) throw new Error('the plan has no base');
  const trees = await openTreeStore(store);
  const options = { store, reporter: silentReporter };
  const lower = await trees.ensure(base.treeKey, base.name, (root) => makeBaseTree(root, base, options), {});
  const at = (name: string): string => join(folder, name);
  for (const name of ['upper', 'work', 'merged', 'apt', 'repository']) await mkdir(at(name));
  // What apt hands dpkg has one path for both; below /tmp it leaves nothing behind in the root.
  const shared = await mkdtemp('/tmp/ingot-apt-');
  const namespace = await MountNamespace.open();
  const root = at('merged');
  const sequential = new SequentialRoot(namespace, root, plan.epoch);
  try {
    await namespace.run(
      mountOverlayArgv({ lower: [lower], upper: at('upper'), work: at('work'), target: root }),
    );
    const fs = new RootFs(sequential.path);
    const repository = join(shared, 'repository');
    await mkdir(repository);
    await namespace.run(['mount', '--bind', at('repository'), repository]);
    const packages = plan.steps.flatMap((step) => (step.kind === 'modules' ? [] : step.packages));
    await makeRepository(at('repository'), {
      store,
      suite: SUITE,
      architecture: plan.architecture,
      packages,
    });
    const apt = await prepareApt(plan, { root, state: at('apt'), shared, repository });
    await namespace.run(apt(['update']));
    await forbidServices(fs);
    for (const step of layers) {
      await writePlannedFiles(fs, step.files, store);
      if (step.kind === 'modules') await copyModules(step, trees, sequential, plan.kernelRelease);
      const wanted = step.packages.map(({ name, version }) => `${name}=${version}`);
      if (step.kind === 'unpack' && wanted.length > 0) await namespace.run(apt(['install', ...wanted]));
    }
    await allowServices(fs);
    for (const argv of unitArgvs(plan.seal.units)) await sequential.run(argv);
    return sequential;
  } catch (error) {
    await sequential[Symbol.asyncDispose]();
    throw error;
  } finally {
    await rm(shared, { recursive: true, force: true });
  }
}

/** No package has them: who has modules of his own copies them and makes the index anew. */
async function copyModules(
  step: PlanStep,
  trees: TreeStore,
  sequential: SequentialRoot,
  release: string,
): Promise<void> {
  const tree = await trees.find(step.treeKey);
  if (tree === undefined) throw new Error(`the store lacks the tree of ${step.name}: build the image first`);
  await run(['cp', '--archive', `${tree}/.`, sequential.path]);
  await sequential.run(['depmod', '--all', release]);
}

interface AptFolders {
  readonly root: string;
  readonly state: string;
  /** Outside of the root and in it. */
  readonly shared: string;
  /** Below `shared`. */
  readonly repository: string;
}

/**
 * This machine's apt-get, for the base has none, with a state of its own and a repository of exactly the lock's
 * packages. It calls dpkg through a script that runs the root's own, in the root, without network.
 */
async function prepareApt(
  plan: Plan,
  { root, state, shared, repository }: AptFolders,
): Promise<(args: readonly [string, ...string[]]) => Argv> {
  for (const [name, content] of renderAptState(state, plan.architecture, [])) {
    await writeFile(join(state, name), content);
  }
  await mkdir(join(state, 'log'));
  await mkdir(join(state, 'lists/partial'), { recursive: true });
  await mkdir(join(state, 'cache/archives/partial'), { recursive: true });
  const sources = join(state, 'sources.list');
  await writeFile(sources, `deb [trusted=yes] file:${repository} ${SUITE} main\n`);
  const dpkg = join(state, 'dpkg');
  const argv = containerArgv(root, plan.epoch, [shared], ['dpkg']).map(quoted).join(' ');
  await writeFile(dpkg, `#!/bin/sh\nexec ${argv} "$@"\n`);
  await chmod(dpkg, 0o755);
  const settings = {
    'Dir::State::status': join(root, 'usr/lib/sysimage/dpkg/status'),
    'Dir::Bin::dpkg': dpkg,
    'Dir::Log': join(state, 'log'),
    'Dir::Etc::sourcelist': sources,
    'Dpkg::Use-Pty': 'false',
  };
  const flags = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  const configured = [
    'env',
    `APT_CONFIG=${join(state, 'apt.conf')}`,
    `TMPDIR=${shared}`,
    'apt-get',
    ...flags,
  ] as const;
  return (args) => [...configured, '--yes', '--no-install-recommends', '--no-remove', ...args];
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** What container builders give package scripts, and no network. */
function containerArgv(root: string, epoch: number, readable: readonly string[], program: Argv): Argv {
  return bubblewrapArgv(program, {
    root,
    binds: readable.map((source) => ({ source, readOnly: true })),
    tmpfs: ['/tmp', '/var/tmp', '/run'],
    capabilities: [
      ...['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'SETFCAP', 'SETGID', 'SETUID'],
      'SYS_CHROOT',
    ],
    environment: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: '/root',
      LC_ALL: 'C.UTF-8',
      TZ: 'UTC',
      DEBIAN_FRONTEND: 'noninteractive',
      // The last day on which a password was changed is in /etc/shadow.
      SOURCE_DATE_EPOCH: String(epoch),
    },
  });
}
