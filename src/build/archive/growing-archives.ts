/**
 * Archives of chunks that grow while their packages are unpacked: one pass over a package gives files to the tree and
 * the chunk's blob, hashed and compressed (growing-archive.ts). For each thread that unpacks there is one that follows it.
 */
import { extname, join } from 'node:path';
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';

import { IngotError } from '../../errors.ts';
import type { PlanChunk } from '../../plan/chunks.ts';
import type { Store } from '../../store/store.ts';
import type { ChunkEntries } from './divide.ts';
import type { FinishAnswer, FinishJob, GrowingJob, GrowingThreadData } from './growing-archive-worker.ts';
import type { LayerBlob } from './layer-blob.ts';

interface Grown {
  readonly thread: GrowingThread;
  readonly job: GrowingJob;
}

export interface GrowingChunks {
  readonly chunks: readonly PlanChunk[];
  readonly epoch: number;
  /** Of chunks that do not say otherwise. */
  readonly level: number;
}

/** One package in its archive, whole. */
export interface FinishedArchive {
  readonly blob: LayerBlob;
  /** Of the blob, which is the caller's to take away. */
  readonly path: string;
}

export class GrowingArchives implements AsyncDisposable {
  readonly #cleanup = new AsyncDisposableStack();
  readonly #folder: string;
  /** What can grow, by package. */
  readonly #jobs: ReadonlyMap<string, { readonly chunk: string; readonly job: GrowingJob }>;
  /** What was unpacked to its end, by chunk. */
  readonly #grown = new Map<string, Grown>();

  private constructor(folder: string, chunks: GrowingChunks) {
    this.#folder = folder;
    this.#jobs = new Map(
      growable(chunks.chunks).map((chunk, index) => {
        const [name = ''] = chunk.packages;
        const { filesFrom, level = chunks.level } = chunk;
        const path = join(this.#folder, String(index));
        return [name, { chunk: chunk.name, job: { package: name, path, level, epoch: chunks.epoch, filesFrom } }];
      }),
    );
  }

  static async open(store: Store, chunks: GrowingChunks): Promise<GrowingArchives> {
    await using cleanup = new AsyncDisposableStack();
    const { path } = cleanup.use(await store.scratch('growing'));
    const made = new GrowingArchives(path, chunks);
    made.#cleanup.use(cleanup.move());
    return made;
  }

  /** A thread that follows one that unpacks. */
  hire(): GrowingThread {
    return this.#cleanup.use(new GrowingThread());
  }

  /** Undefined where the package is not alone in its chunk. */
  jobOf(name: string): GrowingJob | undefined {
    return this.#jobs.get(name)?.job;
  }

  /** The package was unpacked to its end before the thread's eyes. */
  note(name: string, thread: GrowingThread): void {
    const known = this.#jobs.get(name);
    if (known !== undefined) this.#grown.set(known.chunk, { thread, job: known.job });
  }

  /**
   * The chunk's blob, when it began as the tree came out.
   *
   * @param onNone told why there is none
   * @throws IngotError INTERRUPTED
   */
  async finish(
    { name, entries, time, level }: ChunkEntries,
    { signal, onNone }: { readonly signal?: AbortSignal | undefined; readonly onNone: (why: string) => void },
  ): Promise<FinishedArchive | undefined> {
    const grown = this.#grown.get(name);
    if (grown === undefined || (level !== undefined && level !== grown.job.level)) return undefined;
    const { thread, job } = grown;
    const answer = await thread.finish({ package: job.package, entries, time }, signal);
    if ('blob' in answer) return { blob: answer.blob, path: job.path };
    onNone(answer.none);
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** Chunks of one package, one for each: that of its large files before that of the rest. */
function growable(chunks: readonly PlanChunk[]): PlanChunk[] {
  const alone = chunks.filter(
    ({ packages, paths = [], epoch }) => packages.length === 1 && paths.length === 0 && epoch === undefined,
  );
  const split = new Set(chunks.filter(({ filesFrom }) => filesFrom !== undefined).flatMap(({ packages }) => packages));
  return alone.filter(
    ({ packages: [name = ''], filesFrom }) => filesFrom !== undefined || !split.has(name),
  );
}

export class GrowingThread implements AsyncDisposable {
  /** Where the thread that unpacks says what it does; to be transferred to it. */
  readonly port: MessagePort;
  readonly #worker: Worker;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.#worker = new Worker(new URL(`./growing-archive-worker${extname(import.meta.filename)}`, import.meta.url), {
      env: {},
      execArgv: [],
      workerData: { port: port2 } satisfies GrowingThreadData,
      transferList: [port2],
      trackUnmanagedFds: false, // it closes what another thread has opened
    });
    this.#worker.setMaxListeners(0); // each chunk waits for its own answer
  }

  async finish(job: FinishJob, signal: AbortSignal | undefined): Promise<FinishAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<FinishAnswer>();
    const onMessage = (answer: FinishAnswer): void => {
      if (answer.package === job.package) resolve(answer);
    };
    const onAbort = (): void => {
      reject(new IngotError('INTERRUPTED', 'interrupted while packing a layer'));
    };
    this.#worker.on('message', onMessage).on('error', reject);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      if (signal?.aborted === true) onAbort();
      else this.#worker.postMessage(job);
      return await promise;
    } finally {
      this.#worker.off('message', onMessage).off('error', reject);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
