/** What `ingot doctor` looks at. Where it can, a check does the thing itself instead of guessing from versions. */
import { constants, existsSync } from 'node:fs';
import { access, mkdir, readFile, statfs } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import { loadMirrors } from '../../packages/mirror.ts';
import { MountNamespace } from '../../proc/mount-namespace.ts';
import { run } from '../../proc/run.ts';
import { formatBytes } from '../../report/format.ts';
import { Store } from '../../store/store.ts';
import type { CommandContext } from '../context.ts';
import type { Check } from './check.ts';
import { loadNeededPackages, missingProofs } from './debian-packages.ts';
import { checkDeployment, checkEngine, checkImage } from './node-checks.ts';

const GIB = 2 ** 30;
/** A first build: packages, trees of the image and of the tools root, layers, and a disk image. */
const COMFORTABLE_BYTES = 12 * GIB;
const LEAST_BYTES = 4 * GIB;

type CheckFunction = (context: CommandContext) => Promise<readonly Check[]>;

const CHECKS: readonly CheckFunction[] = [
  checkNode,
  checkRoot,
  checkPackages,
  checkStore,
  checkNamespaces,
  checkOverlay,
  checkSandbox,
  checkMirror,
  checkKvm,
];

const NODE_CHECKS: readonly CheckFunction[] = [checkNode, checkImage, checkDeployment, checkEngine];

/** Every check, in order. A check that breaks is itself a failed check. */
export async function runChecks(context: CommandContext): Promise<readonly Check[]> {
  const checks: Check[] = [];
  // Without layers nothing can be built: this is a node, and Ingot its agent.
  const builds = existsSync(join(context.productRoot, 'layers'));
  for (const check of builds ? CHECKS : NODE_CHECKS) {
    context.signal.throwIfAborted();
    checks.push(...(await check(context)));
  }
  return checks;
}

