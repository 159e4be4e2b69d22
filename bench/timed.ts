import { run, type Argv } from '../src/proc/run.ts';
import type { BenchContext } from './benchmark.ts';
import { measure, type Measurement } from './measure.ts';

/** Measures a program after all that was written before is on the disk, and gives what it printed. */
export async function timed(
  { scratch, signal, reporter }: BenchContext,
  argv: Argv,
): Promise<{ readonly sample: Measurement; readonly stdout: string }> {
  await run(['sync', '--file-system', scratch], { signal });
  const { measurement, stdout } = await measure(argv, {
    scratch,
    signal,
    onLine: (line) => {
      reporter.debug(line);
    },
  });
  return { sample: measurement, stdout };
}
