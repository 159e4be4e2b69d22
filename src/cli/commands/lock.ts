/** `ingot lock`: decides every package of an image, by hash, and writes the decision beside the declaration. */
import { Command } from 'commander';
import { resolve } from 'node:path';

import type { LoadedCatalog } from '../../catalog/load.ts';
import { FindingsError, IngotError } from '../../errors.ts';
import { loadMirrors, type Mirrors } from '../../packages/mirror.ts';
import { together } from '../../proc/together.ts';
import {
  compareLocks,
  compareTools,
  differenceOf,
  imagePackages,
  type LockChanges,
  type LockDifference,
} from '../../resolve/compare-locks.ts';
import { formatBytes, formatCount } from '../../report/format.ts';
import { renderLock } from '../../resolve/lock-text.ts';
import type { Lock } from '../../resolve/lock.ts';
import type { ParsedSpec } from '../../spec/node-image.ts';
import { Store, writeFileAtomically } from '../../store/store.ts';
import { checkLocks, type LockJob } from '../check-locks.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { loadCheckedImage, openCatalog } from '../load-image.ts';
import { declarationsAmong, loadLock, lockPathOf } from '../load-lock.ts';
import { LockSession } from '../lock-image.ts';
import { lockTime } from '../lock-time.ts';
import type { Updates } from '../package-requests.ts';
import { addRegistryOptions, lazyRegistries, type RegistryOptions } from '../registry-options.ts';
import { renderDifference, renderPackageChanges } from '../render-lock.ts';

interface LockOptions extends RegistryOptions {
  readonly variant?: string;
  /** True without names: everything. */
  readonly update?: true | readonly string[];
  readonly offline?: true;
  readonly check?: true;
  /** True without a path: against what would be written. */
  readonly diff?: true | string;
  readonly output?: string;
}

interface Difference extends LockDifference {
  readonly file: string;
  /** Path of the lock. */
  readonly lock: string;
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
  /** For an image whose kernel modules are built: how many packages with, and what is patched. */
  readonly compile?: { readonly packages: number; readonly patches: readonly string[] };
  /** Containers and models that belong to it, with their bytes. */
  readonly bound?: { readonly containers: number; readonly models: number; readonly bytes: number };
  /** False when there was nothing to change. */
  readonly written: boolean;
}

export function lockCommand(bind: Bind): Command {
  const command = new Command('lock')
    .description('choose every package of an image, by hash, and write the lock beside the declaration')
    .argument('<file...>', 'declarations')
    .option('--variant <name>', 'this variant alone (default: the declaration and all its variants)')
    .option('--update [package...]', 'move on to what the mirror has now: everything, or these packages')
    .option('--offline', 'take the package indexes as they were last fetched')
    .option('--check', 'write nothing; exit 1 when a lock is missing or stale')
    .option('--diff [lock]', 'write nothing; tell what would move, or what moved since another lock')
    .option('-o, --output <path>', 'where to write, for a single lock');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Without --update every locked version stays that the mirror still has and that still fits.
"--" ends the list of packages: ingot lock --update libc6 -- images/node.yaml

Examples:
  ingot lock images/debian-minimal.yaml                  a new lock, or the old one brought up to the declaration
  ingot lock images/debian-minimal.yaml --update         everything moves on
  ingot lock images/debian-minimal.yaml --update bash    bash moves on, with what it cannot do without
  ingot lock images/debian-minimal.yaml --update --diff  what would move
  ingot lock images/debian-minimal.yaml --diff old.lock.yaml
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
  const { check, diff } = options;
  // apt is asked for mirrors beside what needs none.
  const [{ catalog, jobs }, mirrors] = await together(
    readDeclarations(context, files, options),
    check === true || typeof diff === 'string'
      ? Promise.resolve(undefined)
      : loadMirrors(context.env, context.signal),
  );
  if (options.output !== undefined && jobs.length > 1) {
    throw new IngotError('USAGE', `--output names one file, and there are ${jobs.length} locks to make`, {
      hint: 'choose one with --variant',
    });
  }
  if (mirrors === undefined) {
    return typeof diff === 'string' && check !== true
      ? diffAgainst(context, diff, jobs)
      : checkLocks(context, catalog, jobs);
  }
  const locks = freshLocks(context, catalog, mirrors, jobs, options);
  return diff === true ? diffLocks(locks) : makeLocks(context, locks);
}

async function readDeclarations(
  context: CommandContext,
  files: readonly string[],
  options: LockOptions,
): Promise<{ readonly catalog: LoadedCatalog; readonly jobs: readonly LockJob[] }> {
  const declarations = declarationsAmong(files);
  const catalog = await openCatalog(context, declarations);
  const jobs: LockJob[] = [];
  for (const file of declarations) jobs.push(...(await jobsOf(context, catalog, file, options)));
  return { catalog, jobs };
}

