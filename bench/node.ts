/**
 * `bench node`: an image comes to a node and is staged, by Ingot from OCI layers, and by `ostree pull` and
 * `ostree admin deploy` from the commits that Ingot made of the same images, over HTTP on loopback.
 *
 * The node is `images/debian-amd.yaml`; "driver changed" is that image with a later version of every package of its
 * driver's layer, in which every program, library and firmware file is other bits. A first install begins with an empty
 * folder and ends with a deployment in it that is on the disk; both sides sync once, at the end. An update happens on a
 * node that is real but for its kernel and init (`test/support/booted-node.ts`), is synced by both as it goes on, and
 * ends with a staged deployment. Ingot was run on that node since it started, as a gate does. It looks for the image,
 * judges it, checks for room, pulls, verifies every blob by its digest, imports, stages, writes its journal and collects
 * what is not needed any more; ostree verifies objects by their checksums, without signatures. The processor time of the
 * web server is not in the figures.
 *
 * `bytes` is what was pulled. Ostree's is one file an object, each compressed with gzip by itself.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { makeAgent } from '../src/agent/agent.ts';
import { ensureToolsRoot } from '../src/build/tools-tree.ts';
import { IngotError } from '../src/errors.ts';
import { resolveImage } from '../src/oci/layout.ts';
import { imageRef } from '../src/ostree/layer-record.ts';
import { loadMirrors } from '../src/packages/mirror.ts';
import type { Argv } from '../src/proc/run.ts';
import { run } from '../src/proc/run.ts';
import { FILE_OWNER_CAPABILITIES, type ToolsRoot } from '../src/tools/tools-root.ts';
import { BootedNode, GIVEN } from '../test/support/booted-node.ts';
import type { BenchContext, Benchmark } from './benchmark.ts';
import { buildLayout, prepareVariants, type Variant } from './build-work.ts';
import { FileServer } from './file-server.ts';
import { figuresOf, rowOf, type Row, type Sample } from './result.ts';
import { timed } from './timed.ts';

export const node: Benchmark = {
  summary: 'an image comes to a node: first install, a new driver, nothing new, beside ostree pull',
  run: runNode,
};

const DECLARATION = 'images/debian-amd.yaml';
const CASES = ['first install', 'driver changed', 'nothing changed'] as const;
type Case = (typeof CASES)[number];
/** On a node. */
const AGENT = `${GIVEN}/agent`;
/** Where `/usr/bin/ingot` of a node keeps compiled code. */
const CODE = '/run/ingot/code';
type Samples = Readonly<Record<Case, Sample[]>>;

interface Image {
  readonly layout: string;
  /** In the layout. */
  readonly name: string;
  /** Of the commit that is made of it. */
  readonly ref: string;
}

interface Work {
  readonly context: BenchContext;
  readonly toolsRoot: ToolsRoot;
  readonly initial: Image;
  readonly driver: Image;
  /** Of all layers of the first image. */
  readonly allBytes: number;
  /** What a driver change brings, by the layouts alone. */
  readonly changedBytes: number;
  /** Of the layouts: what nodes see as GIVEN. */
  readonly given: string;
}

async function runNode(context: BenchContext): Promise<readonly Row[]> {
  const { rounds, reporter, signal } = context;
  const work = await prepareWork(context);
  const [ours, peers]: [Samples, Samples] = [noSamples(), noSamples()];
  for (let round = 1; round <= rounds; round += 1) {
    const folder = join(context.scratch, `nodes-${round}`);
    await mkdir(folder);
    await reporter.stage(`Round ${round} of ${rounds}: ingot`, () => measureIngot(work, folder, ours));
    await reporter.stage(`Round ${round} of ${rounds}: ostree`, () => measureOstree(work, folder, peers));
    // It stays until the end: ext4 gives an inode out again a minute after it was freed, and until then looks at each of
    // thousands for every file that is made.
  }
  for (const { bytes } of ours['driver changed']) {
    if (bytes === work.changedBytes) continue;
    throw new IngotError('TOOL_FAILED', `${bytes} bytes were pulled, and ${work.changedBytes} are new`);
  }
  const { stdout } = await run(work.toolsRoot.argv(['ostree', '--version'], []), { signal });
  const version = /Version: '(.+)'/.exec(stdout)?.[1] ?? 'unknown';
  return CASES.map((of) =>
    rowOf(of, figuresOf(ours[of]), { name: 'ostree', version, ...figuresOf(peers[of]) }),
  );
}

async function prepareWork(context: BenchContext): Promise<Work> {
  const { scratch, store, env, reporter, signal } = context;
  const variants = await prepareVariants(context, DECLARATION);
  const given = join(scratch, 'layouts');
  await mkdir(given);
  const make = async (variant: Variant): Promise<Image> => {
    const layout = join(given, variant.name);
    const name = variant.lock.version;
    await reporter.stage(`Build the image (${variant.name})`, () =>
      buildLayout(store, variant, layout, context),
    );
    const { digest } = await resolveImage({ directory: layout, name });
    return { layout, name, ref: imageRef(digest) };
  };
  const initial = await make(variants.initial);
  const driver = await make(variants.driver);
  const { lock } = variants.initial;
  const agent = await makeAgent(context.productRoot, 'amd64', signal);
  await mkdir(join(given, 'agent'));
  for (const { name, data } of agent.files) {
    await writeFile(join(given, 'agent', name), data, { mode: name === 'node' ? 0o755 : 0o644 });
  }
  const mirrors = (): ReturnType<typeof loadMirrors> => loadMirrors(env, signal);
  return {
    context,
    toolsRoot: await ensureToolsRoot({ lock, store, mirrors, reporter, signal }),
    initial,
    driver,
    allBytes: await layerBytes(undefined, initial),
    changedBytes: await layerBytes(initial, driver),
    given,
  };
}

