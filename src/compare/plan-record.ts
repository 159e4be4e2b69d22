/**
 * What the last build of an image was made from, small enough to keep, and why a plan of today must build a step anew.
 * Pure.
 */
import * as z from 'zod';

import { DigestText, digestOf, digestOfJson, type Digest } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';

const StepRecord = z.object({
  name: z.string(),
  kind: z.string(),
  key: DigestText,
  packages: z.array(z.tuple([z.string(), z.string(), z.string()])),
  /** Everything else that it is made from, by what a person calls it. */
  inputs: z.record(z.string(), DigestText),
  epoch: z.number(),
});
type StepRecord = z.infer<typeof StepRecord>;

export const PlanRecord = z.object({
  schemaVersion: z.literal(1),
  name: z.string(),
  version: z.string(),
  /** Digest over the code that built it. */
  builder: DigestText,
  steps: z.array(StepRecord),
});
export type PlanRecord = z.infer<typeof PlanRecord>;

export interface Reason {
  readonly what: 'never' | 'new' | 'gone' | 'package' | 'input' | 'below' | 'builder' | 'time' | 'other';
  readonly text: string;
}

/** Parts of a step that have a member of their own, or follow from others. */
const TOLD: ReadonlySet<string> = new Set([
  ...['name', 'kind', 'key', 'treeKey', 'needs', 'packages', 'files', 'epoch', 'summary', 'modules'],
]);
const SHOWN = 4;

/** Under which the last build of this image is kept. */
export function planRecordKey(name: string, variant: string | undefined, architecture: string): Digest {
  return digestOfJson({ plan: name, variant, architecture });
}

export function recordPlan(plan: Plan, builder: Digest): PlanRecord {
  return {
    schemaVersion: 1,
    name: plan.name,
    version: plan.version,
    builder,
    steps: plan.steps.map((step) => recordStep(step, plan)),
  };
}

function recordStep(step: PlanStep, { seal }: Plan): StepRecord {
  const inputs: Record<string, Digest> = {};
  for (const file of step.files) inputs[`the file ${file.path}`] = digestOfJson(file);
  if (step.kind === 'seal') {
    for (const [part, value] of Object.entries(seal)) inputs[wordsOf(part)] = digestOfJson(value);
  }
  const { modules } = step;
  if (modules !== undefined) {
    const { kernelRelease, architecture, patches, signer } = modules;
    inputs['the kernel'] = digestOfJson({ kernelRelease, architecture });
    for (const { name, text } of patches) inputs[`the patch ${name}`] = digestOf(text);
    if (signer !== undefined) inputs['the signing certificate'] = signer;
  }
  for (const [part, value] of Object.entries(step)) {
    if (!TOLD.has(part)) inputs[wordsOf(part)] = digestOfJson(value);
  }
  return {
    name: step.name,
    kind: step.kind,
    key: step.key,
    packages: madeFrom(step).map(({ name, version, sha256 }) => [name, version, sha256]),
    inputs,
    epoch: step.epoch,
  };
}

/** The packages in it, and of modules those that they are compiled from and with. */
function madeFrom({ packages, modules }: PlanStep): readonly LockedPackage[] {
  return modules === undefined ? packages : [...packages, modules.source, ...modules.compile.packages];
}

/** Why the steps that `isCached` denies must be built, by name. Most telling first; never empty. */
export function reasonsToBuild(
  plan: Plan,
  builder: Digest,
  last: PlanRecord | undefined,
  isCached: (step: PlanStep) => boolean,
): ReadonlyMap<string, readonly Reason[]> {
  const before = new Map(last?.steps.map((step) => [step.name, step]));
  const after = recordPlan(plan, builder);
  const changed = new Set(
    after.steps.filter(({ name, key }) => before.get(name)?.key !== key).map(({ name }) => name),
  );
  const reasons = new Map<string, readonly Reason[]>();
  for (const [index, step] of plan.steps.entries()) {
    const record = after.steps[index];
    if (isCached(step) || record === undefined) continue;
    const old = before.get(step.name);
    if (last === undefined) reasons.set(step.name, [{ what: 'never', text: 'never built here' }]);
    else if (old === undefined) reasons.set(step.name, [{ what: 'new', text: 'new in this image' }]);
    else if (old.key === record.key)
      reasons.set(step.name, [{ what: 'gone', text: 'no longer in the store' }]);
    else {
      const below = step.needs.filter((name) => changed.has(name));
      reasons.set(step.name, compareSteps(old, record, below, last.builder !== builder));
    }
  }
  return reasons;
}

function compareSteps(
  before: StepRecord,
  after: StepRecord,
  below: readonly string[],
  isOtherBuilder: boolean,
): readonly Reason[] {
  const own = [...packageReasons(before, after), ...inputReasons(before, after)];
  const around: Reason[] = [
    ...(below.length > 0 ? [{ what: 'below' as const, text: `${shorten(below)} below it changed` }] : []),
    ...(isOtherBuilder ? [{ what: 'builder' as const, text: 'the code that builds changed' }] : []),
  ];
  const found = [...own, ...around];
  if (found.length > 0) return found;
  return before.epoch === after.epoch
    ? [{ what: 'other', text: 'the compressor, or how it is installed, changed' }]
    : [{ what: 'time', text: 'the lock gives it another time' }];
}

function packageReasons(before: StepRecord, after: StepRecord): Reason[] {
  const old = new Map(before.packages.map((item) => [item[0], item]));
  const fresh = new Map(after.packages.map((item) => [item[0], item]));
  const texts = [...new Set([...old.keys(), ...fresh.keys()])].sort().flatMap((name): string[] => {
    const [from, to] = [old.get(name), fresh.get(name)];
    if (from === undefined) return [`+ ${name} ${to?.[1] ?? ''}`];
    if (to === undefined) return [`- ${name} ${from[1]}`];
    if (from[2] === to[2]) return [];
    return [from[1] === to[1] ? `${name} ${to[1]} has other content` : `${name} ${from[1]} → ${to[1]}`];
  });
  const rest = texts.length - SHOWN;
  return [
    ...texts.slice(0, rest === 1 ? SHOWN + 1 : SHOWN),
    ...(rest > 1 ? [`and ${rest} more packages`] : []),
  ].map((text) => ({ what: 'package', text }));
}

function inputReasons(before: StepRecord, after: StepRecord): Reason[] {
  const names = [...new Set([...Object.keys(before.inputs), ...Object.keys(after.inputs)])];
  const texts = names.flatMap((name): string[] => {
    const [from, to] = [before.inputs[name], after.inputs[name]];
    if (from === to) return [];
    return [`${name} ${from === undefined ? 'added' : to === undefined ? 'removed' : 'changed'}`];
  });
  const rest = texts.length - SHOWN;
  return [...texts.slice(0, SHOWN), ...(rest > 0 ? [`and ${rest} more inputs`] : [])].map((text) => ({
    what: 'input',
    text,
  }));
}

function shorten(names: readonly string[]): string {
  const rest = names.length - SHOWN;
  return `${names.slice(0, SHOWN).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

/** `kernelArguments` is `kernel arguments` to a person. */
function wordsOf(member: string): string {
  if (member === 'version') return 'the image version';
  return member.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
