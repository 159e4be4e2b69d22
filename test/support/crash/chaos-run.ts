/** What a run of trials knows: written down after each, so that one that was ended goes on where it was. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';

import { writeFileAtomically } from '../../../src/store/store.ts';
import { seededRandom } from './crash-points.ts';
import type { RecordedMachine } from './record-machine.ts';
import { chooseMoments, type TrialOutcome } from './trials.ts';

export type Timing = Pick<RecordedMachine, 'beginnings' | 'end'>;

/** What decides which trials there are. */
export interface ChaosChoices {
  readonly seed: number;
  readonly trials: number;
  readonly points: number;
}

interface Written {
  readonly choices: ChaosChoices;
  readonly timing: Timing;
  /** The table of the crash points, which were all good. */
  readonly replay: string;
  /** By trial. */
  readonly outcomes: Readonly<Record<string, TrialOutcome>>;
}

export class ChaosRun {
  readonly moments: readonly number[];
  readonly replay: string;
  readonly #path: string;
  readonly #written: Written;
  readonly #outcomes: Map<number, TrialOutcome>;
  /** One after the other: trials that end together must not overtake each other. */
  readonly #writing = pLimit(1);

  private constructor(path: string, written: Written) {
    const { choices, timing, replay, outcomes } = written;
    this.#path = path;
    this.#written = written;
    this.replay = replay;
    this.moments = chooseMoments(timing, choices.trials, seededRandom(choices.seed));
    this.#outcomes = new Map(Object.entries(outcomes).map(([index, outcome]) => [Number(index), outcome]));
  }

  /** The run with these choices that was begun in the folder, if one was. */
  static async find(folder: string, choices: ChaosChoices): Promise<ChaosRun | undefined> {
    const path = join(folder, nameOf(choices));
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    });
    return text === undefined ? undefined : new ChaosRun(path, JSON.parse(text) as Written);
  }

  static async begin(
    folder: string,
    choices: ChaosChoices,
    timing: Timing,
    replay: string,
  ): Promise<ChaosRun> {
    const run = new ChaosRun(join(folder, nameOf(choices)), { choices, timing, replay, outcomes: {} });
    await run.#write();
    return run;
  }

  /** Of the trials so far. */
  get outcomes(): readonly TrialOutcome[] {
    return [...this.#outcomes.values()];
  }

  has(index: number): boolean {
    return this.#outcomes.has(index);
  }

  async add(index: number, outcome: TrialOutcome): Promise<void> {
    this.#outcomes.set(index, outcome);
    await this.#write();
  }

  async #write(): Promise<void> {
    await this.#writing(async () => {
      const outcomes = Object.fromEntries(this.#outcomes);
      await writeFileAtomically(this.#path, JSON.stringify({ ...this.#written, outcomes }));
    });
  }
}

function nameOf({ seed, trials, points }: ChaosChoices): string {
  return `run-${seed}-${trials}-${points}.json`;
}
