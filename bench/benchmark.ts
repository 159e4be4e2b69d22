/** What every benchmark receives, and what it gives back. */
import type { CommandContext } from '../src/cli/context.ts';
import type { Store } from '../src/store/store.ts';
import type { Row } from './result.ts';

export interface BenchContext extends CommandContext {
  /** Of the benchmarks' own: packages lie here between runs. Held in use. */
  readonly store: Store;
  /** An empty folder on the store's file system, removed at the end. */
  readonly scratch: string;
  /** How often each program runs. */
  readonly rounds: number;
  /** Cases whose name has these words are run; empty: all. A benchmark without such a choice runs all of its own. */
  readonly only: string;
}

export interface Benchmark {
  readonly summary: string;
  readonly run: (context: BenchContext) => Promise<readonly Row[]>;
}
