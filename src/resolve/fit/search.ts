/**
 * The search: candidates in the order of preference, and the first that no rule refuses.
 *
 * A driver is chosen first. For it, kernel, CUDA and runtimes are the newest that work without a limit, then the
 * newest that work with one. Nothing depends on the order in which offers or facts are listed.
 */
import type { Problem } from './problem.ts';
import type {
  Candidate,
  CudaCandidate,
  DriverCandidate,
  KernelCandidate,
  RuledJudgement,
  RuntimeCandidate,
  Stage,
} from './rule.ts';
import { judge, type Without } from './rules.ts';

export interface Chosen {
  readonly driver?: DriverCandidate;
  readonly kernel?: KernelCandidate;
  readonly cuda?: CudaCandidate;
  readonly runtimes: readonly RuntimeCandidate[];
}

export interface Outcome {
  /** Undefined when every candidate is refused. */
  readonly chosen: Chosen | undefined;
  /** Of the choice: limits and notes. Without one: the refusals, which gaps of the problem are not part of. */
  readonly judgements: readonly RuledJudgement[];
}

const NOTHING: Without = new Set();

export function search(problem: Problem, without: Without = NOTHING): Outcome {
  return new Search(problem, without, 'fewest').run();
}

/** Whether some candidate is not refused: quicker than to choose the best one. */
export function accepts(problem: Problem): boolean {
  return problem.gaps.length === 0 && new Search(problem, NOTHING, 'any').run().chosen !== undefined;
}

/** How bad the worst judgement is. */
const RANK = { note: 0, warn: 1, refuse: 2 } as const;

interface JudgedCuda {
  readonly candidate: CudaCandidate;
  readonly judgements: readonly RuledJudgement[];
}

type Software = Pick<Chosen, 'cuda' | 'runtimes'>;

/** One part of a choice: refused when there were candidates and none is left. */
interface Part<T> {
  readonly value: T | undefined;
  readonly refused: boolean;
  readonly rank: number;
  readonly judgements: readonly RuledJudgement[];
}

class Search {
  readonly #problem: Problem;
  readonly #without: Without;
  /** The rank that no better one is looked for. */
  readonly #enough: number;
  readonly #refusals: RuledJudgement[] = [];
  /** What a runtime is worth on a CUDA, whatever the driver. */
  readonly #runtimes = new Map<CudaCandidate | undefined, Map<RuntimeCandidate, readonly RuledJudgement[]>>();

  /** @param limits `fewest` looks on for a choice without a limit, `any` is content with the first there is */
  constructor(problem: Problem, without: Without, limits: 'fewest' | 'any') {
    this.#problem = problem;
    this.#without = without;
    this.#enough = limits === 'fewest' ? RANK.note : RANK.warn;
  }

  run(): Outcome {
    const { drivers = [undefined], kernels, gaps } = this.#problem;
    const host = this.#judge('host', {});
    this.#refuse(host);
    // What no driver can mend is found before any is looked at.
    const cudas = this.#cudas();
    const runtimes = this.#problem.runtimes.map((candidates) => this.#survivors(candidates, cudas));
    if (this.#refusals.length > 0 || gaps.length > 0) return this.#outcome();

    const software = new Map<string, Part<Software>>();
    for (const driver of drivers) {
      const base: Candidate = driver === undefined ? {} : { driver };
      const own = driver === undefined ? [] : this.#judge('driver', base);
      if (this.#refuse(own)) continue;
      const kernel = this.#best(
        kernels,
        (one) => this.#judge('kernel', { ...base, kernel: one }),
        rankOfKernel,
      );
      if (kernel.refused) continue;
      // Flavours of one release differ in nothing that CUDA and runtimes see.
      const key = `${driver?.vendor ?? ''} ${driver?.version ?? ''} ${driver?.offer?.layer ?? ''}`;
      const rest = software.get(key) ?? this.#software(base, cudas, runtimes);
      software.set(key, rest);
      if (rest.value === undefined) continue;
      const chosen: Chosen = { ...base, ...defined('kernel', kernel.value), ...rest.value };
      const whole = this.#judge('whole', chosen);
      return { chosen, judgements: [...host, ...own, ...kernel.judgements, ...rest.judgements, ...whole] };
    }
    return this.#outcome();
  }

  #outcome(): Outcome {
    return { chosen: undefined, judgements: this.#refusals };
  }

  #judge(stage: Stage, candidate: Candidate): readonly RuledJudgement[] {
    return judge(stage, candidate, this.#problem, this.#without, this.#enough > RANK.note);
  }

  /** Keeps the refusals among the judgements. True when there are any. */
  #refuse(judgements: readonly RuledJudgement[]): boolean {
    const refusals = judgements.filter(({ severity }) => severity === 'refuse');
    this.#refusals.push(...refusals);
    return refusals.length > 0;
  }

