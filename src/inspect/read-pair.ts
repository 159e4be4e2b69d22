/**
 * Two images, read as far as it takes to tell how they differ: the layers that one of them alone has, and of those
 * that both have nothing, or just the entries that a layer of one's own may cover.
 */
import { availableParallelism } from 'node:os';
import pLimit from 'p-limit';

import { parseAccounts } from '../compare/compare-accounts.ts';
import type { ReadLayers } from '../compare/compare-images.ts';
import { installedPackages } from '../compare/compare-packages.ts';
import { packageOfList } from '../compare/file-owners.ts';
import type { ImageSummary, LayerEntries } from '../compare/image-summary.ts';
import { RPM_DATABASE_FILE, rpmPackages, summariseRpms } from '../compare/rpm-packages.ts';
import { isBelow, stackLayers, type Stack } from '../compare/stack-layers.ts';
import type { Digest } from '../digest.ts';
import { parseKernelArguments } from '../ostree/kernel-arguments.ts';
import { IngotError } from '../errors.ts';
import type { Descriptor } from '../oci/schema.ts';
import { parseFacts } from '../plan/image-facts.ts';
import type { Stage } from '../report/events.ts';
import type { ImageReader } from './image-reader.ts';
import { DPKG_STATUS, isTold, readLayer } from './read-layer.ts';

export interface ReadPairOptions {
  readonly signal?: AbortSignal | undefined;
  readonly stage?: Stage | undefined;
}

export interface ReadPair {
  readonly from: ImageSummary;
  readonly to: ImageSummary;
  readonly layers: ReadLayers;
}

const EMPTY: LayerEntries = {
  entries: new Map(),
  whiteouts: new Set(),
  opaque: new Set(),
  texts: new Map(),
};

/** @throws IngotError IMAGE_UNREADABLE, DIGEST_MISMATCH, NOT_FOUND, INTERRUPTED */
export async function readPair(
  from: ImageReader,
  to: ImageReader,
  options: ReadPairOptions = {},
): Promise<ReadPair> {
  const shared = sharedDigests(from, to);
  const own = (image: ImageReader): Task[] =>
    image.layers.filter(({ digest }) => !shared.has(digest)).map((layer) => ({ image, layer }));
  const progress = new Progress(options.stage);
  const read = await readAll([...own(from), ...own(to)], progress, options);
  const stackOf = (image: ImageReader, known: ReadonlyMap<Digest, LayerEntries>): Stack =>
    stackLayers(image.layers.map(({ digest }) => known.get(digest) ?? EMPTY));
  let stacks = { from: stackOf(from, read), to: stackOf(to, read) };
  const open = whatIsOpen(from, to, shared, read, stacks);
  const isLocal = from.isLocal || to.isLocal;
  const isWhole = open === 'nothing' || isLocal || open === 'told';
  if (open !== 'nothing' && isWhole) {
    const keep = coveredBy(read, stacks);
    const image = from.isLocal ? from : to;
    const tasks = image.layers.filter(({ digest }) => shared.has(digest)).map((layer) => ({ image, layer }));
    const below = await readAll(tasks, progress, { ...options, keep });
    const all = new Map([...read, ...below]);
    stacks = { from: stackOf(from, all), to: stackOf(to, all) };
  }
  return {
    from: summarise(from, stacks.from),
    to: summarise(to, stacks.to),
    layers: {
      ...stacks,
      pulled: new Map(own(to).flatMap(({ layer: { digest } }) => entryOf(digest, read.get(digest)))),
      isWhole,
    },
  };
}

/** One image by itself, as far as a lock can be held against it: its annotations and its packages. */
export async function readAlone(image: ImageReader, options: ReadPairOptions = {}): Promise<ImageSummary> {
  const progress = new Progress(options.stage);
  for (const layer of image.layers.toReversed()) {
    const keep = (path: string): boolean => DPKG_STATUS.test(path) || RPM_DATABASE_FILE.test(path);
    const read = await readAll([{ image, layer }], progress, { ...options, keep });
    const stack = stackLayers([...read.values()]);
    if (stack.texts.size > 0) return { ...summarise(image, stack), kernelArguments: undefined };
  }
  return { ...summarise(image, { files: new Map(), texts: new Map() }), packages: undefined };
}

interface Task {
  readonly image: ImageReader;
  readonly layer: Descriptor;
}

