/** The nearest changes that make a refused request fit. Each is judged before it is suggested. */
import { LAST_RESORT, type Change } from './change.ts';
import { changesFor, remedies } from './changes-for.ts';
import { findConflict, isRefused, onlyWith, type Conflict } from './conflict.ts';
import { poseProblem } from './problem.ts';
import { isSameKey, type Element, type FitContext, type FitRequest } from './request.ts';
import type { RuledJudgement } from './rule.ts';
import { search, type Outcome } from './search.ts';
import { newerDrivers } from './version-changes.ts';

export interface Suggestion {
  /** What to write, as in `driver: nvidia@580`; several things are joined by `and`. */
  readonly text: string;
  readonly request: FitRequest;
  readonly elements: readonly Element[];
}

const MAX_SUGGESTIONS = 4;
/** Changes that are tried against one conflict: a bound on the time that a hopeless request takes. */
const MAX_TRIALS = 60;
const MAX_STEPS = 8;

export function suggestChanges(
  request: FitRequest,
  conflicts: readonly Conflict[],
  context: FitContext,
): Suggestion[] {
  const single = conflicts.flatMap((conflict) => {
    // A conflict that a change does not touch is there still.
    const changes = changesFor(conflict, request, context).filter((change) =>
      conflicts.every((other) => other === conflict || mayMend(change, other)),
    );
    return accepted(changes, request, context).map((change) => ({ ...change, elements: conflict.elements }));
  });
  const texts = new Set<string>();
  const suggestions = single
    .sort((a, b) => a.cost - b.cost)
    .filter(({ text }) => !texts.has(text) && texts.add(text))
    .map((change): Suggestion => ({
      text: change.text,
      request: change.apply(request),
      elements: change.elements,
    }));
  // To leave things out is the last resort: several changes that keep them come before it.
  const keeps = single.some(({ cost }) => cost < LAST_RESORT);
  const combined = keeps ? undefined : combine(request, conflicts, context);
  return [...(combined === undefined ? [] : [combined]), ...suggestions].slice(0, MAX_SUGGESTIONS);
}

function mayMend({ elements }: Change, conflict: Conflict): boolean {
  return conflict.elements.some((one) =>
    elements.some(
      // Which artefact of a runtime is taken depends on the image's CUDA too.
      (other) => isSameKey(one, other) || (one.kind === 'runtime' && other.kind === 'cuda'),
    ),
  );
}

/** Of each kind of change the nearest of those that bring the fewest limits. */
function accepted(changes: readonly Change[], request: FitRequest, context: FitContext): Change[] {
  const best = new Map<string, { readonly change: Change; readonly limits: number }>();
  for (const change of changes.slice(0, MAX_TRIALS)) {
    const known = best.get(change.kind);
    if (known?.limits === 0) continue;
    const changed = change.apply(request);
    if (isRefused(changed, context)) continue;
    const limits = countLimits(search(poseProblem(changed, context)));
    if (known === undefined || limits < known.limits) best.set(change.kind, { change, limits });
  }
  return [...best.values()].map(({ change }) => change);
}

/** The nearest change against one conflict after the other, until nothing is refused. */
function combine(
  request: FitRequest,
  conflicts: readonly Conflict[],
  context: FitContext,
): Suggestion | undefined {
  let changed = request;
  const steps: Change[] = [];
  while (isRefused(changed, context)) {
    const conflict = findConflict(changed, context);
    const alone = onlyWith(changed, conflict.elements);
    // What was changed once stays: two conflicts that pull one thing both ways would go on for ever.
    const step = changesFor(conflict, changed, context).find(
      (change) =>
        !steps.some((one) => isAboutTheSame(one, change)) && !isRefused(change.apply(alone), context),
    );
    if (step === undefined || steps.length === MAX_STEPS) return undefined;
    steps.push(step);
    changed = step.apply(changed);
  }
  // What an earlier step was for, a later one may have made pointless.
  let kept = steps;
  for (const step of steps) {
    const others = kept.filter((one) => one !== step);
    if (!isRefused(applyAll(others, request), context)) kept = others;
  }
  if (kept.length < 2) return undefined;
  const elements = conflicts.flatMap((conflict) => conflict.elements);
  return { text: kept.map(({ text }) => text).join(' and '), request: applyAll(kept, request), elements };
}

function isAboutTheSame(one: Change, other: Change): boolean {
  return one.cost === other.cost && one.elements.some((a) => other.elements.some((b) => isSameKey(a, b)));
}

function applyAll(changes: readonly Change[], request: FitRequest): FitRequest {
  return changes.reduce((changed, { apply }) => apply(changed), request);
}

/** Changes after which a limit is gone, and no new one has come. */
export function liftLimit(
  judgement: RuledJudgement,
  request: FitRequest,
  before: Outcome,
  context: FitContext,
): Suggestion[] {
  const problem = poseProblem(request, context);
  const [newer] = newerDrivers(judgement, problem).filter((change) =>
    lifts(change, request, before, context),
  );
  const changes = [...remedies(judgement, problem), ...(newer === undefined ? [] : [newer])];
  return changes
    .filter((change) => lifts(change, request, before, context))
    .map((change) => ({ text: change.text, request: change.apply(request), elements: change.elements }));
}

function lifts(change: Change, request: FitRequest, before: Outcome, context: FitContext): boolean {
  const after = search(poseProblem(change.apply(request), context));
  return after.chosen !== undefined && countLimits(after) < countLimits(before);
}

function countLimits({ judgements }: Outcome): number {
  return judgements.filter(({ severity }) => severity === 'warn').length;
}
