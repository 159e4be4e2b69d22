/**
 * The last line of `npm test`: `N passed, N failed`, with `, N skipped` when there are any.
 * Arguments: checks passed, checks failed, then the files of vitest's JSON reporter.
 */
import { readFileSync } from 'node:fs';

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Counts of one file of vitest's JSON reporter. A test file that could not be loaded has no tests to count, and a
 * report that is missing or cut short stands for a run that crashed: each is one failure.
 */
export function countTests(report: string | undefined): TestCounts {
  const crashed = { passed: 0, failed: 1, skipped: 0 };
  if (report === undefined) return crashed;
  try {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, success, testResults } =
      JSON.parse(report) as VitestReport;
    const unloaded = testResults.filter(
      (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
    ).length;
    const failed = numFailedTests + unloaded;
    return {
      passed: numPassedTests,
      // A run can fail without a failed test: an error outside of every test.
      failed: failed === 0 && !success ? 1 : failed,
      skipped: numPendingTests + numTodoTests,
    };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return crashed;
    throw error;
  }
}

export function sumCounts(counts: readonly TestCounts[]): TestCounts {
  return counts.reduce(
    (sum, next) => ({
      passed: sum.passed + next.passed,
      failed: sum.failed + next.failed,
      skipped: sum.skipped + next.skipped,
    }),
    { passed: 0, failed: 0, skipped: 0 },
  );
}

export function renderCounts({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly success: boolean;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

function readReport(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  const [passed, failed, ...reports] = process.argv.slice(2);
  const total = sumCounts([
    { passed: Number(passed), failed: Number(failed), skipped: 0 },
    ...reports.map((path) => countTests(readReport(path))),
  ]);
  console.log(renderCounts(total));
  process.exitCode = total.failed === 0 ? 0 : 1;
}