/** Each blob once. */
async function readAll(
  tasks: readonly Task[],
  progress: Progress,
  { signal, keep }: ReadPairOptions & { readonly keep?: (path: string) => boolean },
): Promise<Map<Digest, LayerEntries>> {
  const once = [...new Map(tasks.map((task) => [task.layer.digest, task])).values()];
  progress.expect(once.reduce((sum, { layer }) => sum + layer.size, 0));
  const limit = pLimit(Math.min(4, Math.max(2, availableParallelism())));
  // One failure ends the others, and all are waited for: files and connections are theirs.
  const failure = new AbortController();
  const any = signal === undefined ? failure.signal : AbortSignal.any([signal, failure.signal]);
  const results = await Promise.allSettled(
    once.map(({ image, layer }) =>
      limit(async () => {
        try {
          const onBytes = (bytes: number): void => {
            progress.advance(bytes);
          };
          return [layer.digest, await readLayer(image, layer, { signal: any, keep, onBytes })] as const;
        } catch (error) {
          failure.abort(error);
          throw error;
        }
      }),
    ),
  );
  if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while reading images');
  if (failure.signal.aborted) throw failure.signal.reason;
  return new Map(results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])));
}

class Progress {
  readonly #stage: Stage | undefined;
  #done = 0;
  #total = 0;

  constructor(stage: Stage | undefined) {
    this.#stage = stage;
  }

  expect(bytes: number): void {
    this.#total += bytes;
  }

  advance(bytes: number): void {
    this.#done += bytes;
    this.#stage?.progress(this.#done, this.#total, 'bytes');
  }
}

function sharedDigests(from: ImageReader, to: ImageReader): ReadonlySet<Digest> {
  const known = new Set(from.layers.map(({ digest }) => digest));
  return new Set(to.layers.map(({ digest }) => digest).filter((digest) => known.has(digest)));
}

/**
 * What the layers of one's own leave open: a path that just one image has in them may cover one that both have
 * below. `told`: such a path is one of the files that much is read from.
 */
function whatIsOpen(
  from: ImageReader,
  to: ImageReader,
  shared: ReadonlySet<Digest>,
  read: ReadonlyMap<Digest, LayerEntries>,
  stacks: { readonly from: Stack; readonly to: Stack },
): 'nothing' | 'paths' | 'told' {
  if (shared.size === 0) return 'nothing';
  if (from.digest === to.digest) return 'nothing';
  const onOneSide = (one: Stack, other: Stack): string[] =>
    [...one.files].flatMap(([path, { type }]) =>
      type !== 'directory' && !other.files.has(path) ? [path] : [],
    );
  const paths = [...onOneSide(stacks.from, stacks.to), ...onOneSide(stacks.to, stacks.from)];
  const hides = [...read.values()].some(({ whiteouts, opaque }) => whiteouts.size + opaque.size > 0);
  // A package's list comes and goes with the package: nothing else tells the same.
  if (paths.some((path) => isTold(path) && !path.endsWith('.list'))) return 'told';
  return hides || paths.length > 0 ? 'paths' : 'nothing';
}

/** The paths of shared layers that matter. */
function coveredBy(
  read: ReadonlyMap<Digest, LayerEntries>,
  stacks: { readonly from: Stack; readonly to: Stack },
): (path: string) => boolean {
  const hidden = new Set([...read.values()].flatMap(({ whiteouts, opaque }) => [...whiteouts, ...opaque]));
  return (path) =>
    packageOfList(path) !== undefined || // tells whose files are whose
    RPM_DATABASE_FILE.test(path) ||
    stacks.from.files.has(path) ||
    stacks.to.files.has(path) ||
    hidden.has(path) ||
    isBelow(path, hidden);
}

function summarise(image: ImageReader, { texts }: Stack): ImageSummary {
  const { annotations: own, config, shown, digest, layers } = image;
  const said = { ...config.config?.Labels, ...own };
  const rpms = rpmPackages(texts);
  const find = (pattern: RegExp): string | undefined =>
    [...texts].findLast(([path]) => pattern.test(path))?.[1];
  return {
    kind: 'image',
    shown,
    name: said['org.opencontainers.image.title'],
    version: said['org.opencontainers.image.version'],
    digest,
    facts: parseFacts(said),
    packages: rpms === undefined ? installedPackages(find(DPKG_STATUS) ?? '') : summariseRpms(rpms),
    kernelArguments: kernelArguments(texts),
    users: parseAccounts(find(/etc\/passwd$/) ?? ''),
    groups: parseAccounts(find(/etc\/group$/) ?? ''),
    blobs: layers.map(({ digest: blob, size, annotations }) => ({
      digest: blob,
      size,
      ...(annotations?.['dev.ingot.layer'] !== undefined && { layer: annotations['dev.ingot.layer'] }),
      ...(annotations?.['dev.ingot.chunk'] !== undefined && { chunk: annotations['dev.ingot.chunk'] }),
    })),
  };
}

/** In the order of the files' names, as bootc reads them. */
function kernelArguments(texts: ReadonlyMap<string, string>): string[] {
  return [...texts]
    .filter(([path]) => path.endsWith('.toml'))
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .flatMap(([path, text]) => {
      try {
        return parseKernelArguments(text, path, 'x86_64');
      } catch {
        return [`(${path} cannot be read)`];
      }
    });
}

function entryOf(digest: Digest, layer: LayerEntries | undefined): [Digest, LayerEntries][] {
  return layer === undefined ? [] : [[digest, layer]];
}
