/** `ingot lock`: decides every package of an image, by hash, and writes the decision beside the declaration. */
import { Command } from 'commander';
import { resolve } from 'node:path';

import type { LoadedCatalog } from '../../catalog/load.ts';
import { FindingsError, IngotError } from '../../errors.ts';
import { loadMirrors } from '../../packages/mirror.ts';
import { checkLock, type StaleReason } from '../../resolve/check-lock.ts';
import { compareLocks, compareTools, imagePackages, type LockChanges } from '../../resolve/compare-locks.ts';
import { renderLock } from '../../resolve/lock-text.ts';
import type { Lock } from '../../resolve/lock.ts';
import type { ParsedSpec } from '../../spec/node-image.ts';
import { Store, writeFileAtomically } from '../../store/store.ts';
import { builderFacts } from '../builder-facts.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { loadCheckedImage, openCatalog } from '../load-image.ts';
import { declarationsAmong, loadLock, lockPathOf } from '../load-lock.ts';
import { LockSession, type Updates } from '../lock-image.ts';
import { lockTime } from '../lock-time.ts';

interface LockOptions {
  readonly variant?: string;
  /** True without names: everything. */
  readonly update?: true | readonly string[];
  readonly check?: true;
  readonly output?: string;
}

/** One lock to make or to check. */
interface Job {
  readonly spec: ParsedSpec;
  /** As the user will find it: relative to where the command runs, when the declaration was. */
  readonly path: string;
}

interface LockOutcome extends LockChanges {
  readonly file: string;
  readonly variant?: string;
  /** Path of the lock. */
  readonly lock: string;
  readonly version: string;
  readonly packages: number;
  readonly bytes: number;
  readonly tools: { readonly packages: number } & LockChanges;
  /** False when there was nothing to change. */
  readonly written: boolean;
}

export function lockCommand(bind: Bind): Command {
  return new Command('lock')
    .description('choose every package of an image, by hash, and write the lock beside the declaration')
    .argument('<file...>', 'declarations')
    .option('--variant <name>', 'this variant alone (default: the declaration and all its variants)')
    .option('--update [package...]', 'move on to what the mirror has now: everything, or these packages')
    .option('--check', 'write nothing; exit 1 when a lock is missing or stale')
    .option('-o, --output <path>', 'where to write, for a single lock')
    .addHelpText(
      'after',
      `
Without --update every locked version stays that the mirror still has and that still fits.
"--" ends the list of packages: ingot lock --update libc6 -- images/node.yaml

Examples:
  ingot lock images/debian-minimal.yaml                  a new lock, or the old one brought up to the declaration
  ingot lock images/debian-minimal.yaml --update         everything moves on
  ingot lock images/debian-minimal.yaml --update bash    bash moves on, with what it cannot do without
  ingot lock images/*.yaml --check                       in CI
`,
    )
    .action(bind(runLock));
}

export async function runLock(
  context: CommandContext,
  files: readonly string[],
  options: LockOptions,
): Promise<CommandResult> {
  const catalog = await openCatalog(context);
  const jobs: Job[] = [];
  for (const file of declarationsAmong(files)) jobs.push(...(await jobsOf(context, catalog, file, options)));
  if (options.output !== undefined && jobs.length > 1) {
    throw new IngotError('USAGE', `--output names one file, and there are ${jobs.length} locks to make`, {
      hint: 'choose one with --variant',
    });
  }
  return options.check === true
    ? checkLocks(context, catalog, jobs)
    : makeLocks(context, catalog, jobs, options);
}

async function jobsOf(
  context: CommandContext,
  catalog: LoadedCatalog,
  file: string,
  options: LockOptions,
): Promise<Job[]> {
  const load = async (variant: string | undefined): Promise<ParsedSpec> => {
    const { parsed, warnings } = await loadCheckedImage(context, file, variant, catalog);
    for (const { message } of warnings) context.reporter.warning(`${file}: ${message}`);
    return parsed;
  };
  const first = await load(options.variant);
  const specs = [first];
  if (options.variant === undefined) for (const name of first.variants) specs.push(await load(name));
  return specs.map((spec) => ({ spec, path: options.output ?? lockPathOf(file, spec.image.variant) }));
}

