/**
 * The answer to a request: whether it fits, what was chosen, and what there is to say about it. Pure and
 * deterministic: the same request, facts and offers, listed in any order, give the same answer.
 */
import type { Row } from '../../catalog/facts/types.ts';
import { findConflicts, isSame, type Conflict } from './conflict.ts';
import { poseProblem, type Problem } from './problem.ts';
import {
  isSameKey,
  pathOf,
  type Element,
  type FitContext,
  type FitRequest,
  type MigAsk,
  type SubjectPath,
} from './request.ts';
import type { Rule, RuledJudgement } from './rule.ts';
import { search, type Chosen } from './search.ts';
import { liftLimit, suggestChanges, type Suggestion } from './suggest.ts';

export type Verdict = 'ok' | 'warning' | 'refused';

export interface FitFinding {
  readonly severity: 'error' | 'warning';
  /** Id of the rule; `unknown` and `offered` for names and versions that there are not. */
  readonly rule: string;
  /** What always holds, in one line. */
  readonly statement: string;
  readonly message: string;
  /** The facts that say so. */
  readonly rows: readonly Row[];
  /** Where the declaration asks for it. */
  readonly path: SubjectPath;
  /** Everything that cannot be together, as it was asked for. */
  readonly elements: readonly Element[];
  readonly suggestions: readonly Suggestion[];
}

export interface Fit {
  readonly verdict: Verdict;
  readonly request: FitRequest;
  readonly chosen?: Chosen;
  readonly findings: readonly FitFinding[];
  /** What is worth knowing about the choice. */
  readonly notes: readonly RuledJudgement[];
}

export function judgeFit(request: FitRequest, context: FitContext): Fit {
  const problem = poseProblem(request, context);
  const outcome = search(problem);
  if (outcome.chosen === undefined) {
    // A context of this solve's own: what is remembered of it goes with it.
    const findings = refusal(request, { ...context });
    return { verdict: 'refused', request, findings, notes: [] };
  }
  const limits = distinct(outcome.judgements.filter(({ severity }) => severity === 'warn'));
  const findings = limits.map((judgement): FitFinding => ({
    severity: 'warning',
    rule: judgement.rule.id,
    statement: judgement.rule.statement,
    message: judgement.message,
    rows: judgement.rows,
    path: placeOf(judgement.about, problem),
    elements: judgement.about,
    suggestions: liftLimit(judgement, request, outcome, context),
  }));
  return {
    verdict: findings.length > 0 ? 'warning' : 'ok',
    request,
    chosen: outcome.chosen,
    findings,
    notes: distinct(outcome.judgements.filter(({ severity }) => severity === 'note')),
  };
}

function refusal(request: FitRequest, context: FitContext): FitFinding[] {
  const conflicts = findConflicts(request, context);
  const suggestions = suggestChanges(request, conflicts, context);
  const problem = poseProblem(request, context);
  return mostTelling(distinctCauses(conflicts), request).map((conflict): FitFinding => {
    const { elements, judgements, gap } = conflict;
    const rule: Pick<Rule, 'id' | 'statement'> = judgements[0]?.rule ?? GAPS[gap?.rule ?? 'unknown'];
    return {
      severity: 'error',
      rule: rule.id,
      statement: rule.statement,
      message: messageOf(conflict, problem),
      rows: [...new Set(judgements.flatMap(({ rows }) => rows))],
      path: placeOf(judgements[0]?.about ?? elements, problem),
      elements,
      suggestions: suggestions.filter((one) => touches(one.elements, elements)),
    };
  });
}

/**
 * What refuses by itself, whatever is asked for with it, is found once with each thing that was asked for: that it is
 * so is said once.
 */
function distinctCauses(conflicts: readonly Conflict[]): readonly Conflict[] {
  const told = new Set<string>();
  return conflicts.filter(({ judgements }) => {
    const [only, ...others] = judgements;
    if (only?.rule.id !== 'one-version' || others.length > 0) return true;
    if (told.has(only.message)) return false;
    told.add(only.message);
    return true;
  });
}

/**
 * What cannot be together comes before what is only lacking: to add that would not help. And what something brings
 * along is refused with it: that is not said again where the thing itself is.
 */
