/**
 * `bench base`: Ingot builds the image of `images/debian-minimal.yaml`; mmdebstrap, as Debian ships it, installs the
 * same packages.
 *
 * The same for both: the lock's image packages, each in the locked version, on local disk and in the page cache; no
 * network; the same file system; whatever the one before wrote is on the disk when the next starts. The two change
 * places from round to round.
 *
 * Ingot starts from a store that holds the packages and nothing else, and ends with an OCI image of compressed
 * layers, checked and synced to the disk. Its tools root is not part of it: only disks and tests take that.
 *
 * mmdebstrap runs as root with the variant `essential` and every package by name and version, from a folder of hard
 * links to the same files, trusted without a signature. depmod and dracut run when the packages ask for them. It
 * does not sync, and what it makes is a root: no layers, no removal of machine identity, no checks. The benchmark
 * fails when the root's package database is not the lock.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';

import { PRODUCT_ROOT } from '../src/cli/root-command.ts';
import { parseStanzas } from '../src/packages/stanzas.ts';
import { run, type Argv } from '../src/proc/run.ts';
import { RootFs } from '../src/build/root-fs.ts';
import { imagePackages } from '../src/resolve/compare-locks.ts';
import {
  changeKernelArguments,
  emptyIngotStore,
  emptyOutput,
  prepareWork,
  type BaseWork,
} from './base-work.ts';
import type { BenchContext, Benchmark } from './benchmark.ts';
import { measure } from './measure.ts';
import { figuresOf, rowOf, type Figures, type Row, type Sample } from './result.ts';
import { sizeOf } from './size.ts';

export const base: Benchmark = {
  summary: 'the image of debian-minimal beside mmdebstrap with the same packages',
  run: runBase,
};

async function runBase(context: BenchContext): Promise<readonly Row[]> {
  const { reporter, rounds, signal } = context;
  const version = await mmdebstrapVersion(signal);
  const work = await prepareWork(context);
  const samples = new Map<Program, Sample[]>();
  for (let round = 1; round <= rounds; round += 1) {
    for (const program of round % 2 === 1 ? [...OURS, ...PEERS] : [...PEERS, ...OURS]) {
      await reporter.stage(`Round ${round} of ${rounds}: ${program.title}`, async (stage) => {
        await program.prepare(work, round);
        await run(['sync', '--file-system', work.output], { signal });
        const { measurement, stdout } = await measure(program.argv(work), {
          scratch: work.folder,
          env: { TMPDIR: work.output },
          signal,
          onLine: (line) => {
            reporter.debug(line);
          },
        });
        await program.check(work, stdout);
        const sample: Sample = { ...measurement, bytes: await sizeOf(program.result(work), signal) };
        samples.set(program, [...(samples.get(program) ?? []), sample]);
        stage.detail(`measured ${sample.wall.toFixed(2)} s, ${sample.cpu.toFixed(2)} s of processor time`);
      });
    }
  }
  const figures = (program: Program): Figures => figuresOf(samples.get(program) ?? []);
  const peer = (program: Program): Row['peer'] => ({ name: 'mmdebstrap', version, ...figures(program) });
  return [
    rowOf('cold build', figures(coldBuild), peer(directoryRoot)),
    rowOf('cold build, compressed', figures(coldBuild), peer(compressedRoot)),
    rowOf('seal only', figures(sealOnly), null),
    rowOf('nothing changed', figures(nothingChanged), null),
  ];
}

interface Program {
  readonly title: string;
  /** Not measured. */
  readonly prepare: (work: BaseWork, round: number) => Promise<void>;
  readonly argv: (work: BaseWork) => Argv;
  /** That it did what the case says. */
  readonly check: (work: BaseWork, stdout: string) => void | Promise<void>;
  /** What it made: a file or a folder. */
  readonly result: (work: BaseWork) => string;
}

const layoutOf = (work: BaseWork): string => join(work.output, 'layout');

