/**
 * `bench build`: the image of `images/debian-nvidia-cuda.yaml`, by Ingot, by buildah from a Containerfile, and by
 * mkosi.
 *
 * The same for all: the lock's image packages in the locked versions, on local disk; no network; kernel modules built
 * before; the same file system; what the one before wrote is on the disk when the next starts.
 *
 * Ingot's builds end with an OCI image of compressed layers, checked and synced. buildah's (`build --layers`, chroot
 * isolation, overlay storage) end with layers in its own storage, neither compressed nor synced: pushing, which
 * would compress, is not measured. Its Containerfile installs one layer's packages with each instruction, the driver
 * first. mkosi makes an OCI image of one compressed layer, base included.
 *
 * "Driver changed" and "CUDA changed" build a lock in which every package of that layer has a later version, with
 * every program, library and firmware file in it changed; everything else is as built before. `bytes` of these rows
 * are what a node pulls that has the image from before.
 */
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { PlanStep } from '../src/plan/plan.ts';
import { run, type Argv } from '../src/proc/run.ts';
import { openTreeStore } from '../src/build/trees.ts';
import type { BenchContext, Benchmark } from './benchmark.ts';
import {
  buildArgv,
  buildLayout,
  forget,
  newBytes,
  prepareBuildWork,
  type BuildWork,
  type Variant,
} from './build-work.ts';
import { basePackages, renderContainerfile, renderMkosi } from './containerfile.ts';
import { measure } from './measure.ts';
import { apart, inPeersArgv } from './peers-root.ts';
import { formatBytes } from '../src/report/format.ts';
import { figuresOf, rowOf, type Figures, type Row, type Sample } from './result.ts';
import { sizeOf } from './size.ts';

export const build: Benchmark = {
  summary: 'the image of debian-nvidia-cuda beside buildah and mkosi with the same packages',
  run: runBuild,
};

interface Program {
  readonly title: string;
  /** Not measured. */
  readonly prepare: (round: number) => Promise<void>;
  readonly argv: (round: number) => Argv;
  /** Bytes of what it made, or of what a node pulls of it. */
  readonly bytes: (round: number) => Promise<number>;
}

async function runBuild(context: BenchContext): Promise<readonly Row[]> {
  const { reporter, rounds, signal } = context;
  const work = await prepareBuildWork(context);
  // Everything there is, so that every case can forget what it builds. The modules take minutes and are kept.
  await reporter.stage('Build everything once', () =>
    buildLayout(work.store, work.initial, layoutOf(work, work.initial), context),
  );
  await prepareBuildahBase(work, context);
  const ours = oursOf(work, context);
  const buildah = buildahOf(work, context);
  const mkosi = mkosiOf(work, context);
  const samples = new Map<Program, Sample[]>();
  const cases = [
    { title: 'cold build over a ready base', ours: ours.cold, peer: buildah.cold, name: 'buildah' },
    { title: 'driver changed', ours: ours.driver, peer: buildah.driver, name: 'buildah' },
    { title: 'CUDA changed', ours: ours.cuda, peer: buildah.cuda, name: 'buildah' },
    { title: 'nothing changed', ours: ours.nothing, peer: buildah.nothing, name: 'buildah' },
    { title: 'whole image with base', ours: ours.whole, peer: mkosi, name: 'mkosi' },
  ] as const;
  const chosen = cases.filter(({ title }) => title.includes(context.only));
  const once = async (program: Program, round: number): Promise<void> => {
    await program.prepare(round);
    // That nothing changed is said of what was built just before.
    if (program === ours.nothing || program === buildah.nothing)
      await run(apart(program.argv(round)), { signal });
    await run(['sync', '--file-system', work.output], { signal });
    const { measurement } = await measure(program.argv(round), {
      scratch: work.folder,
      signal,
      onLine: (line) => {
        reporter.debug(line);
      },
    });
    samples.set(program, [
      ...(samples.get(program) ?? []),
      { ...measurement, bytes: await program.bytes(round) },
    ]);
  };
  // Its updates and what it does when nothing changed start from this.
  const needsInitial =
    !chosen.some((one) => one.peer === buildah.cold) && chosen.some(({ name }) => name === 'buildah');
  if (needsInitial) await reporter.stage('Build the Containerfile once', () => once(buildah.cold, 0));
  for (let round = 1; round <= rounds; round += 1) {
    for (const { title, ours: own, peer } of chosen) {
      for (const program of round % 2 === 1 ? [own, peer] : [peer, own]) {
        await reporter.stage(`Round ${round} of ${rounds}: ${program.title}`, async (stage) => {
          await once(program, round);
          const sample = samples.get(program)?.at(-1);
          stage.detail(
            `${title}: ${sample?.wall.toFixed(2)} s, ${sample?.cpu.toFixed(2)} s of processor time, ${formatBytes(sample?.rss ?? 0)}, ${formatBytes(sample?.bytes ?? 0)}`,
          );
        });
      }
    }
  }
  const figures = (program: Program): Figures => figuresOf(samples.get(program) ?? []);
  const versions = await versionsOf(work, signal);
  return chosen.map(({ title, ours: own, peer, name }) =>
    rowOf(title, figures(own), { name, version: versions[name], ...figures(peer) }),
  );
}