async function checkNode({ productRoot }: CommandContext): Promise<readonly Check[]> {
  const { engines } = JSON.parse(await readFile(join(productRoot, 'package.json'), 'utf8')) as {
    readonly engines: { readonly node: string };
  };
  const least = Number(/\d+/.exec(engines.node)?.[0]);
  const { node } = process.versions;
  return [
    Number.parseInt(node, 10) >= least
      ? { name: 'node', status: 'pass', found: `Node.js ${node}` }
      : {
          name: 'node',
          status: 'fail',
          found: `Node.js ${node}, ${least} is needed`,
          mend: 'start Ingot through bin/ingot or npx, which use the Node.js that npm installed',
        },
  ];
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function checkRoot(): Promise<readonly Check[]> {
  return Promise.resolve([
    isRoot()
      ? { name: 'root', status: 'pass', found: 'running as root' }
      : {
          name: 'root',
          status: 'fail',
          found: `running as user ${process.getuid?.() ?? '?'}`,
          mend: 'build as root, for example with sudo; validate, lock and plan work as any user',
        },
  ]);
}

async function checkPackages({ productRoot }: CommandContext): Promise<readonly Check[]> {
  const needed = (await loadNeededPackages(productRoot)).filter(({ group }) => group === 'product');
  return Promise.all(
    needed.map(async (item): Promise<Check> => {
      const missing = await missingProofs(item);
      const { name, proof, purpose } = item;
      return missing.length === 0
        ? { name, status: 'pass', found: proof.join(', ') }
        : {
            name,
            status: 'fail',
            found: `${missing.join(', ')} not found; ${purpose}`,
            mend: `apt-get install ${name}`,
          };
    }),
  );
}

async function checkStore({ storePath }: CommandContext): Promise<readonly Check[]> {
  const name = 'store';
  try {
    await Store.open(storePath);
  } catch (error) {
    return [failed(name, error)];
  }
  const { bavail, bsize } = await statfs(storePath);
  const free = bavail * bsize;
  const found = `${storePath}, ${formatBytes(free)} free`;
  const mend = 'make room (`ingot store gc`), or set INGOT_STORE to a larger disk';
  return [
    free >= COMFORTABLE_BYTES
      ? { name, status: 'pass', found }
      : { name, status: free >= LEAST_BYTES ? 'warn' : 'fail', found, mend },
  ];
}

async function checkNamespaces({ signal }: CommandContext): Promise<readonly Check[]> {
  const name = 'namespaces';
  if (!isRoot()) return [needsRoot(name)];
  try {
    await using namespace = await MountNamespace.open({ signal });
    await namespace.run(['true'], { signal });
    return [{ name, status: 'pass', found: 'private mounts and processes work' }];
  } catch (error) {
    return [
      failed(name, error, 'in a container: start it with --privileged, or with CAP_SYS_ADMIN and no seccomp'),
    ];
  }
}

/** On the file system of the store, because that decides: an overlay on an overlay, for one, is refused. */
async function checkOverlay({ storePath, signal }: CommandContext): Promise<readonly Check[]> {
  const name = 'overlayfs';
  if (!isRoot()) return [needsRoot(name)];
  try {
    await using scratch = await (await Store.open(storePath)).scratch('doctor');
    const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'] as const;
    for (const folder of [lower, upper, work, merged]) await mkdir(join(scratch.path, folder));
    await using namespace = await MountNamespace.open({ signal });
    // Relative: a path may hold the commas and colons that separate options.
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    await namespace.run(['mount', '-t', 'overlay', 'overlay', '-o', options, merged], {
      cwd: scratch.path,
      signal,
    });
    return [{ name, status: 'pass', found: 'works on the file system of the store' }];
  } catch (error) {
    return [failed(name, error, 'put the store on ext4, xfs or btrfs: --store or INGOT_STORE')];
  }
}

async function checkSandbox({ signal }: CommandContext): Promise<readonly Check[]> {
  const name = 'sandbox';
  try {
    await run(
      [
        ...(['bwrap', '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts'] as const),
        ...['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc', '--', 'true'],
      ],
      { signal },
    );
    return [{ name, status: 'pass', found: 'bubblewrap starts programs without network' }];
  } catch (error) {
    return [failed(name, error, 'in a container: start it with --privileged')];
  }
}

/** Says where the mirror comes from, and never what it is: addresses can hold credentials. */
async function checkMirror({ env, signal }: CommandContext): Promise<readonly Check[]> {
  const name = 'mirror';
  try {
    await loadMirrors(env, signal);
    const given = env['INGOT_MIRROR'] !== undefined && env['INGOT_MIRROR'] !== '';
    const source = given ? 'INGOT_MIRROR' : "the machine's apt configuration, or Debian's public address";
    return [{ name, status: 'pass', found: `packages come from ${source}` }];
  } catch (error) {
    return [failed(name, error)];
  }
}

async function checkKvm(): Promise<readonly Check[]> {
  const name = 'kvm';
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
    return [
      {
        name,
        status: 'pass',
        found: '/dev/kvm can be opened; `ingot test` says whether guests really use it',
      },
    ];
  } catch {
    return [
      {
        name,
        status: 'warn',
        found: 'no usable /dev/kvm: `ingot test` emulates the processor, which takes minutes',
        mend: 'allow nested virtualisation, or pass /dev/kvm into the container',
      },
    ];
  }
}

function needsRoot(name: string): Check {
  return { name, status: 'warn', found: 'not examined: that takes root', mend: 'run `ingot doctor` as root' };
}

function failed(name: string, error: unknown, mend?: string): Check {
  if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
  const lastLine = error.output?.trim().split('\n').at(-1);
  const advice = error.hint ?? mend;
  return {
    name,
    status: 'fail',
    found: lastLine === undefined || lastLine === '' ? error.message : `${error.message}: ${lastLine}`,
    ...(advice !== undefined && { mend: advice }),
  };
}
