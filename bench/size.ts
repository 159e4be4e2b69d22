/** What a result takes on the disk. */
import { run } from '../src/proc/run.ts';
import { duArgv, parseDu } from '../src/tools/du.ts';

/** Allocated bytes of a file, or of all below a directory. */
export async function sizeOf(path: string, signal: AbortSignal): Promise<number> {
  const { stdout } = await run(duArgv([path]), { signal });
  return parseDu(stdout).get(path) ?? 0;
}
