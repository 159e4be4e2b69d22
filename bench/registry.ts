/**
 * `bench registry`: the image of `images/debian-nvidia-cuda.yaml` into a registry on loopback and out of it, by Ingot,
 * skopeo and oras.
 *
 * Debian's docker-registry, anew and empty for each program, stores on the same file system, and speaks TLS as
 * registries do, then plain HTTP. Pushed are the image, then the one that a new driver makes of it, so that what is
 * there already is not sent again. Each pulls what it pushed, into an empty OCI layout. skopeo and oras are Debian
 * sid's.
 *
 * Ingot pushes from the store that it built the image in, as whoever builds does: what lies there as it was when it was
 * hashed is not hashed again. oras hashes nothing that it pushes, skopeo all. Ingot's store is empty when it pulls. The
 * registry's own processor time is not in the figures, and is the larger part of what a push takes.
 */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { run, type Argv } from '../src/proc/run.ts';
import { type Certificate, makeCertificate, startRegistry } from '../test/support/registry.ts';
import type { BenchContext, Benchmark } from './benchmark.ts';
import { buildLayout, prepareVariants, type Variants } from './build-work.ts';
import { measure, touchMemory } from './measure.ts';
import { apart, ensurePeers, inPeersArgv } from './peers-root.ts';
import { figuresOf, rowOf, type Row, type Sample } from './result.ts';
import { sizeOf } from './size.ts';

export const registry: Benchmark = {
  summary: 'the image of debian-nvidia-cuda into a registry and out of it, beside skopeo and oras',
  run: runRegistry,
};

const CASES = ['push', 'push after a driver change', 'pull'] as const;
type Case = (typeof CASES)[number];
const TRANSPORTS = ['TLS', 'plain HTTP'] as const;
type Transport = (typeof TRANSPORTS)[number];

/** More than what a copy of the image takes of the page cache, on both sides. */
const TOUCHED_BYTES = 3 * 2 ** 30;

interface Program {
  readonly name: 'ingot' | 'skopeo' | 'oras';
  /** @param layout of one image */
  readonly push: (layout: Layout, reference: string, transport: Transport) => Argv;
  readonly pull: (reference: string, layout: string, transport: Transport) => Argv;
}

interface Layout {
  readonly path: string;
  /** The image's, in it. */
  readonly name: string;
}

interface Work {
  readonly context: BenchContext;
  readonly initial: Layout;
  readonly changed: Layout;
  /** For what programs make. On the store's file system. */
  readonly folder: string;
  /** The registry's, and its own authority. */
  readonly certificate: Certificate;
}

async function runRegistry(context: BenchContext): Promise<readonly Row[]> {
  const { scratch, rounds, reporter, signal } = context;
  const variants = await prepareVariants(context);
  const work = await makeLayouts(variants, context);
  const root = await ensurePeers(context);
  const inPeers = (...argv: Argv): Argv => inPeersArgv(root, scratch, join(scratch, 'spare'), argv);
  const programs = programsOf(work, inPeers);
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < rounds; round += 1) {
    // Each goes first once.
    for (const program of [...programs.slice(round % 3), ...programs.slice(0, round % 3)]) {
      await reporter.stage(`Round ${round + 1} of ${rounds}: ${program.name}`, async (stage) => {
        const told: string[] = [];
        for (const transport of TRANSPORTS) {
          const found = await measureOne(program, transport, work);
          for (const name of CASES) {
            const key = `${program.name} ${name} ${transport}`;
            samples.set(key, [...(samples.get(key) ?? []), found[name]]);
          }
          const walls = CASES.map((name) => `${name} ${found[name].wall.toFixed(1)} s`);
          told.push(`${transport}: ${walls.join(', ')}`);
          stage.detail(told.join('; '));
        }
      });
    }
  }
  const { stdout } = await run(apart(inPeers('sh', '-c', 'skopeo --version; oras version')), { signal });
  const versions = {
    skopeo: /^skopeo version (\S+)/m.exec(stdout)?.[1] ?? 'unknown',
    oras: /^Version:\s+(\S+)/m.exec(stdout)?.[1] ?? 'unknown',
  };
  const figures = (name: string, of: string): ReturnType<typeof figuresOf> =>
    figuresOf(samples.get(`${name} ${of}`) ?? []);
  return TRANSPORTS.flatMap((transport) => CASES.map((of) => `${of} ${transport}`)).flatMap((of) =>
    (['skopeo', 'oras'] as const).map((name) =>
      rowOf(of, figures('ingot', of), { name, version: versions[name], ...figures(name, of) }),
    ),
  );
}