async function jobsOf(
  context: CommandContext,
  catalog: LoadedCatalog,
  file: string,
  options: LockOptions,
): Promise<LockJob[]> {
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

async function makeLocks(context: CommandContext, locks: AsyncIterable<FreshLock>): Promise<CommandResult> {
  const outcomes: LockOutcome[] = [];
  for await (const { spec, path, previous, lock } of locks) {
    const text = renderLock(lock);
    const written = previous === undefined || renderLock(previous) !== text;
    if (written) await writeFileAtomically(resolve(context.cwd, path), text);
    outcomes.push(outcomeOf(spec, path, previous, lock, written));
  }
  return { json: { locks: outcomes }, text: outcomes.map(renderOutcome).join('\n') };
}

/** What would be written, held against what is there. */
async function diffLocks(locks: AsyncIterable<FreshLock>): Promise<CommandResult> {
  const differences: Difference[] = [];
  for await (const { spec, path, previous, lock } of locks) {
    if (previous === undefined) {
      throw new IngotError('LOCK_MISSING', `there is no ${path} to compare with`, {
        hint: `make it with: ingot lock ${spec.file}`,
      });
    }
    differences.push({ file: spec.file, lock: path, ...differenceOf(previous, lock) });
  }
  return diffResult(differences);
}

/** What is there, held against an earlier lock. */
async function diffAgainst(
  context: CommandContext,
  other: string,
  jobs: readonly LockJob[],
): Promise<CommandResult> {
  const [job, ...more] = jobs;
  if (job === undefined || more.length > 0) {
    throw new IngotError('USAGE', `--diff ${other} is for one lock, and there are ${jobs.length}`, {
      hint: 'choose one with --variant',
    });
  }
  const before = await loadLock(resolve(context.cwd, other));
  const lock = await loadLock(resolve(context.cwd, job.path));
  return diffResult([{ file: job.spec.file, lock: job.path, ...differenceOf(before, lock) }]);
}

function diffResult(differences: readonly Difference[]): CommandResult {
  return {
    json: { differences },
    text: differences.map((one) => `${one.lock}:\n${renderDifference(one)}`).join('\n'),
  };
}

interface FreshLock extends LockJob {
  readonly previous: Lock | undefined;
  readonly lock: Lock;
}

/** One after the other: they share the package indexes, and a mistake in one is best seen alone. */
async function* freshLocks(
  context: CommandContext,
  catalog: LoadedCatalog,
  mirrors: Mirrors,
  jobs: readonly LockJob[],
  options: LockOptions,
): AsyncGenerator<FreshLock> {
  const { reporter, signal } = context;
  const now = lockTime(context);
  const store = await Store.open(context.storePath);
  await using _used = await store.use(signal, () => {
    reporter.info('waiting for `ingot store gc`');
  });
  await using registries = lazyRegistries(context, options);
  const session = new LockSession({
    store,
    mirrors,
    catalog,
    productRoot: context.productRoot,
    reporter,
    now,
    offline: options.offline === true,
    registries: registries.open,
    cwd: context.cwd,
    signal,
  });
  for (const job of jobs) {
    const previous = await previousLock(context, job.path);
    yield { ...job, previous, lock: await session.lock(job.spec, previous, updatesOf(options)) };
  }
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
    ...(lock.compile !== undefined && {
      compile: {
        packages: lock.compile.packages.length,
        patches: (lock.modules ?? []).flatMap(({ patches = [] }) => patches.map(({ name }) => name)),
      },
    }),
    ...boundOutcome(lock),
    written,
  };
}

function boundOutcome({ containers = [], models = [] }: Lock): Pick<LockOutcome, 'bound'> {
  const blobs = [
    ...containers.flatMap(({ blobs: own = [] }) => own),
    ...models.flatMap(({ files }) => files),
  ];
  if (blobs.length === 0) return {};
  const sizes = new Map(blobs.map(({ digest, size }) => [digest, size]));
  const bytes = sizes.values().reduce((sum, size) => sum + size, 0);
  return { bound: { containers: containers.length, models: models.length, bytes } };
}

function renderOutcome(outcome: LockOutcome): string {
  const { lock, version, packages, bytes, added, removed, changed, tools, compile, bound, written } = outcome;
  const size = `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  const patched =
    compile === undefined || compile.patches.length === 0 ? '' : `, patched: ${compile.patches.join(', ')}`;
  const built = compile === undefined ? '' : `; ${compile.packages} to build kernel modules with${patched}`;
  const beside =
    bound === undefined
      ? ''
      : `; ${formatCount(bound.containers, 'container')} and ${formatCount(bound.models, 'model')}, ${formatBytes(bound.bytes)}`;
  const head = `${lock}: version ${version}, ${packages} packages, ${size}; ${tools.packages} for the tools${built}${beside}`;
  if (!written) return `${head}; nothing to change\n`;
  // A first lock adds everything: not worth a list.
  if (added.length === packages) return `${head}\n`;
  const lines = renderPackageChanges({ added, removed, changed });
  const toolsMoved = tools.added.length + tools.removed.length + tools.changed.length;
  return [
    head,
    ...lines,
    ...(toolsMoved > 0 ? [`  ${toolsMoved} packages of the tools moved`] : []),
    ...(lines.length + toolsMoved === 0 ? ['  every package as before'] : []),
    '',
  ].join('\n');
}
