import { readFile, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

import { findViolations } from './support/architecture.ts';

const SOURCE = resolve(import.meta.dirname, '../src');

test('the sources keep every rule', async () => {
  const paths = (await readdir(SOURCE, { recursive: true })).filter((path) => path.endsWith('.ts'));
  const files = new Map(
    await Promise.all(paths.map(async (path) => [path, await readFile(join(SOURCE, path), 'utf8')] as const)),
  );
  expect(files.size).toBeGreaterThan(20);
  expect(findViolations(files)).toEqual([]);
});

describe('the rules notice', () => {
  const base = {
    'errors.ts': 'export const a = 1;',
    'proc/run.ts': `import { execa } from 'execa';\nexport const run = execa;`,
    'report/events.ts': 'export const b = 1;',
    'report/r.ts': `import 'node:fs';`,
    'plan/plan.ts': 'export const c = 1;',
    'cli/program.ts': `export const program = async () => import('../plan/plan.ts');`,
  };

  function violations(added: Readonly<Record<string, string>>): readonly string[] {
    return findViolations(new Map(Object.entries({ ...base, ...added })));
  }

  test('nothing in sources that keep them', () => {
    expect(violations({})).toEqual([]);
  });

  test.each([
    ['an import upwards', 'proc/x.ts', `import { c } from '../plan/plan.ts';`, 'proc is below plan'],
    ['a type import upwards', 'proc/x.ts', `import type { c } from '../plan/plan.ts';`, 'proc is below plan'],
    ['a re-export upwards', 'proc/x.ts', `export * from '../plan/plan.ts';`, 'proc is below plan'],
    ['a dynamic import upwards', 'plan/x.ts', `await import('../cli/program.ts');`, 'plan is below cli'],
    ['an import type upwards', 'plan/x.ts', `let x: import('../cli/program.ts').P;`, 'plan is below cli'],
    ['a sibling', 'report/x.ts', `import '../proc/run.ts';`, 'report is a sibling of proc'],
    ['an import out of the sources', 'cli/x.ts', `import '../../test/y.ts';`, 'outside of src/'],
    ['an import without extension', 'cli/x.ts', `import '../plan/plan';`, 'without its .ts'],
    ['an import of nothing', 'cli/x.ts', `import '../plan/gone.ts';`, 'does not exist'],
    ['execa elsewhere', 'build/x.ts', `import { execa } from 'execa';`, 'only proc/ starts processes'],
    ['child_process elsewhere', 'build/x.ts', `import 'node:child_process';`, 'only proc/ starts processes'],
    ['a file system in a pure folder', 'plan/x.ts', `import 'node:fs/promises';`, 'plan/ is pure'],
    ['a file system at one remove', 'plan/x.ts', `import '../report/r.ts';`, 'through report/r.ts'],
    ['a clock', 'resolve/x.ts', 'export const now = Date.now();', 'uses Date.now'],
    ['a new date without a time', 'resolve/x.ts', 'export const now = new Date();', 'uses new Date()'],
    ['chance', 'plan/x.ts', 'export const luck = Math.random();', 'uses Math.random'],
    ['the environment', 'plan/x.ts', `export const e = process.env['X'];`, 'uses process'],
    ['a default export', 'plan/x.ts', 'export default 1;', 'default export'],
    ['a default function', 'plan/x.ts', 'export default function f() {}', 'default export'],
    ['a renamed default', 'plan/x.ts', 'const a = 1; export { a as default };', 'default export'],
    ['a long file', 'plan/x.ts', 'export {};\n'.repeat(401), '401 lines'],
    ['another case', 'plan/makePlan.ts', 'export {};', 'not kebab-case'],
    ['a vague name', 'plan/plan-utils.ts', 'export {};', 'says nothing'],
    ['an unknown folder', 'shared/x.ts', 'export {};', 'no place in the order'],
  ])('%s', (_name, path, text, expected) => {
    const found = violations({ [path]: text });
    expect(found.length).toBeGreaterThan(0);
    expect(found.join('\n')).toContain(`${path}: `);
    expect(found.join('\n')).toContain(expected);
  });

  test('and let pass what is allowed', () => {
    expect(
      violations({
        'plan/time.ts': `import { posix } from 'node:path';
          export const day = (epoch: number) => new Date(epoch * 1000).toISOString() + posix.sep;
          export const record = { process: 1 };
          export const read = (x: { process: number }) => x.process;`,
        'plan/types.ts': `import type { R } from '../report/r.ts'; export type { R };`,
        'plan/time.test.ts': `import '../../test/support/x.ts'; import 'node:fs'; export const t = Date.now();`,
      }),
    ).toEqual([]);
  });
});
