/**
 * SHA-256 of files while they grow: a thread reads what was written, as far as it is told. Who writes does nothing but
 * move bytes meanwhile. What was just written is in the page cache, and reading it costs a quarter of hashing it
 * (docs/benchmarks.md, registry).
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

import { IngotError } from '../errors.ts';
import type { HashAnswer, HashJob, HashThread } from './hashing.ts';

/** How far a file grows before the thread is told: a message for each write would cost more than it is worth. */
const STEP_BYTES = 1024 * 1024;
/** How much the thread is told at once. It hears of nothing else meanwhile, not even that nobody wants it any more. */
const MAX_STEP_BYTES = 16 * 1024 * 1024;
/** A file that is so much longer than what was hashed had better wait: it is to be hashed from the page cache. */
const MAX_BEHIND_BYTES = 128 * 1024 * 1024;
/** A thread without work ends after so long. The next file starts another one, which takes 20 ms. */
const IDLE_MS = 1_000;

export interface FollowOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Files whose hashes are made on one thread, which runs while there are any. */
export class FollowingHasher {
  readonly #script: URL;
  #thread: HashingThread | undefined;
  #idle: NodeJS.Timeout | undefined;

  /** @param script what the thread runs; for tests, which need one that fails */
  constructor(script = new URL(`./hash-worker${extname(import.meta.filename)}`, import.meta.url)) {
    this.#script = script;
  }

  /** @param path of a plain file that is there. To be disposed of, with or without a digest. */
  follow(path: string, { signal }: FollowOptions = {}): FollowedFile {
    clearTimeout(this.#idle);
    if (this.#thread?.isOver !== false) this.#thread = new HashingThread(this.#script);
    const thread = this.#thread;
    return new FollowedFile(thread, path, signal, () => {
      if (thread !== this.#thread || thread.followed > 0) return;
      clearTimeout(this.#idle);
      this.#idle = setTimeout(() => {
        if (this.#thread === thread) this.#thread = undefined;
        thread.end();
      }, IDLE_MS).unref();
    });
  }
}

/** One file. Disposed of, it is closed. */
export class FollowedFile implements AsyncDisposable {
  readonly #thread: HashingThread;
  readonly #id: number;
  readonly #path: string;
  readonly #onDisposed: () => void;
  readonly #digest = Promise.withResolvers<string>();
  /** Bytes of the file that are written, that the thread was told, and that it has hashed. */
  #grown = 0;
  #told = 0;
  #hashed = 0;
  #isComplete = false;
  #isEnding = false;
  /** Whoever waits for the thread to come closer. */
  #waiting: PromiseWithResolvers<undefined> | undefined;
  readonly #removeAbort: () => void;

  constructor(thread: HashingThread, path: string, signal: AbortSignal | undefined, onDisposed: () => void) {
    this.#thread = thread;
    this.#path = path;
    this.#onDisposed = onDisposed;
    this.#digest.promise.catch(() => undefined); // looked at by whoever wants the digest
    this.#id = thread.add({
      onAnswer: (answer) => {
        this.#take(answer);
      },
      onFailure: (error) => {
        this.#fail(error);
      },
    });
    thread.tell({ id: this.#id, kind: 'follow', path });
    const abort = (): void => {
      this.#fail(new IngotError('INTERRUPTED', 'interrupted while hashing'));
    };
    signal?.addEventListener('abort', abort, { once: true });
    this.#removeAbort = () => signal?.removeEventListener('abort', abort);
  }

  /**
   * Tells how many bytes of the file are written by now.
   *
   * @returns to be waited for before more is written: settles once the thread is near, or never will be
   */
  grown(bytes: number): Promise<undefined> | undefined {
    this.#grown = bytes;
    this.#proceed();
    if (this.#isNear()) return undefined;
    this.#waiting ??= Promise.withResolvers();
    return this.#waiting.promise;
  }

  /**
   * Of as many bytes as were told, in hex; of all there are, where the file has less. No more can be told afterwards.
   *
   * @throws Error of the system, with its `code`, when the file cannot be read; IngotError INTERRUPTED
   */
  async digest(): Promise<string> {
    this.#isComplete = true;
    this.#proceed();
    return await this.#thread.awake(this.#digest.promise);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#removeAbort();
    this.#end();
    await this.#thread.remove(this.#id);
    this.#onDisposed();
  }

  /** Tells the next step once the one before is done, and the end after the last. */
  #proceed(): void {
    if (this.#isEnding || this.#told > this.#hashed) return;
    const left = this.#grown - this.#hashed;
    if (left >= STEP_BYTES || (this.#isComplete && left > 0)) {
      this.#told = this.#hashed + Math.min(left, MAX_STEP_BYTES);
      this.#thread.tell({ id: this.#id, kind: 'grown', bytes: this.#told });
    } else if (this.#isComplete) this.#end();
  }

  #end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#thread.tell({ id: this.#id, kind: 'end' });
  }

  #take(answer: HashAnswer): void {
    if ('hex' in answer) {
      this.#digest.resolve(answer.hex);
    } else if ('fault' in answer) {
      this.#fail(
        Object.assign(new Error(`${this.#path} cannot be hashed: ${answer.fault}`), { code: answer.fault }),
      );
    } else {
      this.#hashed = answer.bytes;
      this.#proceed();
      if (this.#isNear()) this.#release();
    }
  }

  /** The digest says why; who waits to write hears it there. */
  #fail(error: Error): void {
    this.#digest.reject(error);
    this.#end();
    this.#release();
  }

  #release(): void {
    this.#waiting?.resolve(undefined);
    this.#waiting = undefined;
  }

  #isNear(): boolean {
    return this.#isEnding || this.#grown - this.#hashed <= MAX_BEHIND_BYTES;
  }
}

interface Follower {
  readonly onAnswer: (answer: HashAnswer) => void;
  readonly onFailure: (error: Error) => void;
  readonly closed: PromiseWithResolvers<undefined>;
}

class HashingThread {
  readonly #worker: Worker;
  readonly #followers = new Map<number, Follower>();
  #next = 0;
  #waits = 0;
  /** Takes no more files. */
  isOver = false;

