/**
 * Processes that exist only to hold a kernel object (a lock, a namespace) for as long as we live.
 *
 * The holder runs `cat` with our pipe as its stdin. The kernel closes our end of the pipe when we end, however we
 * end, so `cat` and with it the object never outlive their owner. `cat` starts only once the object is held, so
 * its echo of one line says that it is.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

import { errnoOf, IngotError } from '../errors.ts';
import { killGroup } from './children.ts';
import { toolMissing } from './find-program.ts';
import { minimalEnvironment, type Argv } from './run.ts';

export interface Holder extends AsyncDisposable {
  /** The process that the given argument vector became. */
  readonly pid: number;
}

export interface HolderOptions {
  readonly signal?: AbortSignal | undefined;
  /** What is to be held, for messages: "a lock". */
  readonly what: string;
  /** Called once when the object is not held within `WAIT_NOTICE_MS`. */
  readonly onWait?: (() => void) | undefined;
}

const WAIT_NOTICE_MS = 300;

/**
 * Starts `argv`, which must end by running `cat`, and waits until that runs.
 *
 * @throws IngotError INTERRUPTED when the signal fires first, TOOL_MISSING, or TOOL_FAILED with the holder's own
 *   words when it could not get the object.
 */
export async function startHolder(argv: Argv, options: HolderOptions): Promise<Holder> {
  const interrupted = (): void => {
    if (options.signal?.aborted !== true) return;
    throw new IngotError('INTERRUPTED', `interrupted while waiting for ${options.what}`);
  };
  interrupted();
  const [program, ...args] = argv;
  // Detached: a Ctrl-C on the terminal must not end the holder before our own cleanup has run.
  const holder = spawn(program, args, { env: minimalEnvironment(), detached: true });
  const ended = new Promise<Error | undefined>((resolve) => {
    holder.once('error', resolve).once('close', () => {
      resolve(undefined);
    });
  });
  const said = text(holder.stderr).catch(() => ''); // it never started
  // Writing to a holder that has gone is reported by its exit, below.
  holder.stdin.on('error', () => undefined);
  const notice = setTimeout(() => {
    options.onWait?.();
  }, WAIT_NOTICE_MS);
  const abort = (): void => {
    if (holder.pid !== undefined) killGroup(holder.pid, 'SIGKILL');
  };
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const held = new Promise<boolean>((resolve) => {
      holder.stdout.once('data', () => {
        resolve(true);
      });
      void ended.then(() => {
        resolve(false);
      });
    });
    holder.stdin.write('held\n');
    if (!(await held) || holder.pid === undefined) {
      const fault = await ended;
      interrupted();
      if (errnoOf(fault) === 'ENOENT') throw toolMissing(program);
      throw new IngotError('TOOL_FAILED', `cannot get ${options.what}: ${program} failed`, {
        output: (await said).trimEnd(),
      });
    }
  } finally {
    clearTimeout(notice);
    options.signal?.removeEventListener('abort', abort);
  }
  return {
    pid: holder.pid,
    [Symbol.asyncDispose]: async () => {
      holder.stdin.end();
      await ended;
    },
  };
}