  /** Undefined stands for an image without CUDA. */
  #cudas(): readonly (JudgedCuda | undefined)[] {
    const { cudas } = this.#problem;
    if (cudas === undefined) return [undefined];
    const judged = cudas.map((cuda) => ({ candidate: cuda, judgements: this.#judge('cuda', { cuda }) }));
    const alive = judged.filter(({ judgements }) => rankOf(judgements) < RANK.refuse);
    if (alive.length === 0) for (const { judgements } of judged) this.#refuse(judgements);
    return alive;
  }

  #survivors(
    candidates: readonly RuntimeCandidate[],
    cudas: readonly (JudgedCuda | undefined)[],
  ): readonly RuntimeCandidate[] {
    const alive = candidates.filter((runtime) =>
      cudas.some((cuda) => rankOf(this.#runtime(runtime, cuda?.candidate)) < RANK.refuse),
    );
    if (alive.length === 0) {
      for (const runtime of candidates) this.#refuse(this.#runtime(runtime, cudas[0]?.candidate));
    }
    return alive;
  }

  #runtime(runtime: RuntimeCandidate, cuda: CudaCandidate | undefined): readonly RuledJudgement[] {
    const ofCuda = this.#runtimes.get(cuda) ?? new Map<RuntimeCandidate, readonly RuledJudgement[]>();
    this.#runtimes.set(cuda, ofCuda);
    const known = ofCuda.get(runtime);
    if (known !== undefined) return known;
    const judgements = this.#judge('runtime', withCuda({ runtime }, cuda));
    ofCuda.set(runtime, judgements);
    return judgements;
  }

  #software(
    base: Candidate,
    cudas: readonly (JudgedCuda | undefined)[],
    runtimes: readonly (readonly RuntimeCandidate[])[],
  ): Part<Software> {
    let found: Part<Software> | undefined;
    for (const cuda of cudas) {
      const candidate = withCuda(base, cuda?.candidate);
      const own = cuda === undefined ? [] : [...cuda.judgements, ...this.#judge('driver-cuda', candidate)];
      if (this.#refuse(own)) continue;
      const parts = runtimes.map((releases) =>
        this.#best(releases, (runtime) => {
          const before = this.#runtime(runtime, cuda?.candidate);
          if (rankOf(before) === RANK.refuse) return before;
          return [...before, ...this.#judge('driver-runtime', { ...candidate, runtime })];
        }),
      );
      if (parts.some(({ refused }) => refused)) continue;
      const rank = Math.max(rankOf(own), ...parts.map((part) => part.rank));
      if (found !== undefined && found.rank <= rank) continue;
      const chosen = parts.flatMap(({ value }) => (value === undefined ? [] : [value]));
      found = {
        value: { ...defined('cuda', cuda?.candidate), runtimes: chosen },
        refused: false,
        rank,
        judgements: [...own, ...parts.flatMap(({ judgements }) => judgements)],
      };
      if (rank <= this.#enough) break;
    }
    return found ?? { value: undefined, refused: true, rank: RANK.refuse, judgements: [] };
  }

  /** The first of those with the fewest limits. When there is none, their refusals are kept. */
  #best<T>(
    candidates: readonly T[],
    judged: (candidate: T) => readonly RuledJudgement[],
    rankOfOne: (judgements: readonly RuledJudgement[], candidate: T) => number = rankOf,
  ): Part<T> {
    let found: Part<T> | undefined;
    const refused: (readonly RuledJudgement[])[] = [];
    for (const value of candidates) {
      const judgements = judged(value);
      const rank = rankOfOne(judgements, value);
      if (rank === RANK.refuse) refused.push(judgements);
      else if (found === undefined || rank < found.rank) found = { value, refused: false, rank, judgements };
      if (rank <= this.#enough) break;
    }
    if (found !== undefined) return found;
    for (const judgements of refused) this.#refuse(judgements);
    return { value: undefined, refused: candidates.length > 0, rank: RANK.note, judgements: [] };
  }
}

function withCuda(candidate: Candidate, cuda: CudaCandidate | undefined): Candidate {
  return cuda === undefined ? candidate : { ...candidate, cuda };
}

function defined<Key extends string, Value>(key: Key, value: Value | undefined): Partial<Record<Key, Value>> {
  return value === undefined ? {} : ({ [key]: value } as Record<Key, Value>);
}

/**
 * A patch that Ingot has is no reason to go back to an older kernel, which lacks what was mended since. Neither is any
 * limit a reason to leave the kernel of the lock.
 */
function rankOfKernel(judgements: readonly RuledJudgement[], { isLocked }: KernelCandidate): number {
  const limits = judgements.filter(({ remedy }) => remedy === undefined || !('patch' in remedy));
  const rank = rankOf(limits);
  return isLocked === true && rank < RANK.refuse ? RANK.note : rank;
}

function rankOf(judgements: readonly RuledJudgement[]): number {
  let worst = 0;
  for (const { severity } of judgements) worst = Math.max(worst, RANK[severity]);
  return worst;
}
