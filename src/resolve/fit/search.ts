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
  /** Of the choice: limits and notes. Without one: the refusals of the candidates that came farthest. */
  readonly judgements: readonly RuledJudgement[];
}

const NOTHING: Without = new Set();

/** How bad the worst judgement is. */
const RANK = { note: 0, warn: 1, refuse: 2 } as const;

export function search(problem: Problem, without: Without = NOTHING): Outcome {
  const refusals: RuledJudgement[] = [];
  const host = judge('host', {}, problem, without);
  refusals.push(...refusalsOf(host));
  // What no driver can mend is found before any is looked at.
  const cudas =
    problem.cudas === undefined ? [undefined] : survivors(problem.cudas, problem, without, refusals);
  const runtimes = problem.runtimes.map((candidates, index) => {
    const alive = candidates.filter((runtime) =>
      cudas.some(
        (cuda) =>
          !isRefused(judge('runtime', withCuda({ runtime }, cuda?.candidate), problem, without, false)),
      ),
    );
    if (alive.length === 0)
      refusals.push(...firstRuntimeRefusals(problem, index, cudas[0]?.candidate, without));
    return alive;
  });
  const stuck = cudas.length === 0 || runtimes.some((alive) => alive.length === 0);
  if (refusals.length > 0 || stuck || problem.gaps.length > 0)
    return { chosen: undefined, judgements: refusals };

  const software = new Map<string, Part<Software>>();
  const drivers: readonly (DriverCandidate | undefined)[] = problem.drivers ?? [undefined];
  for (const driver of drivers) {
    const base: Candidate = driver === undefined ? {} : { driver };
    const own = driver === undefined ? [] : judge('driver', base, problem, without);
    if (isRefused(own)) {
      refusals.push(...refusalsOf(own));
      continue;
    }
    const kernel = best(problem.kernels, (one) =>
      judge('kernel', { ...base, kernel: one }, problem, without),
    );
    if (kernel.refused) {
      refusals.push(...kernel.judgements);
      continue;
    }
    // Flavours of one release differ in nothing that CUDA and runtimes see.
    const key = driver?.version ?? '';
    const rest = software.get(key) ?? chooseSoftware(base, cudas, runtimes, problem, without);
    software.set(key, rest);
    if (rest.refused || rest.value === undefined) {
      refusals.push(...rest.judgements);
      continue;
    }
    const chosen: Chosen = { ...base, ...defined('kernel', kernel.value), ...rest.value };
    const whole = judge('whole', chosen, problem, without);
    return { chosen, judgements: [...host, ...own, ...kernel.judgements, ...rest.judgements, ...whole] };
  }
  return { chosen: undefined, judgements: refusals };
}

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

function survivors(
  candidates: readonly CudaCandidate[],
  problem: Problem,
  without: Without,
  refusals: RuledJudgement[],
): JudgedCuda[] {
  const judged = candidates.map((candidate) => ({
    candidate,
    judgements: judge('cuda', { cuda: candidate }, problem, without),
  }));
  const alive = judged.filter(({ judgements }) => !isRefused(judgements));
  if (alive.length === 0) refusals.push(...judged.flatMap(({ judgements }) => refusalsOf(judgements)));
  return alive;
}

function firstRuntimeRefusals(
  problem: Problem,
  index: number,
  cuda: CudaCandidate | undefined,
  without: Without,
): RuledJudgement[] {
  return (problem.runtimes[index] ?? []).flatMap((runtime) =>
    refusalsOf(judge('runtime', withCuda({ runtime }, cuda), problem, without)),
  );
}

function chooseSoftware(
  base: Candidate,
  cudas: readonly (JudgedCuda | undefined)[],
  runtimes: readonly (readonly RuntimeCandidate[])[],
  problem: Problem,
  without: Without,
): Part<Software> {
  let found: Part<Software> | undefined;
  const refusals: RuledJudgement[] = [];
  for (const cuda of cudas) {
    const candidate = withCuda(base, cuda?.candidate);
    const own = [
      ...(cuda?.judgements ?? []),
      ...(cuda === undefined ? [] : judge('driver-cuda', candidate, problem, without)),
    ];
    if (isRefused(own)) {
      refusals.push(...refusalsOf(own));
      continue;
    }
    const parts = runtimes.map((releases) =>
      best(releases, (runtime) => {
        const whole = { ...candidate, runtime };
        return [
          ...judge('runtime', whole, problem, without),
          ...judge('driver-runtime', whole, problem, without),
        ];
      }),
    );
    const broken = parts.filter(({ refused }) => refused);
    if (broken.length > 0) {
      refusals.push(...broken.flatMap(({ judgements }) => judgements));
      continue;
    }
    const rank = Math.max(rankOf(own), ...parts.map((part) => part.rank));
    if (found !== undefined && found.rank <= rank) continue;
    const chosen = parts.flatMap(({ value }) => (value === undefined ? [] : [value]));
    found = {
      value: { ...defined('cuda', cuda?.candidate), runtimes: chosen },
      refused: false,
      rank,
      judgements: [...own, ...parts.flatMap(({ judgements }) => judgements)],
    };
    if (rank === 0) break;
  }
  return found ?? { value: undefined, refused: true, rank: RANK.refuse, judgements: refusals };
}

/** The first of those with the fewest troubles. */
function best<T>(candidates: readonly T[], judged: (candidate: T) => readonly RuledJudgement[]): Part<T> {
  let found: Part<T> | undefined;
  const refusals: RuledJudgement[] = [];
  for (const value of candidates) {
    const judgements = judged(value);
    const rank = rankOf(judgements);
    if (rank === RANK.refuse) refusals.push(...refusalsOf(judgements));
    else if (found === undefined || rank < found.rank) found = { value, refused: false, rank, judgements };
    if (rank === 0) break;
  }
  if (found !== undefined) return found;
  return { value: undefined, refused: candidates.length > 0, rank: 0, judgements: refusals };
}

function withCuda(candidate: Candidate, cuda: CudaCandidate | undefined): Candidate {
  return cuda === undefined ? candidate : { ...candidate, cuda };
}

function defined<Key extends string, Value>(key: Key, value: Value | undefined): Partial<Record<Key, Value>> {
  return value === undefined ? {} : ({ [key]: value } as Record<Key, Value>);
}

function rankOf(judgements: readonly RuledJudgement[]): number {
  return judgements.reduce((worst, { severity }) => Math.max(worst, RANK[severity]), 0);
}

export function isRefused(judgements: readonly RuledJudgement[]): boolean {
  return judgements.some(({ severity }) => severity === 'refuse');
}

function refusalsOf(judgements: readonly RuledJudgement[]): RuledJudgement[] {
  return judgements.filter(({ severity }) => severity === 'refuse');
}
