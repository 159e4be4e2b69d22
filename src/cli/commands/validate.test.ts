import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runInProcess, type InProcessResult } from '../../../test/support/in-process.ts';

const IMAGE = join(import.meta.dirname, '../../../images/debian-minimal.yaml');
const DECLARATION = `name: node
base: debian@13
kernal: cloud
packages: [htop, 3]
`;

let cwd = '';

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'ingot validate '));
  await writeFile(join(cwd, 'bad.yaml'), DECLARATION);
  await writeFile(
    join(cwd, 'variants.yaml'),
    'name: n\nbase: debian@13\naddons: [sshd]\nvariants:\n  - {name: a, kernel: clodu}\n  - {name: b, base: x@1}\n',
  );
  await writeFile(join(cwd, 'odd.yaml'), 'name: n\nbase: debian@13\nusers: [{name: ada, groups: [sudoo]}]\n');
});

afterAll(async () => {
  await rm(cwd, { recursive: true, force: true });
});

const ingot = (...args: readonly string[]): Promise<InProcessResult> => runInProcess(cwd, args);

describe('ingot validate', () => {
  it('accepts the image of the product', async () => {
    expect(await ingot('validate', IMAGE)).toEqual({ exitCode: 0, stdout: `${IMAGE}: ok\n` });
  });

  it('shows every mistake with its line', async () => {
    expect(await ingot('validate', 'bad.yaml')).toEqual({
      exitCode: 2,
      stdout: `error[SPEC_INVALID]: unknown key "kernal"
  --> bad.yaml:3:1
    |
  3 | kernal: cloud
    | ^^^^^^
hint: did you mean "kernel"?

error[SPEC_INVALID]: packages[1] must be text, not a number; write "3"
  --> bad.yaml:4:18
    |
  4 | packages: [htop, 3]
    |                  ^

2 errors
`,
    });
  });

  it('answers for programs, all files at once, also those that are not there', async () => {
    const { exitCode, stdout } = await ingot('validate', 'bad.yaml', IMAGE, 'nope.yaml', '--json');
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      schemaVersion: 1,
      verdict: 'refused',
      files: [
        { file: 'bad.yaml', verdict: 'refused' },
        { file: IMAGE, verdict: 'ok' },
        { file: 'nope.yaml', verdict: 'refused' },
      ],
      findings: [
        {
          code: 'SPEC_INVALID',
          severity: 'error',
          message: 'unknown key "kernal"',
          file: 'bad.yaml',
          line: 3,
          column: 1,
          suggestions: ['kernel'],
        },
        {
          code: 'SPEC_INVALID',
          severity: 'error',
          message: 'packages[1] must be text, not a number; write "3"',
          file: 'bad.yaml',
          line: 4,
          column: 18,
          suggestions: [],
        },
        {
          code: 'IMAGE_UNKNOWN',
          severity: 'error',
          message: 'cannot read nope.yaml: there is no such file',
          file: 'nope.yaml',
          line: 1,
          column: 1,
          suggestions: [],
        },
      ],
    });
  });

  it('checks the names in every variant', async () => {
    const { stdout } = await ingot('validate', 'variants.yaml', '--json');
    const { findings } = JSON.parse(stdout) as { findings: { message: string; line: number }[] };
    expect(findings.map(({ line, message }) => `${line} ${message}`)).toEqual([
      '3 unknown addon "sshd"',
      '5 unknown kernel "clodu"',
      '6 unknown base "x" (known: debian)',
    ]);
  });

  it('shows a circle of extends where it closes', async () => {
    await writeFile(join(cwd, 'x.yaml'), 'name: n\nbase: debian@13\nextends: y.yaml\n');
    await writeFile(join(cwd, 'y.yaml'), 'extends: x.yaml\n');
    const { exitCode, stdout } = await ingot('validate', 'x.yaml');
    expect(exitCode).toBe(2);
    expect(stdout).toMatch(
      /error\[SPEC_INVALID\]: extends itself: x\.yaml → y\.yaml → x\.yaml\n {2}--> y\.yaml:1:10/,
    );
  });

  it('passes over the locks that a wildcard takes along, but not over a lock alone', async () => {
    const lock = IMAGE.replace('.yaml', '.lock.yaml');
    expect(await ingot('validate', lock, IMAGE)).toEqual({ exitCode: 0, stdout: `${IMAGE}: ok\n` });
    await expect(ingot('validate', lock)).rejects.toMatchObject({
      code: 'USAGE',
      hint: `name the declaration, such as ${IMAGE}`,
    });
  });

  it('does not refuse for a warning', async () => {
    const { exitCode, stdout } = await ingot('validate', 'odd.yaml', '--json');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ verdict: 'warning', findings: [{ severity: 'warning' }] });
  });
});
