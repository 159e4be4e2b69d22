/**
 * Locks between processes, by flock(2).
 *
 * Node.js has no flock. A `flock FILE cat` holder (holder.ts) keeps the lock, so a lock never outlives its owner,
 * however that ends, and is never stale.
 */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

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
  await mkdir(dirname(path), { recursive: true });
  const mode = options.shared === true ? '--shared' : '--exclusive';
  const waiting = options.wait === false ? ['--nonblock'] : [];
  const holder = await startHolder(['flock', ...waiting, mode, path, 'cat'], {
    what: `the lock ${path}`,
    signal: options.signal,
    onWait: options.onWait,
  });
  return { path, [Symbol.asyncDispose]: () => holder[Symbol.asyncDispose]() };
}
