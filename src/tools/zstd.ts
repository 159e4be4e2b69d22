/** zstd 1.5. Manual: zstd(1). Node's own zstd stream stops after the first frame of many. */
import type { Argv } from '../proc/run.ts';

/** Writes the plain content of a zstd or gzip file to stdout; a file that is neither passes unchanged. */
export function zstdDecompressArgv(file: string): Argv {
  return ['zstd', '--decompress', '--stdout', '--force', '--quiet', file];
}