async function makeLayouts(variants: Variants, context: BenchContext): Promise<Work> {
  const { scratch, reporter } = context;
  const folder = join(scratch, 'transfers');
  for (const name of ['layouts', 'transfers', 'spare']) await mkdir(join(scratch, name), { recursive: true });
  const make = async (name: 'initial' | 'driver'): Promise<Layout> => {
    const path = join(scratch, 'layouts', name);
    await reporter.stage(`Build the image (${name})`, () =>
      buildLayout(variants.store, variants[name], path, context),
    );
    return { path, name: variants[name].lock.version };
  };
  // skopeo wants a folder of authorities, and takes a key in it for its own.
  const certificates = join(scratch, 'certificates');
  await mkdir(certificates, { recursive: true });
  const certificate = await makeCertificate(scratch);
  await copyFile(certificate.cert, join(certificates, 'registry.crt'));
  return { context, initial: await make('initial'), changed: await make('driver'), folder, certificate };
}

function programsOf(
  { context, folder, certificate }: Work,
  inPeers: (...argv: Argv) => Argv,
): readonly Program[] {
  const { scratch, productRoot, storePath } = context;
  const seen = (path: string): string => path.replace(scratch, '/peers');
  const ingot = (store: string, reference: string, transport: Transport, ...words: string[]): Argv => [
    join(productRoot, 'bin/ingot'),
    ...['--json', '--store', store, ...words],
    ...(transport === 'TLS' ? ['--ca', certificate.cert] : ['--insecure', reference.replace(/\/.*$/, '')]),
  ];
  const skopeo = (side: 'src' | 'dest', transport: Transport, from: string, to: string): Argv =>
    inPeers(
      ...(['skopeo', '--insecure-policy', 'copy', '--quiet'] as const),
      transport === 'TLS'
        ? `--${side}-cert-dir=${seen(join(scratch, 'certificates'))}`
        : `--${side}-tls-verify=false`,
      ...[from, to],
    );
  const oras = (side: 'from' | 'to', transport: Transport, ...words: string[]): Argv =>
    inPeers(
      ...(['oras', 'copy', '--no-tty'] as const),
      ...(transport === 'TLS' ? [`--${side}-ca-file`, seen(certificate.cert)] : [`--${side}-plain-http`]),
      ...words,
    );
  return [
    {
      name: 'ingot',
      push: (layout, reference, transport) =>
        ingot(storePath, reference, transport, 'push', `oci:${layout.path}`, reference),
      pull: (reference, layout, transport) =>
        ingot(join(folder, 'store'), reference, transport, 'pull', reference, '--output', layout),
    },
    {
      name: 'skopeo',
      push: (layout, reference, transport) =>
        skopeo('dest', transport, `oci:${seen(layout.path)}:${layout.name}`, `docker://${reference}`),
      pull: (reference, layout, transport) =>
        skopeo('src', transport, `docker://${reference}`, `oci:${seen(layout)}:latest`),
    },
    {
      name: 'oras',
      push: (layout, reference, transport) =>
        oras('to', transport, '--from-oci-layout', `${seen(layout.path)}:${layout.name}`, reference),
      pull: (reference, layout, transport) =>
        oras('from', transport, '--to-oci-layout', reference, `${seen(layout)}:latest`),
    },
  ];
}

/** `bytes`: what the registry took, or what the layout that was pulled holds. */
async function measureOne(program: Program, transport: Transport, work: Work): Promise<Record<Case, Sample>> {
  const { context, initial, changed, folder, certificate } = work;
  const { scratch, signal, reporter } = context;
  await using server = await startRegistry({ folder, ...(transport === 'TLS' && { tls: certificate }) });
  const reference = `${server.host}/ai/node`;
  const once = async (argv: Argv, measured: string): Promise<Sample> => {
    await rm(join(folder, 'store'), { recursive: true, force: true });
    await run(['sync', '--file-system', folder], { signal });
    const before = await sizeOf(measured, signal);
    await touchMemory(TOUCHED_BYTES, signal);
    const { measurement } = await measure(argv, {
      scratch,
      signal,
      onLine: (line) => {
        reporter.debug(line);
      },
    });
    return { ...measurement, bytes: (await sizeOf(measured, signal)) - before };
  };
  const pulled = await mkdtemp(join(folder, 'pulled-'));
  const data = join(server.root, 'data');
  await mkdir(data, { recursive: true });
  try {
    return {
      push: await once(program.push(initial, `${reference}:1`, transport), data),
      'push after a driver change': await once(program.push(changed, `${reference}:2`, transport), data),
      pull: await once(program.pull(`${reference}:1`, join(pulled, 'layout'), transport), pulled),
    };
  } finally {
    await rm(pulled, { recursive: true, force: true });
  }
}
