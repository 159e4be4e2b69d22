/**
 * Threads that pack chunks: as many as there are cores, for all layers of a build together. Each takes the largest
 * chunk that waits, so that no large one is left to the end.
 */
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

import { IngotError, type ErrorCode } from '../../errors.ts';
import type { LayerBlob } from './layer-blob.ts';
import type { TreeEntry } from './tree-walk.ts';

/** More would hardly be fed; each has 10 to 30 MiB of memory. */
const MOST = 8;

export interface PackJob {
  readonly entries: readonly TreeEntry[];
  /** Of entries without a time of their own, seconds. */
  readonly time: number;
  readonly level: number;
  /** Of the blob, which is not there yet. */
  readonly path: string;
}

/** What a thread says: how far it is, or the end. */
export type PackAnswer =
  | { readonly bytes: number }
  | { readonly blob: LayerBlob }
  /** An IngotError. */
  | { readonly refused: { readonly code: ErrorCode; readonly message: string; readonly hint: string | undefined } }
  /** The system's error, such as ENOSPC. */
  | { readonly fault: string; readonly message: string };

export interface PackJobOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told the plain bytes packed so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

interface Waiting {
  readonly job: PackJob;
  readonly bytes: number;
  readonly options: PackJobOptions;
  readonly resolve: (blob: LayerBlob) => void;
  readonly reject: (error: unknown) => void;
}

export class Packers implements AsyncDisposable {
  readonly #most: number;
  readonly #waiting: Waiting[] = [];
  readonly #idle: Worker[] = [];
  readonly #all = new Set<Worker>();

  constructor(most = Math.min(MOST, availableParallelism())) {
    this.#most = most;
  }

  /**
   * @throws IngotError BUILD_FAILED, INTERRUPTED; the system's error, with its `code`, for what cannot be read or written.
   *   By then nobody writes to the blob any more.
   */
  async pack(job: PackJob, options: PackJobOptions = {}): Promise<LayerBlob> {
    const bytes = job.entries.reduce((sum, { source }) => sum + (source?.size ?? 0), 0);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, bytes, options, resolve, reject });
      this.#waiting.sort((one, other) => other.bytes - one.bytes);
      this.#start();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((worker) => worker.terminate()));
  }

  #start(): void {
    while (this.#waiting.length > 0 && (this.#idle.length > 0 || this.#all.size < this.#most)) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      if (next.options.signal?.aborted === true) {
        next.reject(interrupted());
        continue;
      }
      const worker = this.#idle.pop() ?? this.#hire();
      void packOn(worker, next.job, next.options).then(
        (blob) => {
          this.#idle.push(worker);
          next.resolve(blob);
        },
        async (error: unknown) => {
          this.#all.delete(worker);
          await worker.terminate();
          next.reject(error);
        },
      ).then(() => {
        this.#start();
      });
    }
  }

  #hire(): Worker {
    const script = new URL(`./pack-worker${extname(import.meta.filename)}`, import.meta.url);
    const worker = new Worker(script, { env: {}, execArgv: [] });
    this.#all.add(worker);
    return worker;
  }
}

async function packOn(worker: Worker, job: PackJob, { signal, onProgress }: PackJobOptions): Promise<LayerBlob> {
  const { promise, resolve, reject } = Promise.withResolvers<LayerBlob>();
  const onMessage = (answer: PackAnswer): void => {
    if ('bytes' in answer) onProgress?.(answer.bytes);
    else if ('blob' in answer) resolve(answer.blob);
    else reject(errorOf(answer));
  };
  const onAbort = (): void => {
    reject(interrupted());
  };
  worker.on('message', onMessage).on('error', reject);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    worker.postMessage(job);
    const blob = await promise;
    if (signal?.aborted === true) throw interrupted(); // it came too late to end the thread
    return blob;
  } finally {
    worker.off('message', onMessage).off('error', reject);
    signal?.removeEventListener('abort', onAbort);
  }
}

function errorOf(answer: Extract<PackAnswer, { refused: unknown } | { fault: string }>): Error {
  if ('refused' in answer) {
    const { code, message, hint } = answer.refused;
    return new IngotError(code, message, hint === undefined ? {} : { hint });
  }
  return Object.assign(new Error(answer.message), { code: answer.fault });
}

function interrupted(): IngotError {
  return new IngotError('INTERRUPTED', 'interrupted while packing a layer');
}