const layoutOf = (work: BuildWork, variant: Variant): string => join(work.output, variant.name);

const isModules = ({ name }: PlanStep): boolean => name.startsWith('modules');
const isBase = ({ name }: PlanStep): boolean => name === 'base' || name === 'kernel';

function oursOf(
  work: BuildWork,
  { signal }: BenchContext,
): Record<'cold' | 'driver' | 'cuda' | 'nothing' | 'whole', Program> {
  const { initial } = work;
  const known = new Set(initial.plan.steps.map(({ key }) => key));
  const own = ({ plan }: Variant): PlanStep[] => plan.steps.filter(({ key }) => !known.has(key));
  const program = (
    title: string,
    variant: Variant,
    forgotten: readonly PlanStep[],
    isUpdate: boolean,
  ): Program => ({
    title: `ingot, ${title}`,
    prepare: async () => {
      // Where nothing changed, the layout is there too.
      if (variant !== initial || forgotten.length > 0) {
        await rm(layoutOf(work, variant), { recursive: true, force: true });
      }
      await forget(work.store, forgotten);
    },
    argv: () => buildArgv(work.store, variant, layoutOf(work, variant)),
    bytes: () =>
      isUpdate
        ? newBytes(layoutOf(work, initial), layoutOf(work, variant), signal)
        : sizeOf(layoutOf(work, variant), signal),
  });
  const { steps } = initial.plan;
  return {
    whole: program(
      'whole',
      initial,
      steps.filter((step) => !isModules(step)),
      false,
    ),
    cold: program(
      'cold over a ready base',
      initial,
      steps.filter((step) => !isModules(step) && !isBase(step)),
      false,
    ),
    driver: program('driver changed', work.driver, own(work.driver), true),
    cuda: program('CUDA changed', work.cuda, own(work.cuda), true),
    nothing: program('nothing changed', initial, [], false),
  };
}

/** Where buildah keeps its images, and how it runs: as root in a root of its own, without a runtime or a network. */
const BUILDAH = 'buildah --root /peers/storage --runroot /run/containers --storage-driver overlay';
const LIMITS = '--ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit "nproc=$(ulimit -Hu):$(ulimit -Hu)"';