  constructor(script: URL) {
    this.#worker = new Worker(script, {
      ...{ env: {}, execArgv: [] },
      workerData: { yields: false } satisfies HashThread,
    });
    this.#worker.on('message', (answer: HashAnswer) => {
      const follower = this.#followers.get(answer.id);
      follower?.onAnswer(answer);
      if (!('bytes' in answer)) follower?.closed.resolve(undefined);
    });
    const fail = (error: Error): void => {
      this.isOver = true;
      for (const { onFailure, closed } of this.#followers.values()) {
        onFailure(error);
        closed.resolve(undefined);
      }
    };
    this.#worker.on('error', fail);
    this.#worker.on('exit', (code) => {
      fail(new Error(`the thread that hashes ended with ${code}`));
    });
    this.#worker.unref(); // after the listeners, which would take it back
  }

  get followed(): number {
    return this.#followers.size;
  }

  add(follower: Omit<Follower, 'closed'>): number {
    const id = this.#next;
    this.#next += 1;
    this.#followers.set(id, { ...follower, closed: Promise.withResolvers() });
    return id;
  }

  tell(job: HashJob): void {
    this.#worker.postMessage(job);
  }

  /** Once the thread has closed its file, or has ended. */
  async remove(id: number): Promise<void> {
    const follower = this.#followers.get(id);
    if (follower !== undefined) await this.awake(follower.closed.promise);
    this.#followers.delete(id);
  }

  /** The thread alone does not keep Node.js from ending; who waits for it does. */
  async awake<T>(answer: Promise<T>): Promise<T> {
    this.#waits += 1;
    this.#worker.ref();
    try {
      return await answer;
    } finally {
      this.#waits -= 1;
      if (this.#waits === 0) this.#worker.unref();
    }
  }

  end(): void {
    this.isOver = true;
    void this.#worker.terminate();
  }
}
