/**
 * Why a request is refused: sets of things that cannot be together, each as small as it can be. Taking any one
 * thing out of a set leaves things that do fit.
 *
 * A set is found by deletion: one after the other is relaxed, and stays relaxed when the rest is still refused.
 */
import { withMig } from './change.ts';
import type { Gap } from './found.ts';
import { poseProblem } from './problem.ts';
import type { Element, FitContext, FitRequest } from './request.ts';
import { refuse, type RuledJudgement } from './rule.ts';
import { RULES } from './rules.ts';
import { accepts, search, type Outcome } from './search.ts';

export interface Conflict {
  readonly elements: readonly Element[];
  /** One judgement for each rule that the refusal hangs on. Empty for a gap. */
  readonly judgements: readonly RuledJudgement[];
  /** A name or version that there is not. */
  readonly gap?: Gap;
}

/** A declaration with more than this is mended step by step. */
const MAX_CONFLICTS = 6;

/** Empty when the request is not refused. */
export function findConflicts(request: FitRequest, context: FitContext): Conflict[] {
  const { gaps } = poseProblem(request, context);
  const conflicts: Conflict[] = gaps.map((gap) => ({ elements: gap.about, judgements: [], gap }));
  const known = gaps.reduce((left, { about }) => relax(left, about), request);
  const passedOver = findPassedOver(known, context);
  if (passedOver !== undefined) return [...conflicts, passedOver];
  // With what they share gone, conflicts of one thing with several others would hide each other.
  for (const shared of ['last', 'first'] as const) {
    let rest: FitRequest | undefined = known;
    while (rest !== undefined && conflicts.length < MAX_CONFLICTS && isRefused(rest, context)) {
      const conflict = findConflict(rest, context);
      if (!conflicts.some(({ elements }) => isSameSet(elements, conflict.elements))) conflicts.push(conflict);
      rest = withoutConflict(rest, conflict, shared);
    }
  }
  return conflicts;
}

/**
 * What a choice among the drivers that are still mended alone is refused for, when an older one would do. Its own
 * conflicts would tell what is wrong with drivers that nobody needs.
 */
function findPassedOver(request: FitRequest, context: FitContext): Conflict | undefined {
  const { driver } = request;
  if (driver === undefined || driver.version !== undefined || driver.endOfLife === true) return undefined;
  if (!isRefused(request, context)) return undefined;
  const { chosen } = search(poseProblem({ ...request, driver: { ...driver, endOfLife: true } }, context));
  const { version, branch } = chosen?.driver ?? {};
  const rule = RULES.find(({ id }) => id === 'driver-end-of-life');
  if (version === undefined || branch === undefined || rule === undefined) return undefined;
  const elements = minimalConflict(request, context);
  const message = `${version} would fit, and is taken only when asked for: R${branch.branch} is past its end of life`;
  return { elements, judgements: [{ ...refuse(message, [branch], [{ kind: 'driver' }]), rule }] };
}

/** One of a refused request's conflicts. */
export function findConflict(request: FitRequest, context: FitContext): Conflict {
  const { gaps } = poseProblem(request, context);
  const [gap] = gaps;
  if (gap !== undefined) return { elements: gap.about, judgements: [], gap };
  const elements = minimalConflict(request, context);
  return { elements, judgements: decisiveJudgements(onlyWith(request, elements), elements, context) };
}

/** The request with nothing else in it. */
export function onlyWith(request: FitRequest, elements: readonly Element[]): FitRequest {
  const others = elementsOf(request).filter((one) => !elements.some((element) => isSame(one, element)));
  return relax(request, others);
}

function isSameSet(some: readonly Element[], others: readonly Element[]): boolean {
  return some.length === others.length && some.every((one) => others.some((other) => isSame(one, other)));
}

/** What a solve has found out already: it meets the same smaller requests many times over. */
const answers = new WeakMap<FitContext, Map<string, boolean>>();

export function isRefused(request: FitRequest, context: FitContext): boolean {
  const known = answers.get(context) ?? new Map<string, boolean>();
  answers.set(context, known);
  const key = JSON.stringify(request);
  const answer = known.get(key) ?? !accepts(poseProblem(request, context));
  known.set(key, answer);
  return answer;
}

/** One thing less, or what was missing there: what is left shows the next conflict. */
function withoutConflict(
  request: FitRequest,
  { elements, judgements }: Conflict,
  shared: 'first' | 'last',
): FitRequest | undefined {
  const missing = judgements.flatMap(({ remedy }) =>
    remedy !== undefined && 'addons' in remedy ? remedy.addons.flat() : [],
  );
  const assumed = new Set([...(request.assumed ?? []), ...missing]);
  if (assumed.size > (request.assumed ?? []).length) return { ...request, assumed: [...assumed] };
  const gone = elements.at(shared === 'first' ? 0 : -1);
  return gone === undefined ? undefined : relax(request, [gone]);
}

function minimalConflict(request: FitRequest, context: FitContext): Element[] {
  let rest = request;
  const kept: Element[] = [];
  for (const element of elementsOf(request)) {
    const without = relax(rest, [element]);
    if (isRefused(without, context)) rest = without;
    else kept.push(element);
  }
  return kept.sort((a, b) => WEIGHT.indexOf(a.kind) - WEIGHT.indexOf(b.kind));
}

/** In the order in which they are named, and reported again with the first of them gone. */
const WEIGHT: readonly Element['kind'][] = [
  'mig',
  'gpu',
  'runtime',
  'addon',
  'cuda',
  'modules',
  'driver-version',
  'driver',
  'kernel',
  'architecture',
];

