/**
 * `bench deltas`: what a node pulls for another release of the driver, by the deltas that `ingot push --delta-from`
 * makes, beside `ostree static-delta` between the commits that Ingot makes of the same images.
 *
 * The node is `images/debian-nvidia-cuda.yaml` without its CUDA layer, which a driver leaves as it is. Its driver's
 * packages hold the files of real releases, those that Debian's suites have today. The kernel modules are those of the
 * declaration's own release in all images, so they are not in the figures.
 *
 * Measured is making the delta, from two layouts to a file or files. `bytes` is what a node pulls with it: deltas and
 * whole layers; of ostree the file, in which everything is, whatever its size.
 */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { ensureToolsRoot } from '../src/build/tools-tree.ts';
import { PRODUCT_ROOT } from '../src/cli/root-command.ts';
import { resolveImage } from '../src/oci/layout.ts';
import { DiskTools } from '../src/ostree/disk-tools.ts';
import { importImage, installableImage } from '../src/ostree/import-image.ts';
import { loadMirrors } from '../src/packages/mirror.ts';
import { run } from '../src/proc/run.ts';
import { FILE_OWNER_CAPABILITIES } from '../src/tools/tools-root.ts';
import { startRegistry } from '../test/support/registry.ts';
import type { BenchContext, Benchmark } from './benchmark.ts';
import { buildLayout, lockInitial, newBytes, packagesOf, type Variant, withPackages } from './build-work.ts';
import { type DriverRelease, filesOfRelease, repackAs } from './driver-release.ts';
import { figuresOf, rowOf, type Row, type Sample } from './result.ts';
import { timed } from './timed.ts';

export const deltas: Benchmark = {
  summary: 'what a node pulls for another release of the driver, beside ostree static-delta',
  run: runDeltas,
};

const DECLARATION = 'images/debian-nvidia-cuda.yaml';

const teslaPackages = (branch: number): readonly string[] => [
  `firmware-nvidia-tesla-${branch}-gsp`,
  ...['cuda1', 'cfg1', 'ml1', 'ptxjitcompiler1'].map((name) => `libnvidia-tesla-${branch}-${name}`),
  `nvidia-tesla-${branch}-smi`,
];

const RELEASES = {
  '535.261.03': {
    suite: 'bookworm',
    packages: [
      'firmware-nvidia-gsp',
      ...['libcuda1', 'libnvidia-cfg1', 'libnvidia-ml1', 'libnvidia-ptxjitcompiler1', 'nvidia-smi'],
    ],
  },
  '535.274.02': { suite: 'trixie', packages: teslaPackages(535) },
  '550.54.15': { suite: 'sid', packages: teslaPackages(550) },
} as const;

/** What becomes what. The last is the declaration's own. */
const STEPS = [
  ['535.261.03', '535.274.02'],
  ['550.54.15', undefined],
  ['535.274.02', undefined],
] as const;

interface Image {
  readonly layout: string;
  readonly name: string;
}

async function runDeltas(context: BenchContext): Promise<readonly Row[]> {
  const { scratch, rounds, reporter, signal, store, env } = context;
  for (const name of ['declared', 'initial', 'layouts', 'releases']) await mkdir(join(scratch, name));
  const declaration = join(scratch, 'declared/image.yaml');
  const text = await readFile(join(context.productRoot, DECLARATION), 'utf8');
  await writeFile(declaration, text.replace(/^cuda:.*\n/m, ''));
  const initial = await lockInitial(join(scratch, 'initial'), declaration, context);
  const own = /^(.*)-/.exec(
    packagesOf(initial, 'driver').find(({ name }) => name === 'libcuda1')?.version ?? '',
  )?.[1];
  if (own === undefined) throw new TypeError(`${DECLARATION} has no driver`);
  const images = new Map<string, Image>([[own, await build(initial, own, context)]]);
  for (const [version, { suite, packages }] of Object.entries(RELEASES)) {
    images.set(version, await buildRelease(initial, own, { version, suite, packages }, context));
  }
  const { lock } = initial;
  const mirrors = (): ReturnType<typeof loadMirrors> => loadMirrors(env, signal);
  const tools = new DiskTools(await ensureToolsRoot({ lock, store, mirrors, reporter, signal }), signal);
  const { stdout } = await run(tools.root.argv(['ostree', '--version'], []), { signal });
  const version = /Version: '(.+)'/.exec(stdout)?.[1] ?? 'unknown';
  const rows: Row[] = [];
  for (const [before, after = own] of STEPS) {
    const [from, to] = [images.get(before), images.get(after)];
    if (from === undefined || to === undefined) throw new TypeError('a release was not built');
    const [ours, peers]: [Sample[], Sample[]] = [[], []];
    const repo = await importBoth(from, to, join(scratch, `repo-${before}-${after}`), tools);
    for (let round = 1; round <= rounds; round += 1) {
      const sides = [
        async () => void ours.push(await pushWithDelta(from, to, context)),
        async () => void peers.push(await staticDelta(repo, tools, context)),
      ];
      await reporter.stage(`${before} to ${after}: round ${round} of ${rounds}`, async (stage) => {
        for (const side of round % 2 === 1 ? sides : sides.reverse()) await side();
        stage.detail(`${ours.at(-1)?.bytes ?? 0} bytes, ostree ${peers.at(-1)?.bytes ?? 0}`);
      });
    }
    const whole = await newBytes(from.layout, to.layout, signal);
    const name = `${before} to ${after}; whole layers: ${(whole / 2 ** 20).toFixed(1)} MiB`;
    rows.push(rowOf(name, figuresOf(ours), { name: 'ostree static-delta', version, ...figuresOf(peers) }));
  }
  return rows;
}

