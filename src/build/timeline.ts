/** What a build did when, and which of it decided how long it took. */

export type Part = 'tree' | 'blobs';

export interface Work {
  readonly step: string;
  readonly part: Part;
  /** Milliseconds from any fixed point. */
  readonly start: number;
  readonly end: number;
  /** What it had to wait for, of this build or not: trees of these steps. */
  readonly after: readonly string[];
}

/** As `build --json` prints it. */
export interface PathPart {
  readonly step: string;
  readonly part: Part;
  readonly seconds: number;
}

export class Timeline {
  readonly #works: Work[] = [];

  /** Notes `work` when it has succeeded. */
  async measure<T>(about: Omit<Work, 'start' | 'end'>, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work();
    this.#works.push({ ...about, start, end: performance.now() });
    return result;
  }

  criticalPath(): readonly PathPart[] {
    return criticalPath(this.#works);
  }
}

/**
 * The chain that ended last, in order: each part began when the one before it, the last that it waited for, was there.
 * More cores make the build no shorter than these parts take; other ones share the cores with them.
 */
export function criticalPath(works: readonly Work[]): readonly PathPart[] {
  const trees = new Map(works.filter(({ part }) => part === 'tree').map((work) => [work.step, work]));
  const path: PathPart[] = [];
  for (let work = latest(works); work !== undefined;) {
    const { step, part, start, end, after } = work;
    path.unshift({ step, part, seconds: (end - start) / 1000 });
    work = latest(after.flatMap((name) => trees.get(name) ?? []));
  }
  return path;
}

function latest(works: readonly Work[]): Work | undefined {
  return works.reduce<Work | undefined>(
    (last, work) => (last === undefined || work.end > last.end ? work : last),
    undefined,
  );
}
