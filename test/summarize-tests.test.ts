import { expect, test } from 'vitest';

import { countTests, renderCounts, sumCounts } from '../scripts/summarize-tests.ts';

function report(overrides: object): string {
  return JSON.stringify({
    numPassedTests: 2,
    numFailedTests: 0,
    numPendingTests: 0,
    numTodoTests: 0,
    success: true,
    testResults: [{ status: 'passed', assertionResults: [{ status: 'passed' }, { status: 'passed' }] }],
    ...overrides,
  });
}

test('counts passed, failed and skipped tests', () => {
  const failing = report({
    numFailedTests: 1,
    numPendingTests: 3,
    success: false,
    testResults: [{ status: 'failed', assertionResults: [{ status: 'failed' }] }],
  });
  expect(sumCounts([countTests(report({})), countTests(failing)])).toEqual({
    passed: 4,
    failed: 1,
    skipped: 3,
  });
});

test('a test file that does not load is a failure', () => {
  const unloaded = report({ success: false, testResults: [{ status: 'failed', assertionResults: [] }] });
  expect(countTests(unloaded).failed).toBe(1);
});

test('a run that fails outside of every test is a failure', () => {
  expect(countTests(report({ success: false })).failed).toBe(1);
});

test('a run that left no report, or half of one, is a failure', () => {
  expect(countTests(undefined).failed).toBe(1);
  expect(countTests('{"numPassedTests": 3,').failed).toBe(1);
  expect(countTests('{}').failed).toBe(1);
});

test('the line has exactly one form', () => {
  expect(renderCounts({ passed: 12, failed: 0, skipped: 0 })).toBe('12 passed, 0 failed');
  expect(renderCounts({ passed: 12, failed: 1, skipped: 2 })).toBe('12 passed, 1 failed, 2 skipped');
});
