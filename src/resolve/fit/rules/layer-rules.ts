/** What layers of the catalogue require, in their own words: `driver >= 525`, `version = driver`. */
import { admitsVersion, type Constraint, type VersionSubject } from '../../../catalog/constraint.ts';
import type { Problem } from '../problem.ts';
import type { Element } from '../request.ts';
import { refuse, type Candidate, type Judgement, type Rule, type Stage } from '../rule.ts';

const STATEMENT = 'A layer says what must hold where it is used.';

/** A constraint is judged at the first stage that knows its layer and its subject. */
export const LAYER_RULES: readonly Rule[] = (
  [
    ['driver', ['driver', 'addon'], (subject) => subject !== 'kernel' && subject !== 'cuda'],
    ['kernel', ['driver', 'addon', 'kernel'], (subject) => subject === 'kernel'],
    ['driver-cuda', ['driver', 'addon'], (subject) => subject === 'cuda'],
    ['driver-cuda', ['cuda'], (subject) => subject !== 'kernel'],
    ['driver-runtime', ['runtime'], (subject) => subject !== 'kernel'],
  ] satisfies [Stage, readonly LayerUse['kind'][], (subject: Constraint['subject']) => boolean][]
).map(([stage, kinds, speaks]) => ({
  id: 'layer-requires',
  statement: STATEMENT,
  stage,
  judge: (candidate, problem) => judgeLayers(candidate, problem, kinds, speaks),
}));

interface LayerUse {
  readonly kind: 'driver' | 'kernel' | 'cuda' | 'runtime' | 'addon';
  readonly name: string;
  readonly element: Element;
  /** Versions that could be taken; undefined where that was not looked at. */
  readonly versions: readonly string[] | undefined;
}

function judgeLayers(
  candidate: Candidate,
  problem: Problem,
  kinds: readonly LayerUse['kind'][],
  speaks: (subject: Constraint['subject']) => boolean,
): Judgement[] {
  const requires = problem.context.offers?.requires;
  if (requires === undefined) return [];
  return usesOf(candidate, problem)
    .filter(({ kind }) => kinds.includes(kind))
    .flatMap((use) =>
      (requires.get(`${use.kind}/${use.name}`) ?? [])
        .filter(({ subject }) => speaks(subject))
        .flatMap((constraint) => judgeConstraint(constraint, use, candidate, problem)),
    );
}

function usesOf({ driver, kernel, cuda, runtime }: Candidate, { request, context }: Problem): LayerUse[] {
  const uses: LayerUse[] = [];
  const add = (
    kind: LayerUse['kind'],
    name: string | undefined,
    element: Element,
    version?: string,
  ): void => {
    if (name !== undefined)
      uses.push({ kind, name, element, versions: version === undefined ? undefined : [version] });
  };
  add('driver', driver?.offer?.layer, { kind: 'driver' }, driver?.version);
  add('kernel', kernel?.layer, { kind: 'kernel' }, kernel?.version);
  add('cuda', cuda?.layer, { kind: 'cuda' }, cuda?.version);
  if (runtime !== undefined) {
    add('runtime', runtime.layer, { kind: 'runtime', index: runtime.index }, runtime.version);
  }
  request.addons.forEach((name, index) => {
    uses.push({
      kind: 'addon',
      name,
      element: { kind: 'addon', index },
      versions: addonVersions(name, context.offers?.addons),
    });
  });
  return uses;
}

function addonVersions(
  name: string,
  offers: readonly { layer: string; version?: string }[] = [],
): string[] | undefined {
  const versions = offers.flatMap(({ layer, version }) =>
    layer === name && version !== undefined ? [version] : [],
  );
  return versions.length === 0 ? undefined : versions;
}

function judgeConstraint(
  constraint: Constraint,
  use: LayerUse,
  candidate: Candidate,
  problem: Problem,
): Judgement[] {
  const fails = (value: string): Judgement[] => {
    const message = `the ${use.kind} ${use.name} requires ${constraint.text}, and it is ${value}`;
    return [refuse(message, [], [use.element, ...subjectElement(constraint)])];
  };
  if (constraint.kind === 'words') {
    const values = wordsOf(constraint.subject, candidate, problem);
    const wrong = values.find((value) => !constraint.words.includes(value));
    return wrong === undefined ? [] : fails(wrong);
  }
  const operands = constraint.kind === 'bounds' ? constraint.bounds.map(({ operand }) => operand) : [];
  const known = operands.every(
    (operand) => 'version' in operand || versionsOf(operand.subject, use, candidate, problem).length > 0,
  );
  if (!known) return [];
  const values = versionsOf(constraint.subject, use, candidate, problem);
  const holds = (value: string): boolean =>
    admitsVersion(constraint, value, (subject) => versionsOf(subject, use, candidate, problem)[0]);
  // Of the versions that a layer offers one is enough; GPUs must all have theirs.
  if (constraint.subject === 'version')
    return values.length === 0 || values.some(holds) ? [] : fails(values.join(', '));
  const wrong = values.find((value) => !holds(value));
  return wrong === undefined ? [] : fails(wrong);
}

/** Empty where it is not known. */
function versionsOf(
  subject: VersionSubject,
  use: LayerUse,
  candidate: Candidate,
  problem: Problem,
): readonly string[] {
  const one = (version: string | undefined): string[] => (version === undefined ? [] : [version]);
  switch (subject) {
    case 'driver':
      return one(candidate.driver?.version);
    case 'cuda':
      return one(candidate.cuda?.version ?? candidate.runtime?.cuda);
    case 'kernel':
      return one(candidate.kernel?.version);
    case 'computeCapability':
      return problem.nvidia.map(({ gpu }) => gpu.capability.capability);
    case 'containerToolkit':
      return addonVersions('container-toolkit', problem.context.offers?.addons) ?? [];
    case 'version':
      return use.versions ?? [];
  }
}

function wordsOf(
  subject: 'vendor' | 'gpuArchitecture' | 'modules' | 'architecture',
  { driver }: Candidate,
  { gpus, request }: Problem,
): readonly string[] {
  switch (subject) {
    case 'vendor':
      return gpus.map(({ gpu }) => gpu.vendor);
    case 'gpuArchitecture':
      return gpus.map(({ gpu }) => (gpu.vendor === 'nvidia' ? gpu.architecture.name : gpu.architecture));
    case 'modules':
      return driver?.flavour === undefined ? [] : [driver.flavour];
    case 'architecture':
      return request.architecture === undefined ? [] : [request.architecture];
  }
}

function subjectElement({ subject }: Constraint): Element[] {
  switch (subject) {
    case 'driver':
      return [{ kind: 'driver-version' }];
    case 'cuda':
    case 'kernel':
    case 'modules':
    case 'architecture':
      return [{ kind: subject }];
    case 'computeCapability':
    case 'containerToolkit':
    case 'version':
    case 'vendor':
    case 'gpuArchitecture':
      return [];
  }
}
