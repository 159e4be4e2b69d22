/** Two programs joined by a pipe. */
import { PassThrough } from 'node:stream';

import { run, type Argv } from './run.ts';

/**
 * `producer | consumer`. Fails when either fails, with the failure that came first: the other is its consequence.
 * A consumer that is content before the end of its input is not a failure; the rest is read and dropped.
 */
export async function runPiped(
  producer: Argv,
  consumer: Argv,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const pipe = new PassThrough();
  pipe.on('error', () => undefined); // both ends have it from their own listeners
  const failures: unknown[] = [];
  const producing = run(producer, { signal: options.signal, stdoutTo: pipe }).then(
    () => {
      pipe.end();
    },
    (error: unknown) => {
      failures.push(error);
      // Not an end: half a stream must not look like a whole one.
      pipe.destroy(asError(error));
    },
  );
  const consuming = run(consumer, { signal: options.signal, stdin: pipe }).then(
    () => {
      pipe.resume();
    },
    (error: unknown) => {
      failures.push(error);
      // A producer whose output nobody takes would wait for ever.
      pipe.destroy(asError(error));
    },
  );
  await Promise.all([producing, consuming]);
  if (failures.length > 0) throw failures[0];
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
