/**
 * Locks between processes, by flock(2).
 *
 * Node.js has no flock. A `flock FILE cat` holder (holder.ts) keeps the lock, so a lock never outlives its owner,
 * however that ends, and is never stale.
 */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

import { IngotError } from '../errors.ts';
import { startHolder } from './holder.ts';

export interface FileLock extends AsyncDisposable {
  readonly path: string;
}

export interface FileLockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when the lock is not free at once. */
  readonly onWait?: (() => void) | undefined;
  /** Any number of owners may share the lock; an exclusive one waits for all of them. Default: exclusive. */
  readonly shared?: boolean;
  /** `false` fails with TOOL_FAILED when the lock is not free at once. Default: true. */
  readonly wait?: boolean;
}

/** @throws IngotError INTERRUPTED when the signal fires while waiting; TOOL_MISSING without util-linux. */
export async function acquireFileLock(path: string, options: FileLockOptions = {}): Promise<FileLock> {
  const holder = await acquire([path], path, options);
  return { path, [Symbol.asyncDispose]: () => holder[Symbol.asyncDispose]() };
}

/**
 * Undefined where the lock is not free at once.
 *
 * @throws IngotError INTERRUPTED, TOOL_MISSING
 */
export async function tryFileLock(
  path: string,
  options: Pick<FileLockOptions, 'signal' | 'shared'> = {},
): Promise<FileLock | undefined> {
  try {
    return await acquireFileLock(path, { ...options, wait: false });
  } catch (error) {
    if (error instanceof IngotError && error.code === 'TOOL_FAILED') return undefined;
    throw error;
  }
}

/** Files that one process can have open, with room to spare. */
const MOST_FILES = 256;

/**
 * Any number of locks, by one process for every few hundred: a process for each costs more than the lock is worth. All
 * are waited for, in the order of their names, so that others who want some of them too never wait in a circle.
 *
 * @throws IngotError as `acquireFileLock`
 */
export async function acquireFileLocks(
  paths: readonly string[],
  what: string,
  options: FileLockOptions = {},
): Promise<AsyncDisposable> {
  const sorted = [...new Set(paths)].sort();
  await using held = new AsyncDisposableStack();
  for (let first = 0; first < sorted.length; first += MOST_FILES) {
    held.use(await acquire(sorted.slice(first, first + MOST_FILES), what, options));
  }
  return held.move();
}

/** Each flock becomes the next, and the last one `cat`, which has all the files open. */
async function acquire(
  paths: readonly string[],
  what: string,
  options: FileLockOptions,
): Promise<AsyncDisposable> {
  for (const folder of new Set(paths.map((path) => dirname(path)))) await mkdir(folder, { recursive: true });
  const mode = options.shared === true ? '--shared' : '--exclusive';
  const waiting = options.wait === false ? ['--nonblock'] : [];
  const [first, ...others] = paths.flatMap((path) => ['flock', '--no-fork', ...waiting, mode, path]);
  if (first === undefined) throw new TypeError('no file to lock');
  return startHolder([first, ...others, 'cat'], {
    what: `the lock ${what}`,
    signal: options.signal,
    onWait: options.onWait,
  });
}
