/**
 * Part of `bench resolve`: a whole lock against package indexes that are there, beside apt-get solving the same set in
 * the same apt state. apt gives names and versions; the lock has layers, hashes, kernel, driver and the tools root too.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { loadCatalog } from '../src/catalog/load.ts';
import { run } from '../src/proc/run.ts';
import { imagePackages } from '../src/resolve/compare-locks.ts';
import { parseLock } from '../src/resolve/lock-text.ts';
import type { Lock } from '../src/resolve/lock.ts';
import type { BenchContext } from './benchmark.ts';
import { measure, type MeasureOptions } from './measure.ts';
import { figuresOf, rowOf, type Peer, type Row, type Sample } from './result.ts';

const IMAGE = 'debian-nvidia-cuda';
const CALLS = 4;
/** A package of the image that the tools root does not have. */
const TELLING = '"name": "libcuda1"';

interface Work {
  readonly context: BenchContext;
  readonly store: string;
  readonly output: string;
  readonly lock: Lock;
  /** For apt: its configuration, and what it is to install. */
  readonly configuration: string;
  readonly names: readonly string[];
  readonly options: MeasureOptions;
}

export async function benchLock(context: BenchContext, options: MeasureOptions): Promise<readonly Row[]> {
  const work = await prepare(context, options);
  const samples = { image: [] as Sample[], all: [] as Sample[], call: [] as Sample[], calls: [] as Sample[] };
  const ours = async (): Promise<void> => {
    samples.image.push(await lockOnce(work, 'image'));
    samples.all.push(await lockOnce(work, 'all'));
  };
  const peers = async (): Promise<void> => {
    const calls: Sample[] = [];
    for (let call = 0; call < CALLS; call += 1) calls.push(await solveOnce(work));
    samples.call.push(...calls);
    samples.calls.push(sumOf(calls));
  };
  for (let round = 1; round <= context.rounds; round += 1) {
    for (const side of round % 2 === 1 ? [ours, peers] : [peers, ours]) await side();
  }
  const { stdout } = await run(['apt-get', '--version'], { signal: context.signal });
  const version = /^apt (\S+)/.exec(stdout)?.[1] ?? 'unknown';
  const peer = (name: string, list: readonly Sample[]): Peer => ({ name, version, ...figuresOf(list) });
  const one = peer('apt-get -s', samples.call);
  return [
    rowOf(`lock ${IMAGE}, the tools solved before`, figuresOf(samples.image), one),
    rowOf(`lock ${IMAGE}, nothing solved before`, figuresOf(samples.all), one),
    rowOf('the same lock, beside four calls', figuresOf(samples.all), peer('4 × apt-get -s', samples.calls)),
  ];
}

async function prepare(context: BenchContext, options: MeasureOptions): Promise<Work> {
  const { productRoot, scratch, signal } = context;
  const store = join(scratch, 'lock-store');
  const output = join(scratch, 'made.lock.yaml');
  await mkdir(store);
  // The one time that something is fetched.
  await run(lockArgv({ context, store, output }, []), { signal, timeoutMs: 900_000 });
  const lock = parseLock(await readFile(output, 'utf8'), output);
  const catalog = await loadCatalog([join(productRoot, 'layers')], { onOverride: () => undefined });
  const asked = lock.layers.flatMap(({ kind, definition }) => {
    const layer = catalog.layers.find(
      (one) => one.definition.kind === kind && one.definition.name === definition?.name,
    );
    return layer?.definition.install.debian?.packages ?? [];
  });
  const essential = imagePackages(lock).filter((item) => item.essential === true);
  const names = [
    ...asked.map((name) => name.replaceAll('{arch}', lock.base.architecture)),
    ...essential.map(({ name }) => name),
  ];
  const states = await readdir(join(store, 'apt'));
  const configurations = states.map((state) => join(store, 'apt', state, 'apt.conf'));
  for (const configuration of configurations) {
    const sources = await readFile(configuration.replace(/apt\.conf$/, 'sources.sources'), 'utf8');
    if (sources.includes('non-free')) return { context, store, output, lock, configuration, names, options };
  }
  throw new TypeError('the store has no package indexes of the image');
}

function lockArgv(
  { context, store, output }: Pick<Work, 'context' | 'store' | 'output'>,
  options: readonly string[],
): [string, ...string[]] {
  const { productRoot } = context;
  const declaration = join(productRoot, `images/${IMAGE}.yaml`);
  // As users call it.
  return [
    join(productRoot, 'bin/ingot'),
    '--store',
    store,
    'lock',
    declaration,
    '--output',
    output,
    ...options,
  ];
}

/** @param solved what is to be solved again, although a solution of it is recorded */
async function lockOnce(work: Work, solved: 'image' | 'all'): Promise<Sample> {
  const folder = join(work.store, 'records/solution');
  for (const name of await readdir(folder)) {
    const isOfImage = (await readFile(join(folder, name), 'utf8')).includes(TELLING);
    if (solved === 'all' || isOfImage) await rm(join(folder, name));
  }
  await rm(work.output);
  const { measurement } = await measure(lockArgv(work, ['--offline']), work.options);
  const text = await readFile(work.output, 'utf8');
  requireSame(namesOf(parseLock(text, work.output)), namesOf(work.lock));
  return { ...measurement, bytes: Buffer.byteLength(text) };
}

async function solveOnce({ configuration, names, lock, options }: Work): Promise<Sample> {
  const { measurement, stdout } = await measure(['apt-get', 'install', '--simulate', '-q', '--', ...names], {
    ...options,
    env: { APT_CONFIG: configuration },
  });
  const installed = [...stdout.matchAll(/^Inst ([^\s:]+)(?::\S+)? \((\S+) /gm)];
  requireSame(installed.map(([, name = '', version = '']) => `${name}=${version}`).sort(), namesOf(lock));
  return { ...measurement, bytes: Buffer.byteLength(stdout) };
}

function namesOf(lock: Lock): string[] {
  return imagePackages(lock)
    .map(({ name, version }) => `${name}=${version}`)
    .sort();
}

/** @throws TypeError when the two sides did not do the same */
function requireSame(found: readonly string[], expected: readonly string[]): void {
  const odd = [
    ...found.filter((one) => !expected.includes(one)),
    ...expected.filter((one) => !found.includes(one)),
  ];
  if (odd.length > 0) throw new TypeError(`not the packages of the lock: ${odd.join(', ')}`);
}

function sumOf(samples: readonly Sample[]): Sample {
  const sum = (pick: (sample: Sample) => number): number =>
    samples.reduce((total, sample) => total + pick(sample), 0);
  return {
    wall: sum(({ wall }) => wall),
    cpu: sum(({ cpu }) => cpu),
    rss: Math.max(...samples.map(({ rss }) => rss)),
    bytes: sum(({ bytes }) => bytes),
  };
}
