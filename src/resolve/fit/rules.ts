/** All rules, one line per subject, in the order in which they are judged and shown. */
import type { Candidate, Judgement, Rule, RuledJudgement, Stage } from './rule.ts';
import type { Problem } from './problem.ts';
import { CUDA_RULES } from './rules/cuda-rules.ts';
import { DRIVER_RULES } from './rules/driver-rules.ts';
import { FEATURE_RULES } from './rules/feature-rules.ts';
import { GPU_RULES } from './rules/gpu-rules.ts';
import { KERNEL_RULES } from './rules/kernel-rules.ts';
import { MIG_RULES } from './rules/mig-rules.ts';
import { RUNTIME_RULES } from './rules/runtime-rules.ts';
import { LAYER_RULES } from './rules/layer-rules.ts';
import { SYSTEM_RULES } from './rules/system-rules.ts';

export const RULES: readonly Rule[] = [
  ...GPU_RULES,
  ...MIG_RULES,
  ...DRIVER_RULES,
  ...KERNEL_RULES,
  ...CUDA_RULES,
  ...RUNTIME_RULES,
  ...FEATURE_RULES,
  ...SYSTEM_RULES,
  ...LAYER_RULES,
];

const BY_STAGE: ReadonlyMap<Stage, readonly Rule[]> = Map.groupBy(RULES, ({ stage }) => stage);

/** Ids of rules that are not judged, to find out which ones a refusal hangs on. */
export type Without = ReadonlySet<string>;

/**
 * What the rules of one stage say. Rows of low confidence warn, and never refuse alone.
 *
 * @param firstRefusal stops there: for who only asks whether there is one
 */
export function judge(
  stage: Stage,
  candidate: Candidate,
  problem: Problem,
  without: Without,
  firstRefusal = false,
): readonly RuledJudgement[] {
  const judgements: RuledJudgement[] = [];
  for (const rule of BY_STAGE.get(stage) ?? []) {
    if (without.has(rule.id)) continue;
    for (const judgement of rule.judge(candidate, problem)) {
      const ruled = { ...softened(judgement), rule };
      if (firstRefusal && ruled.severity === 'refuse') return [ruled];
      judgements.push(ruled);
    }
  }
  return judgements;
}

function softened(judgement: Judgement): Judgement {
  const { severity, rows, message } = judgement;
  const weak = rows.length > 0 && rows.every(({ confidence }) => confidence === 'low');
  if (severity !== 'refuse' || !weak || judgement.isSure === true) return judgement;
  return { ...judgement, severity: 'warn', message: `${message} (not certain: the sources are weak)` };
}
