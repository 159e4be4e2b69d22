/**
 * The checks that an image must pass before it counts. Names that bootc has too mean what they mean there.
 * A lint that could not run fails the build like one that found something: unknown is not fine.
 */
import { errnoOf, IngotError } from '../errors.ts';
import type { Reporter } from '../report/events.ts';
import { eachEntry, type EntryWatcher, type Lint, type LintFacts, walkImage } from './lints/image-root.ts';
import { checkInitramfs, checkKargs, checkKernel } from './lints/kernel-lints.ts';
import {
  checkApiBaseDirectories,
  checkBaseImageRoot,
  checkEtcUsrEtc,
  checkNonemptyBoot,
  checkNonemptyRunTmp,
  checkVarRun,
  judgeUtf8,
} from './lints/layout-lints.ts';
import { checkPackageDatabase } from './lints/package-lints.ts';
import { judgeLinks, judgeWorldWritable, watchSetuid } from './lints/permission-lints.ts';
import {
  checkMachineId,
  checkPackageSources,
  checkSshHostKeys,
  checkSysusers,
  judgeVarLog,
  watchVarTmpfiles,
} from './lints/state-lints.ts';
import { RootFs } from './root-fs.ts';

export const LINTS: readonly Lint[] = [
  // bootc's
  { name: 'api-base-directories', check: checkApiBaseDirectories },
  { name: 'baseimage-root', check: checkBaseImageRoot },
  { name: 'bootc-kargs', check: checkKargs },
  { name: 'etc-usretc', check: checkEtcUsrEtc },
  { name: 'kernel', check: checkKernel },
  { name: 'nonempty-boot', check: checkNonemptyBoot },
  { name: 'nonempty-run-tmp', check: checkNonemptyRunTmp },
  { name: 'sysusers', check: checkSysusers },
  { name: 'utf8', watch: eachEntry(judgeUtf8) },
  { name: 'var-log', watch: eachEntry(judgeVarLog) },
  { name: 'var-run', check: checkVarRun },
  { name: 'var-tmpfiles', watch: watchVarTmpfiles },
  // ours
  { name: 'initramfs', check: checkInitramfs },
  { name: 'links', watch: eachEntry(judgeLinks) },
  { name: 'machine-id', check: checkMachineId },
  { name: 'package-database', check: checkPackageDatabase },
  { name: 'package-sources', check: checkPackageSources },
  { name: 'setuid', watch: watchSetuid },
  { name: 'ssh-host-keys', check: checkSshHostKeys },
  { name: 'world-writable', watch: eachEntry(judgeWorldWritable) },
];

export type LintOutcome =
  | { readonly status: 'pass' }
  | { readonly status: 'fail'; readonly details: readonly string[] }
  | { readonly status: 'could-not-run'; readonly reason: string };

export interface LintReport {
  readonly passed: boolean;
  readonly results: readonly { readonly name: string; readonly outcome: LintOutcome }[];
}

/** Runs every lint over a finished root: all layers merged, as a node will have it. */
export async function runLints(
  root: string,
  facts: LintFacts,
  options: { readonly signal?: AbortSignal | undefined; readonly lints?: readonly Lint[] } = {},
): Promise<LintReport> {
  const image = { fs: new RootFs(root), facts };
  const outcomes = new Map<string, LintOutcome>();
  const watchers: { readonly name: string; readonly watcher: EntryWatcher }[] = [];
  const lints = options.lints ?? LINTS;
  for (const lint of lints) {
    await recording(outcomes, lint.name, async () => {
      if ('check' in lint) return judged(await lint.check(image));
      watchers.push({ name: lint.name, watcher: await lint.watch(image) });
      return undefined;
    });
  }
  let walkFailed: LintOutcome | undefined;
  try {
    await walkImage(
      root,
      (entry) => {
        for (const { watcher } of watchers) watcher.entry(entry);
      },
      options.signal,
    );
  } catch (error) {
    walkFailed = couldNotRun(error);
  }
  for (const { name, watcher } of watchers) outcomes.set(name, walkFailed ?? judged(watcher.findings()));
  const results = lints.map(({ name }) => ({ name, outcome: outcomes.get(name) ?? judged([]) }));
  return { passed: results.every(({ outcome }) => outcome.status === 'pass'), results };
}

async function recording(
  outcomes: Map<string, LintOutcome>,
  name: string,
  lint: () => Promise<LintOutcome | undefined>,
): Promise<void> {
  try {
    const outcome = await lint();
    if (outcome !== undefined) outcomes.set(name, outcome);
  } catch (error) {
    outcomes.set(name, couldNotRun(error));
  }
}

function judged(details: readonly string[]): LintOutcome {
  return details.length === 0 ? { status: 'pass' } : { status: 'fail', details };
}

/** Trouble with the root is an outcome; an interruption and a bug of ours are not. */
function couldNotRun(error: unknown): LintOutcome {
  const isTrouble = error instanceof IngotError ? error.code !== 'INTERRUPTED' : errnoOf(error) !== undefined;
  if (!isTrouble || !(error instanceof Error)) throw error;
  return { status: 'could-not-run', reason: error.message };
}

/** How many findings of one lint an error message shows. */
const SHOWN = 10;

/** @throws IngotError LINT_FAILED naming every lint that did not pass, with what it found. */
export async function assertLints(
  root: string,
  facts: LintFacts,
  options: { readonly reporter: Reporter; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  assertLintReport(await runLints(root, facts, options), options.reporter);
}

/** @throws IngotError LINT_FAILED */
export function assertLintReport(report: LintReport, reporter: Reporter): void {
  for (const { name, outcome } of report.results) reporter.debug(`lint ${name}: ${outcome.status}`);
  if (report.passed) return;
  const failed = report.results.filter(({ outcome }) => outcome.status !== 'pass');
  throw new IngotError(
    'LINT_FAILED',
    `the image fails ${failed.length} of ${report.results.length} checks:\n${renderFailures(failed)}`,
    { hint: 'the layer or declaration that brings these paths has to change; an image that fails is not kept' },
  );
}

function renderFailures(failed: LintReport['results']): string {
  return failed
    .flatMap(({ name, outcome }) => {
      if (outcome.status === 'could-not-run') return [`  ${name} could not run: ${outcome.reason}`];
      const details = outcome.status === 'fail' ? outcome.details : [];
      const more = details.length > SHOWN ? [`    and ${details.length - SHOWN} more`] : [];
      return [`  ${name}:`, ...details.slice(0, SHOWN).map((detail) => `    ${detail}`), ...more];
    })
    .join('\n');
}