/** The base image, made as Debian makes roots, and the modules as the Containerfile copies them. */
async function prepareBuildahBase(work: BuildWork, context: BenchContext): Promise<void> {
  const { reporter, signal } = context;
  const { lock, plan } = work.initial;
  const folder = join(work.peersWork, 'context');
  await mkdir(join(folder, 'modules'), { recursive: true });
  const trees = await openTreeStore(work.store);
  for (const step of plan.steps.filter(isModules)) {
    const tree = await trees.find(step.treeKey);
    if (tree === undefined) throw new Error(`the store has no tree of ${step.name}`);
    await cp(tree, join(folder, 'modules'), { recursive: true, verbatimSymlinks: true });
  }
  const terms = basePackages(lock).map(({ name, version }) => `${name}=${version}`);
  const repository = join(work.peersWork, 'repository');
  await reporter.stage('Make the base image of the Containerfile', async () => {
    await run(
      [
        ...(['mmdebstrap', '--mode=root', '--variant=essential', '--format=tar'] as const),
        ...['--aptopt=APT::Sandbox::User "root"', `--include=${['apt', ...terms].join(',')}`],
        ...[lock.base.suite, join(work.peersWork, 'base.tar')],
        `deb [trusted=yes] copy:${repository} ${lock.base.suite} main`,
      ],
      { signal },
    );
    const script = `c=$(${BUILDAH} from scratch) && ${BUILDAH} add -q $c /peers/base.tar / && ${BUILDAH} commit -q $c localhost/base && ${BUILDAH} rm $c`;
    await run(apart(inPeers(work, script)), { signal });
  });
}

function buildahOf(
  work: BuildWork,
  { signal }: BenchContext,
): Record<'cold' | 'driver' | 'cuda' | 'nothing', Program> {
  const build = (name: string, more = ''): string =>
    `unshare --net ${BUILDAH} build ${LIMITS} --isolation chroot --network host --layers ${more} --volume /peers/repository:/repository:ro --file /peers/context/${name} --tag localhost/${name} /peers/context`;
  const program = (title: string, variant: Variant, kind: string | undefined, more?: string): Program => {
    const name = kind === undefined ? 'initial' : `${kind}-changed`;
    return {
      title: `buildah, ${title}`,
      prepare: async (round) => {
        const text = renderContainerfile(variant.lock, { round, ...(kind !== undefined && { kind }) });
        await writeFile(join(work.peersWork, 'context', name), text);
      },
      argv: () => inPeers(work, build(name, more)),
      bytes: async () => {
        const push = (image: string): string =>
          `rm -rf /peers/pushed/${image} && mkdir -p /peers/pushed && ${BUILDAH} push -q --compression-format zstd --compression-level 3 localhost/${image} oci:/peers/pushed/${image}`;
        const layout = (image: string): string => join(work.peersWork, 'pushed', image);
        if (more === undefined && kind === undefined) return sizeOf(layout('initial'), signal);
        await run(apart(inPeers(work, push(name))), { signal });
        return kind === undefined
          ? sizeOf(layout(name), signal)
          : newBytes(layout('initial'), layout(name), signal);
      },
    };
  };
  return {
    cold: program('cold over a ready base', work.initial, undefined, '--no-cache'),
    driver: program('driver changed', work.driver, 'driver'),
    cuda: program('CUDA changed', work.cuda, 'cuda'),
    nothing: program('nothing changed', work.initial, undefined),
  };
}

function mkosiOf(work: BuildWork, { signal }: BenchContext): Program {
  const folder = join(work.peersWork, 'mkosi');
  const output = join(work.peersWork, 'mkosi-output');
  return {
    title: 'mkosi, whole',
    prepare: async () => {
      for (const name of ['mkosi-output', 'mkosi-workspace', 'mkosi-packages']) {
        await rm(join(work.peersWork, name), { recursive: true, force: true });
        await mkdir(join(work.peersWork, name));
      }
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'mkosi.conf'), renderMkosi(work.initial.lock));
    },
    argv: () => inPeers(work, 'cd /peers/mkosi && mkosi --force build'),
    bytes: () => sizeOf(output, signal),
  };
}

function inPeers(work: BuildWork, script: string): Argv {
  return inPeersArgv(work.peersRoot, work.peersWork, work.peersSpare, ['bash', '-e', '-c', script]);
}

async function versionsOf(
  work: BuildWork,
  signal: AbortSignal,
): Promise<Record<'buildah' | 'mkosi', string>> {
  const { stdout } = await run(apart(inPeers(work, 'buildah --version; mkosi --version')), { signal });
  return {
    buildah: /^buildah version (\S+)/m.exec(stdout)?.[1] ?? 'unknown',
    mkosi: /^mkosi (\S+)/m.exec(stdout)?.[1] ?? 'unknown',
  };
}
