/**
 * Lints of an image that is built on another one. What that one has of faults is its own: it is told, and does not
 * fail the build. What a lint asks of may not be there at all: it then could not run, which is said.
 */
import type { SealInput } from '../../plan/plan.ts';
import type { Reporter } from '../../report/events.ts';
import { formatCount } from '../../report/format.ts';
import type { Lint } from '../lints/image-root.ts';
import { checkRpmDatabase } from '../lints/rpm-lints.ts';
import { assertLintReport, LINTS, type LintOutcome, type LintReport, runLints } from '../lint.ts';

interface CheckOptions {
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/** Why a lint has nothing to look at. */
function missingFor(name: string, { family, kernelRelease }: SealInput): string | undefined {
  if (kernelRelease === '' && ['kernel', 'initramfs', 'baseimage-root'].includes(name)) {
    return 'the base has no kernel';
  }
  if (family === 'none' && name === 'package-database') return 'the base has no package database';
  if (family !== 'debian' && name === 'package-sources') return 'the base has no packages of dpkg';
  return undefined;
}

/** Of what each family has of its own. */
function lintsFor({ family }: SealInput): readonly Lint[] {
  if (family !== 'rpm') return LINTS;
  return LINTS.map((lint) =>
    lint.name === 'package-database' ? { name: lint.name, check: checkRpmDatabase } : lint,
  );
}

/**
 * @param base root of the image that was built on
 * @returns what to say of it in a line
 * @throws IngotError LINT_FAILED with what the base does not have of it
 */
export async function checkOnImage(
  base: string,
  root: string,
  input: SealInput,
  { reporter, signal }: CheckOptions,
): Promise<string> {
  const lints = lintsFor(input).filter(({ name }) => missingFor(name, input) === undefined);
  for (const { name } of LINTS) {
    const reason = missingFor(name, input);
    if (reason !== undefined) reporter.warning(`the check ${name} could not run: ${reason}`);
  }
  const before = await runLints(base, input, { signal, lints });
  const after = await runLints(root, input, { signal, lints });
  const own = new Map(before.results.map(({ name, outcome }) => [name, outcome]));
  const results = after.results.map(({ name, outcome }) => {
    const { left, inherited } = withoutOwn(outcome, own.get(name));
    if (inherited > 0) {
      reporter.warning(`the check ${name} has ${formatCount(inherited, 'finding')} that the base has too`);
    }
    return { name, outcome: left };
  });
  const report: LintReport = { passed: results.every(({ outcome }) => outcome.status === 'pass'), results };
  assertLintReport(report, reporter);
  const skipped = LINTS.length - lints.length;
  return `${lints.length} checks passed${skipped === 0 ? '' : `, ${skipped} could not run`}`;
}

function withoutOwn(
  outcome: LintOutcome,
  own: LintOutcome | undefined,
): { readonly left: LintOutcome; readonly inherited: number } {
  if (outcome.status !== 'fail' || own?.status !== 'fail') return { left: outcome, inherited: 0 };
  const known = new Set(own.details);
  const details = outcome.details.filter((detail) => !known.has(detail));
  const inherited = outcome.details.length - details.length;
  return { left: details.length === 0 ? { status: 'pass' } : { status: 'fail', details }, inherited };
}
