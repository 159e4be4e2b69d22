import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { FindingsError, IngotError } from '../errors.ts';
import { createPalette } from '../report/palette.ts';
import { errorToJson, renderError, type RenderErrorOptions } from './render-error.ts';

let cwd: string;
let options: RenderErrorOptions;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'ingot-errors-'));
  options = { palette: createPalette(false), cwd, verbose: false };
  await writeFile(join(cwd, 'x.yaml'), 'name: x\nkernal: cloud\nbase: debain@13\n');
});
afterAll(async () => {
  await rm(cwd, { recursive: true });
});

test('an error says what, the last output of the program, and what to do', () => {
  const error = new IngotError('TOOL_FAILED', 'apt-get exited with 100: apt-get update', {
    output: 'E: first\n\u001B[31mE: second\u001B[0m\u0007',
    hint: 'look at the mirror',
    cause: new Error('not shown'),
  });
  expect(renderError(error, options)).toBe(
    'error[TOOL_FAILED]: apt-get exited with 100: apt-get update\n  E: first\n  E: second\nhint: look at the mirror\n',
  );
  expect(renderError(error, { ...options, verbose: true })).toContain('caused by: Error: not shown');
});

test('all findings are shown with their place, then counted', () => {
  const file = join(cwd, 'x.yaml');
  const error = new FindingsError([
    {
      code: 'SPEC_INVALID',
      severity: 'error',
      message: 'unknown key "kernal"',
      location: { file, line: 2, column: 1 },
      suggestions: ['kernel', 'units'],
    },
    { code: 'PACKAGE_UNKNOWN', severity: 'error', message: 'no package "hotp"' },
    {
      code: 'SPEC_INVALID',
      severity: 'warning',
      message: 'odd',
      location: { file: '/nowhere/y.yaml', line: 1, column: 1 },
    },
  ]);
  expect(renderError(error, options)).toBe(
    [
      'error[SPEC_INVALID]: unknown key "kernal"',
      '  --> x.yaml:2:1',
      '    |',
      '  2 | kernal: cloud',
      '    | ^^^^^^',
      'hint: did you mean "kernel"? (or "units")',
      '',
      'error[PACKAGE_UNKNOWN]: no package "hotp"',
      '',
      'warning[SPEC_INVALID]: odd',
      '  --> /nowhere/y.yaml:1:1',
      '',
      '2 errors, 1 warning',
      '',
    ].join('\n'),
  );
  expect(errorToJson(error)).toMatchObject({
    error: {
      code: 'SPEC_INVALID',
      findings: [{ file, line: 2, column: 1, suggestions: ['kernel', 'units'] }, {}, {}],
    },
  });
});

test('anything else is a bug, with its stack and that of its cause', () => {
  const text = renderError(new TypeError('x is undefined', { cause: new Error('deeper') }), options);
  expect(text).toContain('error[BUG]: this is a bug in Ingot');
  expect(text).toContain('TypeError: x is undefined');
  expect(text).toContain('render-error.test.ts');
  expect(text).toContain('caused by: Error: deeper');
  expect(errorToJson('a string')).toEqual({ error: { code: 'BUG', message: 'a string', stack: undefined } });
});