/** Compressed bytes of the layers that a node with one image lacks of the other. */
async function layerBytes(from: Image | undefined, to: Image): Promise<number> {
  const resolve = ({ layout, name }: Image): ReturnType<typeof resolveImage> =>
    resolveImage({ directory: layout, name });
  const before = from === undefined ? [] : (await resolve(from)).manifest.layers;
  const had = new Set(before.map(({ digest }) => digest));
  const { manifest } = await resolve(to);
  return manifest.layers.filter(({ digest }) => !had.has(digest)).reduce((sum, { size }) => sum + size, 0);
}

/** Leaves the node in `folder/ingot`, with the first image running and the second one's commit in its repository. */
async function measureIngot(work: Work, folder: string, samples: Samples): Promise<void> {
  const { context, toolsRoot, initial, driver } = work;
  const machine = join(folder, 'ingot');
  await mkdir(machine);
  const program = join(import.meta.dirname, 'node-install.ts');
  const reference = `oci:${initial.layout}:${initial.name}`;
  const install = await timed(context, [process.execPath, program, reference, machine, toolsRoot.path]);
  samples['first install'].push({ ...install.sample, bytes: work.allBytes });

  const booted = await BootedNode.adopt(machine, work.given);
  // As a node runs it (layers/agent/ingot.yaml): a bundle, by the Node.js that lies beside it.
  const ingot = (args: readonly string[]): Argv =>
    booted.outsideArgv(
      [
        'env',
        `NODE_COMPILE_CACHE=${CODE}`,
        `${AGENT}/node`,
        `${AGENT}/ingot-node.mjs`,
        'node',
        ...args,
        '--json',
      ],
      [],
    );
  const update = async (args: readonly string[]): Promise<Sample> => {
    await run(ingot(['status']), { signal: context.signal });
    const { sample, stdout } = await timed(context, ingot(args));
    const { pulled } = JSON.parse(stdout) as { pulled: { bytes: number } };
    return { ...sample, bytes: pulled.bytes };
  };
  samples['driver changed'].push(await update(['switch', `oci:${GIVEN}/driver:${driver.name}`]));
  await booted.reboot();
  samples['nothing changed'].push(await update(['upgrade']));
}

/** From what `measureIngot` has left. */
async function measureOstree(work: Work, folder: string, samples: Samples): Promise<void> {
  const { context, toolsRoot, initial, driver } = work;
  const { signal, reporter } = context;
  const archive = join(folder, 'archive');
  const source = join(folder, 'ingot/sysroot/ostree/repo');
  const tool = (script: string, sharesNetwork = false): Argv =>
    toolsRoot.argv(['sh', '-ec', script], [{ path: folder }], {
      capabilities: FILE_OWNER_CAPABILITIES,
      sharesNetwork,
    });
  await reporter.stage('Make an archive of the commits', async () => {
    const refs = `'${initial.ref}' '${driver.ref}'`;
    const init = `ostree init --repo='${archive}' --mode=archive`;
    await run(tool(`${init}; ostree pull-local --repo='${archive}' '${source}' ${refs}`), { signal });
  });
  await using server = await FileServer.start(archive);
  const counted = async (argv: Argv): Promise<Sample> => {
    const before = server.sentBytes;
    const { sample } = await timed(context, argv);
    return { ...sample, bytes: server.sentBytes - before };
  };
  const machine = join(folder, 'ostree');
  await mkdir(machine);
  const sysroot = join(machine, 'sysroot');
  const repo = `--repo='${sysroot}/ostree/repo'`;
  const remote = `ostree remote add --no-gpg-verify ${repo} bench ${server.url}`;
  const first = [
    `mkdir '${sysroot}'`,
    `ostree admin init-fs --modern '${sysroot}'`,
    `ostree admin stateroot-init --sysroot='${sysroot}' default`,
    `ostree config ${repo} set sysroot.bootloader none`,
    `ostree config ${repo} set sysroot.readonly true`,
    `ostree config ${repo} set core.fsync false`,
    remote,
    `ostree pull ${repo} --disable-fsync bench '${initial.ref}'`,
    `ostree admin deploy --sysroot='${sysroot}' --os=default --no-merge --karg=rw 'bench:${initial.ref}'`,
    `sync --file-system '${machine}'`,
  ];
  samples['first install'].push(await counted(tool(first.join('\n'), true)));
  await run(
    tool(
      `ostree config ${repo} set core.fsync true; mv '${sysroot}/boot' '${machine}/boot'; mkdir '${sysroot}/boot'`,
    ),
    { signal },
  );

  const booted = await BootedNode.adopt(machine, work.given);
  const pull = (ref: string): Argv => booted.outsideArgv(['sh', '-ec', `ostree pull bench '${ref}'`], []);
  const update = `ostree pull bench '${driver.ref}'; ostree admin deploy --stage --os=default 'bench:${driver.ref}'`;
  samples['driver changed'].push(await counted(booted.outsideArgv(['sh', '-ec', update], [])));
  await booted.reboot();
  samples['nothing changed'].push(await counted(pull(driver.ref)));
}

function noSamples(): Samples {
  return { 'first install': [], 'driver changed': [], 'nothing changed': [] };
}
