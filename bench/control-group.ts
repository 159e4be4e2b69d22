/**
 * A control group (Documentation/admin-guide/cgroup-v2.rst) for one program and everything that it starts.
 *
 * It lies in a hierarchy that we mount ourselves, where only we see it: machines that still use version 1, and
 * containers, have no mount of it that can be written. No controller is needed: processor time is always counted.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { errnoOf } from '../src/errors.ts';
import { MountNamespace } from '../src/proc/mount-namespace.ts';

/** A killed process takes a moment to go. */
const LEAVE_MS = 5_000;

export class ControlGroup implements AsyncDisposable {
  readonly #namespace: MountNamespace;
  /** Its folder, on any process's root. Writing 0 to `cgroup.procs` in it moves the writer there. */
  readonly folder: string;

  private constructor(namespace: MountNamespace, folder: string) {
    this.#namespace = namespace;
    this.folder = folder;
  }

  /**
   * @param mountPoint an empty folder
   * @throws IngotError as `MountNamespace.open` does
   */
  static async open(mountPoint: string, signal: AbortSignal | undefined): Promise<ControlGroup> {
    await using cleanup = new AsyncDisposableStack();
    const namespace = cleanup.use(await MountNamespace.open({ signal }));
    await namespace.run(['mount', '-t', 'cgroup2', 'none', mountPoint], { signal });
    const folder = join(namespace.outsidePath(mountPoint), `ingot-bench-${randomUUID()}`);
    await mkdir(folder);
    cleanup.move();
    return new ControlGroup(namespace, folder);
  }

  /** Seconds of processor time, user and system, of all that ran in it. */
  async processorSeconds(): Promise<number> {
    return parseProcessorSeconds(await readFile(join(this.folder, 'cpu.stat'), 'utf8'));
  }

  /** Those that run in it now. Synchronous, for samples of one moment. */
  processes(): number[] {
    return readFileSync(join(this.folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const deadline = performance.now() + LEAVE_MS;
    for (;;) {
      try {
        await rmdir(this.folder);
        break;
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY' || performance.now() > deadline) throw error;
        await sleep(20);
      }
    }
    await this.#namespace[Symbol.asyncDispose]();
  }
}

/** @throws SyntaxError when the text is no `cpu.stat` */
export function parseProcessorSeconds(text: string): number {
  const microseconds = /^usage_usec (\d+)$/m.exec(text)?.[1];
  if (microseconds === undefined) throw new SyntaxError(`cpu.stat is unreadable: ${JSON.stringify(text)}`);
  return Number(microseconds) / 1e6;
}