/** Everything that was asked for. What comes first is relaxed first: a conflict is told in terms of the last. */
export function elementsOf(request: FitRequest): Element[] {
  const { driver, cuda, kernel } = request;
  const elements: Element[] = [];
  const add = (condition: boolean, element: Element): void => {
    if (condition) elements.push(element);
  };
  request.mig.forEach(({ profile }, index) => {
    add(profile !== '', { kind: 'mig', index });
  });
  request.addons.forEach((name, index) => {
    add(name !== '', { kind: 'addon', index });
  });
  add(kernel?.version !== undefined || kernel?.flavour !== undefined, { kind: 'kernel' });
  add(request.architecture !== undefined, { kind: 'architecture' });
  request.runtimes.forEach(({ use }, index) => {
    add(use !== '', { kind: 'runtime', index });
  });
  add(driver !== undefined && driver.modules !== 'auto', { kind: 'modules' });
  add(driver !== undefined && driver.use !== 'any', { kind: 'driver' });
  add(driver?.version !== undefined, { kind: 'driver-version' });
  request.gpus.forEach((_, index, { length }) => {
    const place = length - 1 - index;
    add(request.gpus[place] !== '', { kind: 'gpu', index: place });
  });
  add(cuda !== undefined, { kind: 'cuda' });
  return elements;
}

/** The request that asks for less. Places in lists stay. */
export function relax(request: FitRequest, elements: readonly Element[]): FitRequest {
  const relaxed = elements.reduce(relaxOne, request);
  const { driver, gpus, cuda } = relaxed;
  // What `auto` goes by may be gone: that alone is no conflict.
  const isNew = elements.some(({ kind }) => kind === 'gpu' || kind === 'cuda');
  if (!isNew || driver?.use !== 'auto' || cuda !== undefined || gpus.some((name) => name !== ''))
    return relaxed;
  return { ...relaxed, driver: { ...driver, use: 'any' } };
}

function relaxOne(request: FitRequest, element: Element): FitRequest {
  switch (element.kind) {
    case 'gpu':
      return { ...request, gpus: request.gpus.with(element.index, '') };
    case 'runtime':
      return { ...request, runtimes: request.runtimes.with(element.index, { use: '' }) };
    case 'addon': {
      // What is below it must not start to lack it.
      const name = request.addons[element.index] ?? '';
      return {
        ...request,
        addons: request.addons.with(element.index, ''),
        assumed: [...(request.assumed ?? []), name],
      };
    }
    case 'mig':
      return withMig(element.index, { profile: '' })(request);
    case 'architecture':
      return omit(request, 'architecture');
    case 'kernel':
      return omit(request, 'kernel');
    case 'cuda':
      return omit(request, 'cuda');
    case 'driver':
      return request.driver === undefined
        ? request
        : { ...request, driver: { ...request.driver, use: 'any', endOfLife: true } };
    case 'driver-version':
      return request.driver === undefined
        ? request
        : { ...request, driver: { ...omit(request.driver, 'version'), endOfLife: true } };
    case 'modules':
      return request.driver === undefined
        ? request
        : { ...request, driver: { ...request.driver, modules: 'auto' } };
  }
}

function omit<T extends object, Key extends keyof T>(value: T, key: Key): Omit<T, Key> {
  const { [key]: _gone, ...rest } = value;
  return rest;
}

/**
 * What the rules say that the refusal hangs on: one rule that refuses alone, or as few as deletion finds, each of
 * which is needed.
 */
function decisiveJudgements(
  request: FitRequest,
  elements: readonly Element[],
  context: FitContext,
): RuledJudgement[] {
  const problem = poseProblem(request, context);
  let outcome = search(problem);
  for (const id of idsOf(outcome)) {
    const alone = search(problem, new Set(RULE_IDS.filter((one) => one !== id)));
    if (alone.chosen === undefined) return telling(alone.judgements, elements);
  }
  const without = new Set<string>();
  const needed = new Set<string>();
  for (;;) {
    // With a rule gone another may come to light: only what refuses can be what the refusal hangs on.
    const id = idsOf(outcome).find((one) => !needed.has(one));
    if (id === undefined) return telling(outcome.judgements, elements);
    without.add(id);
    const next = search(problem, without);
    if (next.chosen === undefined) {
      outcome = next;
    } else {
      without.delete(id);
      needed.add(id);
    }
  }
}

const RULE_IDS: readonly string[] = [...new Set(RULES.map(({ id }) => id))];

function idsOf({ judgements }: Outcome): string[] {
  return [...new Set(judgements.map(({ rule }) => rule.id))];
}

export function isSame(a: Element, b: Element): boolean {
  return a.kind === b.kind && ('index' in a ? a.index : -1) === ('index' in b ? b.index : -1);
}

/** Of what each rule says about the candidates, the one that speaks most of the conflict; the first of equals. */
function telling(judgements: readonly RuledJudgement[], elements: readonly Element[]): RuledJudgement[] {
  const best = new Map<string, { readonly judgement: RuledJudgement; readonly score: number }>();
  for (const judgement of judgements) {
    const score = judgement.about.filter((one) => elements.some((element) => isSame(one, element))).length;
    const known = best.get(judgement.rule.id);
    if (known === undefined || score > known.score) best.set(judgement.rule.id, { judgement, score });
  }
  return [...best.values()].map(({ judgement }) => judgement);
}
