/**
 * SHA-256 of files while they grow: a thread reads what was written, as far as it is told. Who writes does nothing but
 * move bytes meanwhile. What was just written is in the page cache, and reading it costs a fifth of hashing it
 * (docs/benchmarks.md, registry).
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

import type { HashAnswer, HashJob, HashThread } from './hashing.ts';

/** How far a file grows before the thread is told: a message for each write would cost more than it is worth. */
const STEP_BYTES = 1024 * 1024;
/** A thread without work ends after so long. The next file starts another one, which takes 20 ms. */
const IDLE_MS = 1_000;

/** Disposed of, it is closed. */
export interface FollowedFile extends AsyncDisposable {
  /** Tells how many bytes of the file are written by now. */
  grown(bytes: number): void;
  /**
   * Of as many bytes as were told, in hex. No more can be told afterwards.
   *
   * @throws Error of the system, with its `code`, when the file cannot be read
   */
  digest(): Promise<string>;
}

/** Follows any number of files, on one thread that runs while there are any. */
export class FollowingHasher {
  #thread: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #next = 0;
  /** Answers to those that were not disposed of yet. */
  readonly #answers = new Map<number, PromiseWithResolvers<string>>();

  /** @param path of a plain file that is there. To be disposed of, with or without a digest. */
  follow(path: string): FollowedFile {
    const id = this.#next;
    this.#next += 1;
    const thread = this.#start();
    const answer = Promise.withResolvers<string>();
    answer.promise.catch(() => undefined); // looked at by whoever wants the digest
    this.#answers.set(id, answer);
    const tell = (job: HashJob): void => {
      thread.postMessage(job);
    };
    tell({ id, kind: 'follow', path });
    let [grown, told] = [0, 0];
    const end = async (): Promise<string> => {
      tell({ id, kind: 'end' });
      const awake = setInterval(() => undefined, IDLE_MS); // the thread alone does not keep Node.js from ending
      try {
        return await answer.promise;
      } finally {
        clearInterval(awake);
      }
    };
    let ended: Promise<string> | undefined;
    return {
      grown: (bytes) => {
        grown = bytes;
        if (grown - told < STEP_BYTES) return;
        told = grown;
        tell({ id, kind: 'grown', bytes: grown });
      },
      digest: () => {
        tell({ id, kind: 'grown', bytes: grown });
        return (ended ??= end());
      },
      [Symbol.asyncDispose]: async () => {
        await (ended ?? end()).catch(() => undefined);
        this.#answers.delete(id);
        if (this.#answers.size === 0) this.#rest();
      },
    };
  }

  #start(): Worker {
    clearTimeout(this.#idle);
    if (this.#thread !== undefined) return this.#thread;
    const script = new URL(`./hash-worker${extname(import.meta.filename)}`, import.meta.url);
    const thread = new Worker(script, {
      ...{ env: {}, execArgv: [] },
      workerData: { yields: false } satisfies HashThread,
    });
    this.#thread = thread;
    thread.unref();
    thread.on('message', (answer: HashAnswer) => {
      const waiting = this.#answers.get(answer.id);
      if ('hex' in answer) waiting?.resolve(answer.hex);
      else if ('fault' in answer) {
        waiting?.reject(Object.assign(new Error(`${answer.fault} while hashing`), { code: answer.fault }));
      }
    });
    thread.on('error', (error) => {
      this.#thread = undefined;
      for (const waiting of this.#answers.values()) waiting.reject(error);
    });
    return thread;
  }

  #rest(): void {
    const thread = this.#thread;
    this.#idle = setTimeout(() => {
      this.#thread = undefined;
      void thread?.terminate();
    }, IDLE_MS).unref();
  }
}
