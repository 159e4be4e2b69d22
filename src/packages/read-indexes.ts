/** Package indexes as they were last fetched: which moment's they are, and what is in them. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { basename, join } from 'node:path';

import * as z from 'zod';

import { digestOf, digestOfJson, type Digest } from '../digest.ts';
import { errnoOf } from '../errors.ts';
import type { Reporter } from '../report/events.ts';
import { writeFileAtomically } from '../store/store.ts';
import { aptIndexTargets } from '../tools/apt.ts';
import { addressOf, holdState, isReleaseFile, type Indexes } from './indexes.ts';
import { PackageIndex, sourceOfFile } from './package-index.ts';

/** Held for as long as it is used: nothing moves the indexes forward meanwhile. */
export interface OpenIndex extends AsyncDisposable {
  readonly stamp: Digest;
  readonly index: PackageIndex;
}

/** Digest over the signed Release files: changes exactly when the indexes do. */
export async function stampOf({ folder }: Indexes): Promise<Digest> {
  const lists = join(folder, 'lists');
  const names = (await readdir(lists)).filter(isReleaseFile).sort();
  return digestOfJson(
    await Promise.all(names.map(async (name) => [name, digestOf(await readFile(join(lists, name)))])),
  );
}

/** What several solutions of one process read is read once. */
const readIndexes = new WeakMap<Indexes, { readonly stamp: Digest; readonly index: PackageIndex }>();
const preparing = new WeakMap<Indexes, Promise<void>>();

/** Solving and reading side by side, here and in other processes, after one of them has made what all need. */
export async function openIndex(
  indexes: Indexes,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<OpenIndex> {
  for (;;) {
    await preparing.get(indexes);
    const opened = await openPrepared(indexes, reporter, signal);
    if (opened !== undefined) return opened;
    const work =
      preparing.get(indexes) ??
      prepare(indexes, reporter, signal).finally(() => {
        preparing.delete(indexes);
      });
    preparing.set(indexes, work);
    await work;
  }
}

async function openPrepared(
  indexes: Indexes,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<OpenIndex | undefined> {
  await using held = new AsyncDisposableStack();
  held.use(await holdState(indexes, reporter, signal, { shared: true }));
  const stamp = await stampOf(indexes);
  const known = readIndexes.get(indexes);
  const index = known?.stamp === stamp ? known.index : await readTable(indexes, stamp);
  if (index === undefined) return undefined;
  readIndexes.set(indexes, { stamp, index });
  const holding = held.move();
  return { stamp, index, [Symbol.asyncDispose]: () => holding.disposeAsync() };
}

/** Raised when the recorded table or the order of the sources changes. */
const TABLE_VERSION = 2;

/** The first line of a table. */
const TableHead = z.strictObject({
  /** Of what it was made. */
  key: z.string(),
  sources: z.array(
    z.strictObject({
      archive: z.string(),
      foreign: z.literal(true).optional(),
      file: z.string(),
      size: z.number(),
    }),
  ),
  essential: z.array(z.string()),
});
type TableHead = z.infer<typeof TableHead>;

function keyOf({ release }: Indexes, stamp: Digest): Digest {
  return digestOfJson([TABLE_VERSION, stamp, release.archives]);
}

/** To find sixty thousand stanzas takes longer than to read where they were. */
async function readTable(indexes: Indexes, stamp: Digest): Promise<PackageIndex | undefined> {
  const recorded = await readIfThere(tableFile(indexes));
  if (recorded === undefined) return undefined;
  const end = recorded.indexOf('\n');
  const head = parseHead(recorded.toString('utf8', 0, Math.max(end, 0)));
  if (head?.key !== keyOf(indexes, stamp)) return undefined;
  const { sources, essential } = head;
  const files = sources.map(({ file }) => join(indexes.folder, 'lists', file));
  const sizes = await Promise.all(files.map(sizeOf));
  if (
    !isDeepStrictEqual(
      sizes,
      sources.map(({ size }) => size),
    )
  )
    return undefined;
  return new PackageIndex(
    sources.map(({ archive, foreign }, number) => sourceOfFile(archive, files[number] ?? '', foreign)),
    { lines: recorded.subarray(end + 1), essential },
  );
}

/** Makes the table of the downloaded indexes, in the order of the release's archives, and apt's own cache of them. */
async function prepare(indexes: Indexes, reporter: Reporter, signal?: AbortSignal): Promise<void> {
  await using _held = await holdState(indexes, reporter, signal);
  const stamp = await stampOf(indexes);
  // Another process may have been quicker.
  if ((await readTable(indexes, stamp)) !== undefined) return;
  // It reads what Release files say by way of its cache, which then is there for all that solve.
  const targets = await aptIndexTargets(indexes.folder, { signal });
  const sources = indexes.release.archives.flatMap((archive) => {
    const address = `${addressOf(archive, indexes.mirrors)}/`;
    return targets
      .filter(({ uri, release }) => uri === address && archive.suites.includes(release))
      .map(({ file }) => ({ archive: archive.name, foreign: archive.foreign, file }));
  });
  const { table } = new PackageIndex(
    sources.map(({ archive, file, foreign }) => sourceOfFile(archive, file, foreign)),
  );
  const head: TableHead = {
    key: keyOf(indexes, stamp),
    sources: await Promise.all(
      sources.map(async ({ archive, file, foreign }) => ({
        archive,
        ...(foreign !== undefined && { foreign }),
        file: basename(file),
        size: (await stat(file)).size,
      })),
    ),
    essential: [...table.essential],
  };
  await writeFileAtomically(
    tableFile(indexes),
    Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), table.lines]),
  );
}

function tableFile({ folder }: Indexes): string {
  return join(folder, 'stanzas.table');
}

function parseHead(line: string): TableHead | undefined {
  try {
    return TableHead.safeParse(JSON.parse(line)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