async function makeLocks(
  context: CommandContext,
  catalog: LoadedCatalog,
  jobs: readonly Job[],
  options: LockOptions,
): Promise<CommandResult> {
  const { reporter, signal } = context;
  const now = lockTime(context);
  const store = await Store.open(context.storePath);
  await using _used = await store.use(signal, () => {
    reporter.info('waiting for `ingot store gc`');
  });
  const mirrors = await loadMirrors(context.env, signal);
  const outcomes: LockOutcome[] = [];
  // One after the other: they share the package indexes, and a mistake in one is best seen alone.
  const session = new LockSession({ store, mirrors, catalog, reporter, now, signal });
  for (const { spec, path } of jobs) {
    const absolute = resolve(context.cwd, path);
    const previous = await previousLock(context, path);
    const lock = await session.lock(spec, previous, updatesOf(options));
    const text = renderLock(lock);
    const written = previous === undefined || renderLock(previous) !== text;
    if (written) await writeFileAtomically(absolute, text);
    outcomes.push(outcomeOf(spec, path, previous, lock, written));
  }
  return { json: { locks: outcomes }, text: outcomes.map(renderOutcome).join('\n') };
}

function updatesOf({ update }: LockOptions): Updates {
  if (update === undefined) return 'none';
  return update === true ? 'all' : new Set(update);
}

/** The lock to start from. One that cannot be read is not worth keeping. */
async function previousLock(context: CommandContext, path: string): Promise<Lock | undefined> {
  try {
    return await loadLock(resolve(context.cwd, path));
  } catch (error) {
    if (error instanceof FindingsError) {
      context.reporter.warning(`${path} cannot be read (${error.message}): made afresh`);
      return undefined;
    }
    if (error instanceof IngotError && error.code === 'LOCK_MISSING') return undefined;
    throw error;
  }
}

function outcomeOf(
  spec: ParsedSpec,
  path: string,
  previous: Lock | undefined,
  lock: Lock,
  written: boolean,
): LockOutcome {
  const packages = imagePackages(lock);
  return {
    file: spec.file,
    ...(spec.image.variant !== undefined && { variant: spec.image.variant }),
    lock: path,
    version: lock.version,
    packages: packages.length,
    bytes: packages.reduce((sum, item) => sum + item.size, 0),
    ...compareLocks(previous, lock),
    tools: { packages: lock.tools.packages.length, ...compareTools(previous, lock) },
    written,
  };
}

const SHOWN_CHANGES = 40;

function renderOutcome(outcome: LockOutcome): string {
  const { lock, version, packages, bytes, added, removed, changed, tools, written } = outcome;
  const size = `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  const head = `${lock}: version ${version}, ${packages} packages, ${size}; ${tools.packages} for the tools`;
  if (!written) return `${head}; nothing to change\n`;
  // A first lock adds everything: not worth a list.
  if (added.length === packages) return `${head}\n`;
  const lines = [
    ...added.map((item) => `  + ${item.name} ${item.version}`),
    ...removed.map((item) => `  - ${item.name} ${item.version}`),
    ...changed.map((item) => `  ~ ${item.name} ${item.from} → ${item.to}`),
  ];
  const toolsMoved = tools.added.length + tools.removed.length + tools.changed.length;
  const rest = lines.length - SHOWN_CHANGES;
  return [
    head,
    ...lines.slice(0, SHOWN_CHANGES),
    ...(rest > 0 ? [`  and ${rest} more`] : []),
    ...(toolsMoved > 0 ? [`  ${toolsMoved} packages of the tools moved`] : []),
    ...(lines.length + toolsMoved === 0 ? ['  every package as before'] : []),
    '',
  ].join('\n');
}

/** Looks at declaration, catalogue and builder alone: needs no network. */
async function checkLocks(
  context: CommandContext,
  catalog: LoadedCatalog,
  jobs: readonly Job[],
): Promise<CommandResult> {
  const checked = await Promise.all(
    jobs.map(async ({ spec, path }) => {
      const reasons = await staleReasons(context, catalog, spec, path);
      const { file } = spec;
      return { file, lock: path, fresh: reasons.length === 0, reasons };
    }),
  );
  const text = checked.map(({ file, lock, fresh, reasons }) =>
    fresh
      ? `${lock}: fresh\n`
      : [
          `${lock}: stale`,
          ...reasons.map(({ message }) => `  ${message}`),
          `  mend it with: ingot lock ${file}`,
          '',
        ].join('\n'),
  );
  const exitCode = checked.every(({ fresh }) => fresh) ? 0 : 1;
  return { json: { locks: checked }, text: text.join(''), exitCode };
}

async function staleReasons(
  context: CommandContext,
  catalog: LoadedCatalog,
  spec: ParsedSpec,
  path: string,
): Promise<
  readonly { readonly what: StaleReason['what'] | 'missing' | 'invalid'; readonly message: string }[]
> {
  try {
    const lock = await loadLock(resolve(context.cwd, path));
    return checkLock(lock, spec.image, catalog, builderFacts(catalog));
  } catch (error) {
    if (error instanceof FindingsError) return [{ what: 'invalid', message: error.message }];
    if (error instanceof IngotError && error.code === 'LOCK_MISSING') {
      return [{ what: 'missing', message: error.message }];
    }
    throw error;
  }
}