function mostTelling(conflicts: readonly Conflict[], request: FitRequest): readonly Conflict[] {
  const isBrought = (element: Element): boolean =>
    element.kind === 'addon' && request.brought?.includes(request.addons[element.index] ?? '') === true;
  const bringers = conflicts.filter(
    ({ elements }) =>
      elements.some(({ kind }) => kind === 'runtime' || kind === 'addon') && !elements.some(isBrought),
  );
  const told = conflicts.filter(
    ({ elements }) =>
      !elements.some(isBrought) ||
      !bringers.some((other) => other.elements.some((one) => one.kind === 'gpu' && has(elements, one))),
  );
  const isLack = ({ judgements }: Conflict): boolean =>
    judgements.length > 0 &&
    judgements.every(({ remedy }) => remedy !== undefined && 'addons' in remedy && remedy.addons.length > 0);
  return [...told.filter((one) => !isLack(one)), ...told.filter(isLack)];
}

function has(elements: readonly Element[], wanted: Element): boolean {
  return elements.some((one) => isSame(one, wanted));
}

const GAPS = {
  unknown: { id: 'unknown', statement: 'A name or version must be one that the facts know.' },
  offered: { id: 'offered', statement: 'A version must be one that a configured source offers.' },
} as const;

function messageOf({ elements, judgements, gap }: Conflict, { request }: Problem): string {
  if (gap !== undefined) {
    const near = gap.near.length === 0 ? '' : ` (nearest: ${gap.near.join(', ')})`;
    return `${gap.message}${near}`;
  }
  const things = elements.map((element) => describeElement(element, request));
  const why = judgements.map(({ message }) => message).join('; ');
  if (things.length < 2) return why;
  return `${things.slice(0, -1).join(', ')} and ${things.at(-1) ?? ''} cannot be together: ${why}`;
}

/** As the declaration says it. */
export function describeElement(element: Element, request: FitRequest): string {
  switch (element.kind) {
    case 'gpu':
      return request.gpus[element.index] ?? 'a GPU';
    case 'runtime': {
      const { use = 'a runtime', version } = request.runtimes[element.index] ?? {};
      return version === undefined ? use : `${use}@${version}`;
    }
    case 'addon':
      return `the addon ${request.addons[element.index] ?? ''}`;
    case 'mig':
      return migWords(request.mig[element.index]);
    case 'architecture':
      return request.architecture ?? 'the architecture';
    case 'kernel':
      return ['kernel', request.kernel?.flavour, request.kernel?.version]
        .filter((part) => part !== undefined)
        .join(' ');
    case 'driver':
      return `driver ${request.driver?.use ?? 'auto'}`;
    case 'driver-version':
      return `driver ${request.driver?.version ?? 'auto'}`;
    case 'modules':
      return `${request.driver?.modules ?? 'auto'} kernel modules`;
    case 'cuda':
      return request.cuda?.version === undefined ? 'CUDA' : `CUDA ${request.cuda.version}`;
  }
}

/** `2 × 1g.10gb`. */
function migWords(ask: MigAsk | undefined): string {
  return ask === undefined ? 'MIG' : `${ask.count} × ${ask.profile}`;
}

/** The first thing that was really asked for. */
function placeOf(about: readonly Element[], { request }: Problem): SubjectPath {
  const said = about.find((element) => {
    switch (element.kind) {
      case 'cuda':
        return request.cuda !== undefined;
      case 'driver':
      case 'driver-version':
      case 'modules':
        return request.driver !== undefined;
      case 'gpu':
      case 'runtime':
      case 'addon':
      case 'mig':
      case 'architecture':
      case 'kernel':
        return true;
    }
  });
  return said === undefined ? ['driver'] : pathOf(said);
}

function touches(some: readonly Element[], others: readonly Element[]): boolean {
  return some.some((one) => others.some((other) => isSameKey(one, other)));
}

/** Several products of one family may give the same judgement over and over. */
function distinct(judgements: readonly RuledJudgement[]): RuledJudgement[] {
  const seen = new Set<string>();
  return judgements.filter(({ rule, about, message }) => {
    const family = about.some(({ kind }) => kind === 'gpu') ? JSON.stringify(about) : message;
    const key = `${rule.id} ${family}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
