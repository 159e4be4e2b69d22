/** Two programs joined by a pipe. */
import { PassThrough } from 'node:stream';

import { run, type Argv } from './run.ts';

/**
 * `producer | consumer`. Fails when either fails; the producer's failure wins, since a consumer that met a
 * truncated stream only shows the consequence.
 */
export async function runPiped(
  producer: Argv,
  consumer: Argv,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const pipe = new PassThrough();
  const [produced, consumed] = await Promise.allSettled([
    run(producer, { signal: options.signal, stdoutTo: pipe }).finally(() => pipe.end()),
    run(consumer, { signal: options.signal, stdin: pipe }),
  ]);
  if (produced.status === 'rejected') throw produced.reason;
  if (consumed.status === 'rejected') throw consumed.reason;
}
