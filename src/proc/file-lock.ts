/**
 * Locks between processes, by flock(2).
 *
 * Node.js has no flock. A `flock FILE cat` child holds the lock for as long as our end of its stdin is open: the
 * kernel closes that when we end, however we end, so a lock never outlives its owner and is never stale. `cat`
 * starts only once the lock is held, so its echo of one line is the grant.
 */
import { execa } from 'execa';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

import { IngotError } from '../errors.ts';
import { minimalEnvironment } from './run.ts';

export interface FileLock extends AsyncDisposable {
  readonly path: string;
}

export interface FileLockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when the lock is not free at once. */
  readonly onWait?: (() => void) | undefined;
}

const WAIT_NOTICE_MS = 300;

/** @throws IngotError INTERRUPTED when the signal fires while waiting; TOOL_MISSING without util-linux. */
export async function acquireFileLock(path: string, options: FileLockOptions = {}): Promise<FileLock> {
  if (options.signal?.aborted === true)
    throw new IngotError('INTERRUPTED', 'interrupted before taking a lock');
  await mkdir(dirname(path), { recursive: true });
  // Detached: a Ctrl-C on the terminal must not release the lock before our own cleanup has run.
  const holder = execa('flock', ['--exclusive', path, 'cat'], {
    env: minimalEnvironment(),
    extendEnv: false,
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: { stdout: false, stderr: true },
    reject: false,
    detached: true,
    cleanup: false,
  });
  // Writing to a holder that has gone is reported by its exit, below.
  holder.stdin.on('error', () => undefined);
  const release = async (): Promise<void> => {
    holder.stdin.end();
    await holder;
  };
  const notice = setTimeout(() => {
    options.onWait?.();
  }, WAIT_NOTICE_MS);
  const abort = (): void => {
    if (holder.pid !== undefined) process.kill(-holder.pid, 'SIGKILL');
  };
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const granted = new Promise<boolean>((resolve) => {
      holder.stdout.once('data', () => {
        resolve(true);
      });
      void holder.then(() => {
        resolve(false);
      });
    });
    holder.stdin.write('granted\n');
    if (!(await granted)) {
      const result = await holder;
      if (options.signal?.aborted)
        throw new IngotError('INTERRUPTED', 'interrupted while waiting for a lock');
      if (result.code === 'ENOENT')
        throw new IngotError('TOOL_MISSING', 'flock (util-linux) is not installed');
      throw new IngotError('TOOL_FAILED', `cannot lock ${path}`, { output: result.stderr });
    }
  } finally {
    clearTimeout(notice);
    options.signal?.removeEventListener('abort', abort);
  }
  return { path, [Symbol.asyncDispose]: release };
}
