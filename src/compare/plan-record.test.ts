import { describe, expect, test } from 'vitest';

import { digestOf, digestOfJson } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import { PlanRecord, reasonsToBuild, recordPlan } from './plan-record.ts';

const BUILDER = digestOf('builder');

function item(name: string, version = '1', bytes = version): LockedPackage {
  return {
    name,
    version,
    architecture: 'amd64',
    sha256: digestOf(`${name} ${bytes}`).slice('sha256:'.length),
    size: 10,
    filename: `pool/${name}.deb`,
    archive: 'debian',
  };
}

type Parts = Partial<Pick<PlanStep, 'packages' | 'files' | 'epoch' | 'needs' | 'kind'>>;

function planOf(
  steps: Readonly<Record<string, Parts>>,
  seal: Partial<Plan['seal']> = {},
  builder = BUILDER,
): Plan {
  const sealInput: Plan['seal'] = {
    ...{ imageName: 'node', version: '1', kernelRelease: '6', groups: [], users: [], units: [] },
    ...{ kernelArguments: [], health: [], ...seal },
  };
  const made: PlanStep[] = [];
  for (const [name, parts] of Object.entries(steps)) {
    const step = { kind: 'unpack' as const, needs: [], packages: [], files: [], epoch: 0, ...parts };
    const below = step.needs.map((need) => made.find((other) => other.name === need)?.key);
    const key = digestOfJson({ step, below, builder, ...(step.kind === 'seal' && { sealInput }) });
    made.push({ name, ...step, key, treeKey: key, chunks: [], summary: '' });
  }
  return {
    ...{ name: 'node', version: '1', epoch: 0, architecture: 'amd64', kernelRelease: '6', facts: {} },
    ...{ lock: digestOf('lock'), compressionLevel: 3, steps: made, seal: sealInput, key: digestOf('plan') },
  };
}

const BASE = { base: { packages: [item('bash'), item('libc6')] } };
const NODE = { ...BASE, driver: { needs: ['base'], packages: [item('nvidia-smi')] } };
const SEAL = { kind: 'seal' as const, needs: ['base', 'driver'] };

function reasonsOf(before: Plan | undefined, after: Plan, builder = BUILDER): Record<string, string[]> {
  const last = before === undefined ? undefined : recordPlan(before, BUILDER);
  const keys = new Set(before?.steps.map(({ key }) => key));
  const reasons = reasonsToBuild(after, builder, last, ({ key }) => keys.has(key));
  return Object.fromEntries([...reasons].map(([name, list]) => [name, list.map(({ text }) => text)]));
}

describe('why a step must be built', () => {
  test('packages that moved, came and went; and what stands on it', () => {
    const after = planOf({
      ...NODE,
      driver: { ...NODE.driver, packages: [item('nvidia-smi', '2'), item('x')] },
      seal: SEAL,
    });
    expect(reasonsOf(planOf({ ...NODE, seal: SEAL }), after)).toEqual({
      driver: ['nvidia-smi 1 → 2', '+ x 1'],
      seal: ['driver below it changed'],
    });
    const other = planOf({ base: { packages: [item('bash', '1', 'other')] } });
    expect(reasonsOf(planOf(BASE), other)).toEqual({ base: ['bash 1 has other content', '- libc6 1'] });
  });

  test('files, and what the seal is told', () => {
    const file = { path: '/etc/motd', content: 'a', mode: 0o644, user: 'root', group: 'root' };
    const before = planOf({ ...NODE, seal: { ...SEAL, files: [file] } });
    const after = planOf(
      {
        ...NODE,
        seal: {
          ...SEAL,
          files: [
            { ...file, content: 'b' },
            { ...file, path: '/etc/issue' },
          ],
        },
      },
      { kernelArguments: [{ origin: 'declaration', values: ['quiet'] }] },
    );
    expect(reasonsOf(before, after)).toEqual({
      seal: ['the file /etc/motd changed', 'kernel arguments changed', 'the file /etc/issue added'],
    });
  });

  test('the code that builds, a time, a first build, and what is gone', () => {
    const plan = planOf(BASE);
    const builder = digestOf('other');
    expect(reasonsOf(plan, planOf(BASE, {}, builder), builder)).toEqual({
      base: ['the code that builds changed'],
    });
    expect(reasonsOf(plan, planOf({ base: { ...BASE.base, epoch: 5 } }))).toEqual({
      base: ['the lock gives it another time'],
    });
    expect(reasonsOf(undefined, plan)).toEqual({ base: ['never built here'] });
    expect(reasonsOf(plan, planOf(NODE))).toEqual({ driver: ['new in this image'] });
    const gone = reasonsToBuild(plan, BUILDER, recordPlan(plan, BUILDER), () => false);
    expect(gone.get('base')).toEqual([{ what: 'gone', text: 'no longer in the store' }]);
  });

  test('a long list is cut, and never by one', () => {
    const many = (count: number): Plan =>
      planOf({ base: { packages: Array.from({ length: count }, (_, index) => item(`p${index}`)) } });
    expect(reasonsOf(many(0), many(5))['base']).toHaveLength(5);
    expect(reasonsOf(many(0), many(9))['base']?.at(-1)).toBe('and 5 more packages');
  });
});

test('nothing that is cached has a reason, and everything that is not has one', () => {
  const plan = planOf({ ...NODE, seal: SEAL });
  expect(reasonsOf(plan, plan)).toEqual({});
  expect(Object.keys(reasonsOf(undefined, plan))).toEqual(['base', 'driver', 'seal']);
});

test('a record is what it is after a trip through JSON', () => {
  const record = recordPlan(planOf({ ...NODE, seal: SEAL }), BUILDER);
  expect(PlanRecord.parse(JSON.parse(JSON.stringify(record)))).toEqual(record);
});
