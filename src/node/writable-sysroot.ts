/**
 * The physical root, writable for us alone. A node mounts /sysroot read-only; in a mount namespace of our own it is
 * writable, and what is in a namespace is reached from outside of it through /proc. So nothing changes for anybody
 * else, and nothing is left behind however we end.
 */
import { MountNamespace } from '../proc/mount-namespace.ts';
import type { Argv, RunOptions, RunResult } from '../proc/run.ts';

export interface WritableSysroot extends AsyncDisposable {
  /** Absolute; hard links and renames work below it. */
  readonly path: string;
  /** Runs a program that sees it writable under its own name. */
  run(argv: Argv, options?: RunOptions): Promise<RunResult>;
}

/** @throws IngotError NOT_ROOT, INTERRUPTED, TOOL_FAILED */
export async function openWritableSysroot(sysroot: string, signal?: AbortSignal): Promise<WritableSysroot> {
  const namespace = await MountNamespace.open({ signal });
  try {
    await namespace.run(['mount', '-o', 'remount,bind,rw', sysroot], { signal });
  } catch (error) {
    await namespace[Symbol.asyncDispose]();
    throw error;
  }
  return {
    path: namespace.outsidePath(sysroot),
    run: (argv, options = {}) => namespace.run(argv, { signal, ...options }),
    [Symbol.asyncDispose]: () => namespace[Symbol.asyncDispose](),
  };
}