async function buildRelease(
  initial: Variant,
  own: string,
  release: DriverRelease,
  context: BenchContext,
): Promise<Image> {
  const { version } = release;
  const folder = join(context.scratch, 'releases', version);
  await mkdir(folder);
  const files = await filesOfRelease(release, join(folder, 'files'), context);
  const packages = await context.reporter.stage(`Repack the driver as ${version}`, () =>
    repackAs(packagesOf(initial, 'driver'), own, release, files, context),
  );
  const variant = await withPackages(initial, { name: version, kind: 'driver', packages }, folder, context);
  return build(variant, version, context);
}

async function build(variant: Variant, version: string, context: BenchContext): Promise<Image> {
  const layout = join(context.scratch, 'layouts', version);
  await context.reporter.stage(`Build the image with ${version}`, () =>
    buildLayout(context.store, variant, layout, context),
  );
  return { layout, name: variant.lock.version };
}

/** The later image is in the registry already, and what is sent are deltas. */
async function pushWithDelta(from: Image, to: Image, context: BenchContext): Promise<Sample> {
  await using registry = await startRegistry();
  const [program, store] = [join(PRODUCT_ROOT, 'bin/ingot'), context.store.root];
  const push = [
    ...([program, '--json', '--store', store, 'push', `oci:${to.layout}:${to.name}`] as const),
    ...[`${registry.host}/node:1`, '--insecure', registry.host],
  ] as const;
  await run(push, { signal: context.signal });
  const { sample, stdout } = await timed(context, [
    ...push,
    '--delta-from',
    `oci:${from.layout}:${from.name}`,
  ]);
  const { deltas: made } = JSON.parse(stdout) as { deltas: readonly { bytes: number }[] };
  return { ...sample, bytes: made[0]?.bytes ?? 0 };
}

interface Repository {
  readonly folder: string;
  readonly path: string;
  readonly from: string;
  readonly to: string;
}

async function importBoth(from: Image, to: Image, folder: string, tools: DiskTools): Promise<Repository> {
  await mkdir(folder);
  const path = join(folder, 'ostree/repo');
  await mkdir(path, { recursive: true });
  const options = { capabilities: FILE_OWNER_CAPABILITIES };
  await tools.run(['ostree', 'init', `--repo=${path}`, '--mode=bare'], [{ path: folder }], options);
  const refs: string[] = [];
  for (const { layout, name } of [from, to]) {
    const image = installableImage(await resolveImage({ directory: layout, name }));
    refs.push((await importImage(image, { folder, repo: path }, tools)).ref);
  }
  return { folder, path, from: refs[0] ?? '', to: refs[1] ?? '' };
}

async function staticDelta(
  { folder, path, from, to }: Repository,
  tools: DiskTools,
  context: BenchContext,
): Promise<Sample> {
  const file = join(folder, 'delta');
  await rm(file, { force: true });
  const argv = tools.root.argv(
    [
      ...(['ostree', 'static-delta', 'generate', `--repo=${path}`, `--from=${from}`, `--to=${to}`] as const),
      ...['--inline', '--min-fallback-size=0', `--filename=${file}`],
    ],
    [{ path: folder }],
    { capabilities: FILE_OWNER_CAPABILITIES },
  );
  const { sample } = await timed(context, argv);
  return { ...sample, bytes: (await stat(file)).size };
}
