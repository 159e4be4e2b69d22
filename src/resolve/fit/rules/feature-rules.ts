/** What features of a runtime ask of GPUs. */
import { compareVersions } from '../../../catalog/facts/versions.ts';
import { nearest } from '../../../spec/suggest.ts';
import type { Problem } from '../problem.ts';
import { refuse, warn, type Candidate, type Judgement, type Rule } from '../rule.ts';
import { nameOf } from './runtime-rules.ts';

export const FEATURE_RULES: readonly Rule[] = [
  {
    id: 'runtime-feature',
    statement: 'A feature of a runtime, such as fp8, works from some compute capability on.',
    stage: 'runtime',
    judge: features,
  },
];

function features({ runtime: one }: Candidate, { request, index: facts, nvidia }: Problem): Judgement[] {
  if (one === undefined) return [];
  const { index, name } = one;
  const asked = request.runtimes[index]?.features;
  if (asked === undefined) return [];
  const known = facts.facts.runtimeFeatures.filter(({ runtime }) => runtime === name);
  const runtime = { kind: 'runtime', index } as const;
  return asked.flatMap((feature) => {
    if (known.length === 0) {
      const message = `nothing is known of the features of ${name}: whether it has ${feature} was not checked`;
      return [warn(message, [], [runtime])];
    }
    const row = known.find((other) => other.feature === feature);
    if (row === undefined) {
      const names = known.map((other) => other.feature);
      const message = `the facts know no feature ${JSON.stringify(feature)} of ${name}, but ${names.join(', ')}`;
      return [refuse(message, [], [runtime], { feature, near: nearest(feature, names) })];
    }
    return nvidia.flatMap(({ element, gpu }) => {
      const own = gpu.capability.capability;
      if (compareVersions(own, row.minCapability) >= 0) return [];
      const message = `${feature} of ${nameOf(one)} needs compute capability ${row.minCapability}, and ${gpu.product} has ${own}`;
      return [refuse(message, [row], [runtime, element], { feature, near: [] })];
    });
  });
}
