/**
 * A thread that makes archives while their packages are unpacked by another; see growing-archives.ts. It yields, as
 * all packing does: where cores are scarce the tree comes first, and the archive follows it through the page cache.
 */
import { closeSync, openSync } from 'node:fs';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';

import { errnoOf, IngotError } from '../../errors.ts';
import { yieldThread } from '../../proc/yield-thread.ts';
import { GrowingArchive, NoArchive, type GrowingFile } from './growing-archive.ts';
import { FRAME_BYTES, type LayerBlob } from './layer-blob.ts';
import type { TarEntry } from './tar-header.ts';
import type { TreeEntry } from './tree-walk.ts';

/** What the archive of one package is to be. */
export interface GrowingJob {
  readonly package: string;
  /** Of the blob, which is not there yet. */
  readonly path: string;
  readonly level: number;
  readonly epoch: number;
  readonly filesFrom?: number | undefined;
}

/** From the thread that unpacks, one package after the other. */
export type Unpacked =
  | { readonly begin: GrowingJob }
  | { readonly entry: TarEntry; readonly contents?: Uint8Array }
  | { readonly growing: TarEntry & { readonly type: 'file' }; readonly file: GrowingFile }
  | { readonly end: 'whole' | 'broken' };

/** From the build: the tree is there. */
export interface FinishJob {
  readonly package: string;
  readonly entries: readonly TreeEntry[];
  readonly time: number;
}

export type FinishAnswer =
  | { readonly package: string; readonly blob: LayerBlob }
  /** Why the tree has to be packed. */
  | { readonly package: string; readonly none: string };

/** What a thread is told at its start. */
export interface GrowingThreadData {
  /** Where the packages come from. */
  readonly port: MessagePort;
}

interface Begun {
  readonly job: GrowingJob;
  readonly fd: number;
  readonly archive: GrowingArchive;
}

const block = Buffer.allocUnsafeSlow(FRAME_BYTES);
const paused = new Map<string, Begun>();
const without = new Map<string, string>();
/** Asked for before the thread was so far. */
const waiting = new Map<string, FinishJob>();
let current: Begun | undefined;

yieldThread();
const { port } = workerData as GrowingThreadData;
port.on('message', take);
parentPort?.on('message', (job: FinishJob) => {
  waiting.set(job.package, job);
  answer(job.package);
});

function take(message: Unpacked): void {
  if ('begin' in message) {
    const { begin: job } = message;
    attempt(job.package, () => {
      const fd = openSync(job.path, 'wx', 0o644);
      const { level, epoch, filesFrom } = job;
      const archive = new GrowingArchive({ fd, block, level, epoch, filesFrom, onProgress: () => undefined });
      current = { job, fd, archive };
    });
  } else if ('growing' in message) {
    if (current === undefined) closeSync(message.file.fd);
    else withCurrent(({ archive }) => { archive.addGrowing(message.growing, message.file); });
  } else if ('entry' in message) {
    const { entry, contents } = message;
    withCurrent(({ archive }) => {
      archive.add(entry, contents === undefined ? undefined : Buffer.from(contents.buffer, contents.byteOffset, contents.byteLength));
    });
  } else {
    withCurrent((begun) => {
      if (message.end === 'broken') throw new NoArchive('it was not unpacked to its end');
      begun.archive.pause();
      paused.set(begun.job.package, begun);
      current = undefined;
    });
    answerAll();
  }
}

function withCurrent(work: (begun: Begun) => void): void {
  const begun = current;
  if (begun !== undefined) attempt(begun.job.package, () => { work(begun); }, begun.fd);
}

/** What goes wrong costs the archive alone: the tree is packed, and whatever it is will be said then. */
function attempt(name: string, work: () => void, fd?: number): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof NoArchive || error instanceof IngotError) && errnoOf(error) === undefined) throw error;
    if (fd !== undefined) closeSync(fd);
    paused.delete(name);
    if (current?.job.package === name) current = undefined;
    without.set(name, (error as Error).message);
    answerAll();
  }
}

function answerAll(): void {
  for (const name of [...waiting.keys()]) answer(name);
}

/** Finishes the archive if both sides are so far. */
function answer(name: string): void {
  const job = waiting.get(name);
  if (job === undefined) return;
  const tell = (told: FinishAnswer): void => {
    waiting.delete(name);
    parentPort?.postMessage(told);
  };
  const none = without.get(name);
  if (none !== undefined) {
    tell({ package: name, none });
    return;
  }
  const begun = paused.get(name);
  if (begun === undefined || current !== undefined) return; // the block is taken
  attempt(name, () => {
    const blob = begun.archive.finish(job.entries, job.time, block);
    closeSync(begun.fd);
    paused.delete(name);
    tell({ package: name, blob });
  }, begun.fd);
}