/** How many of the image's layers a build may take from the store, as its own result says. */
function ingot(
  title: string,
  prepare: Program['prepare'],
  declarationOf: (work: BaseWork) => string,
  expectCached: (count: number, layers: number) => boolean,
): Program {
  return {
    title: `ingot, ${title}`,
    prepare,
    argv: (work) => [
      ...([process.execPath, join(PRODUCT_ROOT, 'src/main.ts')] as const),
      ...['--json', '--store', work.ingotStore],
      ...['build', declarationOf(work), '--output', layoutOf(work)],
    ],
    check: (work, stdout) => {
      const { digest, layers } = JSON.parse(stdout) as {
        readonly digest: string;
        readonly layers: readonly { readonly cached: boolean }[];
      };
      const cached = layers.filter((layer) => layer.cached).length;
      if (!expectCached(cached, layers.length)) {
        throw new Error(`${title}: ${cached} of ${layers.length} layers came from the store`);
      }
      if (declarationOf(work) !== work.declaration) return;
      work.digests.add(digest);
      if (work.digests.size > 1) throw new Error(`one lock, several images: ${[...work.digests].join(', ')}`);
    },
    result: layoutOf,
  };
}

const coldBuild = ingot(
  'cold',
  async (work) => {
    await emptyIngotStore(work);
    await emptyOutput(work);
  },
  ({ declaration }) => declaration,
  (cached) => cached === 0,
);

const nothingChanged = ingot(
  'nothing changed',
  () => Promise.resolve(),
  ({ declaration }) => declaration,
  (cached, layers) => cached === layers,
);

const sealOnly = ingot(
  'seal only',
  changeKernelArguments,
  ({ changed }) => changed,
  (cached, layers) => cached === layers - 1,
);

const rootOf = (work: BaseWork): string => join(work.output, 'root');
const archiveOf = (work: BaseWork): string => join(work.output, 'root.tar.zst');

function mmdebstrapArgv(work: BaseWork, target: string, format: string): Argv {
  const { lock, repository } = work;
  const packages = imagePackages(lock).map(({ name, version }) => `${name}=${version}`);
  return [
    'mmdebstrap',
    '--mode=root',
    '--variant=essential',
    `--format=${format}`,
    `--architectures=${lock.base.architecture}`,
    // The folders of this benchmark are root's alone, and apt would read them as another user.
    '--aptopt=APT::Sandbox::User "root"',
    `--include=${packages.join(',')}`,
    lock.base.suite,
    target,
    `deb [trusted=yes] copy:${repository} ${lock.base.suite} main`,
  ];
}

const directoryRoot: Program = {
  title: 'mmdebstrap, directory',
  prepare: emptyOutput,
  argv: (work) => mmdebstrapArgv(work, rootOf(work), 'directory'),
  check: assertPackages,
  result: rootOf,
};

const compressedRoot: Program = {
  title: 'mmdebstrap, tar.zst',
  prepare: emptyOutput,
  argv: (work) => mmdebstrapArgv(work, archiveOf(work), 'tar'),
  check: (work) => access(archiveOf(work)),
  result: archiveOf,
};

const OURS: readonly Program[] = [coldBuild, nothingChanged, sealOnly];
const PEERS: readonly Program[] = [directoryRoot, compressedRoot];

/** Every package of the lock in its version, nothing else, and an initramfs: the comparison is of equals. */
async function assertPackages(work: BaseWork): Promise<void> {
  const root = new RootFs(rootOf(work));
  const installed = parseStanzas(await root.readText('/var/lib/dpkg/status'))
    .filter((stanza) => stanza.get('status') === 'install ok installed')
    .map((stanza) => `${stanza.get('package') ?? ''} ${stanza.get('version') ?? ''}`);
  const locked = imagePackages(work.lock).map(({ name, version }) => `${name} ${version}`);
  const different = [...new Set(installed).symmetricDifference(new Set(locked))];
  if (different.length > 0)
    throw new Error(`mmdebstrap's root and the lock differ in ${different.join(', ')}`);
  const initramfs = `/boot/initrd.img-${work.lock.kernel.release}`;
  if (!(await root.exists(initramfs))) throw new Error(`mmdebstrap's root has no ${initramfs}`);
}

async function mmdebstrapVersion(signal: AbortSignal): Promise<string> {
  const { stdout } = await run(['mmdebstrap', '--version'], { signal });
  return stdout.replace(/^mmdebstrap /, '');
}
