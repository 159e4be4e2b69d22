/** The DISK argument of `test`: a file, and the tools root to boot it with. */
import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';

import { ensureToolsRoot } from '../build/tools-tree.ts';
import { IngotError } from '../errors.ts';
import { loadMirrors, type Mirrors } from '../packages/mirror.ts';
import { Lock } from '../resolve/lock.ts';
import type { Store } from '../store/store.ts';
import type { ToolsRoot } from '../tools/tools-root.ts';
import type { CommandContext } from './context.ts';
import { loadLock } from './load-lock.ts';

export interface PreparedDisk {
  /** Absolute. */
  readonly path: string;
  readonly toolsRoot: ToolsRoot;
}

/**
 * Whether an argument names a disk rather than an image: a file that is no declaration.
 *
 * @throws IngotError NOT_FOUND for a name like a disk's with no such file
 */
export async function isDisk({ cwd }: CommandContext, argument: string): Promise<boolean> {
  if (argument.startsWith('oci:') || /\.ya?ml$/.test(argument)) return false;
  const status = await stat(resolve(cwd, argument)).catch(() => undefined);
  if (status === undefined && /\.(raw|img|qcow2)$/.test(argument)) {
    throw new IngotError('NOT_FOUND', `there is no disk ${argument}`, { hint: '`ingot disk` makes one' });
  }
  return status?.isFile() === true;
}

/**
 * A disk does not say which lock it came from, and any tools can boot it: those of `lockFile`, or of the newest
 * lock that the store, which the caller holds in use, knows.
 *
 * @throws IngotError LOCK_MISSING when there is none, and what preparing the tools throws
 */
export async function prepareDisk(
  context: CommandContext,
  store: Store,
  disk: string,
  lockFile: string | undefined,
): Promise<PreparedDisk> {
  const { cwd, reporter, signal, env } = context;
  const lock = lockFile === undefined ? await newestLock(store) : await loadLock(resolve(cwd, lockFile));
  const mirrors = (): Promise<Mirrors> => loadMirrors(env, signal);
  return {
    path: resolve(cwd, disk),
    toolsRoot: await ensureToolsRoot({ lock, store, mirrors, reporter, signal }),
  };
}

async function newestLock(store: Store): Promise<Lock> {
  const folder = store.path('records', 'locks');
  const files = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.json'));
  const dated = await Promise.all(
    files.map(async (name) => ({
      key: name.slice(0, -'.json'.length),
      written: (await stat(resolve(folder, name))).mtimeMs,
    })),
  );
  dated.sort((one, other) => other.written - one.written);
  for (const { key } of dated) {
    const lock = Lock.safeParse(await store.readRecord('locks', key));
    if (lock.success) return lock.data;
  }
  throw new IngotError('LOCK_MISSING', 'no lock says which tools to boot the disk with', {
    hint: 'give a lock with --lock FILE, or build an image first',
  });
}
