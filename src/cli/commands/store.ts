/** `ingot store`: the local cache. */
import { Command, InvalidArgumentError, Option } from 'commander';

import { formatBytes, formatCount, formatTable } from '../../report/format.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { parseSize } from '../size.ts';

const DEFAULT_KEEP = '20GiB';
const DAY_MS = 86_400_000;

export function storeCommand(bind: Bind): Command {
  return new Command('store')
    .description('look at the local cache, check it, or make room in it')
    .addCommand(
      new Command('df')
        .description('show what the store holds, by kind')
        .addHelpText('after', '\nExamples:\n  ingot store df\n  ingot store df --json\n')
        .action(bind((context) => showUsage(context))),
    )
    .addCommand(
      new Command('gc')
        .description('remove abandoned work, then what was used longest ago')
        .addOption(
          new Option('--keep <size>', 'how much may stay')
            .argParser(parseSize)
            .default(parseSize(DEFAULT_KEEP), DEFAULT_KEEP),
        )
        .addOption(
          new Option('--keep-days <days>', 'remove also what was not used for so many days').argParser(
            parseDays,
          ),
        )
        .option('--dry-run', 'say what would be removed, and remove nothing')
        .addHelpText(
          'after',
          `
The store is a cache: what is removed is made or fetched again when it is needed. What no finished build
mentions goes first. Running builds are waited for. Without --keep, up to ${DEFAULT_KEEP} stay.

Examples:
  ingot store gc --keep 10GiB
  ingot store gc --keep 0 --dry-run
  ingot store gc --keep-days 30
`,
        )
        .action(bind((context, options: CollectOptions) => collectGarbage(context, options))),
    )
    .addCommand(
      new Command('verify')
        .description('hash every package and blob, and check every record against what it names')
        .option('--trees', 'read every tree too')
        .option('--repair', 'remove what is wrong: the next build makes or fetches it again')
        .addHelpText(
          'after',
          `
Exit code 1 when something is wrong, also when it was repaired. A repair waits for running builds.

Examples:
  ingot store verify
  ingot store verify --trees --repair
`,
        )
        .action(bind((context, options: CheckOptions) => verify(context, options))),
    );
}

interface CollectOptions {
  readonly keep: number;
  readonly keepDays?: number;
  readonly dryRun?: true;
}

interface CheckOptions {
  readonly trees?: true;
  readonly repair?: true;
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!/^\d+$/.test(text) || days > 36_500) throw new InvalidArgumentError('Give a whole number of days.');
  return days;
}

async function showUsage({ storePath, signal }: CommandContext): Promise<CommandResult> {
  const { Store } = await import('../../store/store.ts');
  const { collect } = await import('../../store/collect.ts');
  const { listEntries, usageByKind } = await import('../../store/usage.ts');
  const store = await Store.open(storePath);
  const usage = usageByKind(await listEntries(store, signal));
  const { removed, freedBytes } = await collect(store, {
    keepBytes: parseSize(DEFAULT_KEEP),
    dryRun: true,
    signal,
  });
  const kinds = usageByKind(removed).map(({ bytes: collectable, kind }) => {
    const { entries, bytes } = usage.find((one) => one.kind === kind) ?? { entries: 0, bytes: 0 };
    return { kind, entries, bytes, collectable };
  });
  const bytes = usage.reduce((sum, kind) => sum + kind.bytes, 0);
  const entries = usage.reduce((sum, kind) => sum + kind.entries, 0);
  const rows = [...kinds, { kind: 'all', entries, bytes, collectable: freedBytes }].map((row) => [
    row.kind,
    String(row.entries),
    formatBytes(row.bytes),
    formatBytes(row.collectable),
  ]);
  const table = formatTable(
    ['kind', 'entries', 'size', 'gc would free'].map((title, index) => ({
      title,
      align: index === 0 ? ('left' as const) : ('right' as const),
    })),
    rows,
  );
  return {
    json: { path: storePath, kinds, bytes, collectable: freedBytes },
    text: `${storePath}\n\n${table}`,
  };
}

async function collectGarbage(
  { storePath, signal, reporter, now }: CommandContext,
  { keep: keepBytes, keepDays, dryRun = false }: { keep: number; keepDays?: number; dryRun?: boolean },
): Promise<CommandResult> {
  const { Store } = await import('../../store/store.ts');
  const { collect } = await import('../../store/collect.ts');
  const { usageByKind } = await import('../../store/usage.ts');
  const store = await Store.open(storePath);
  const { removed, freedBytes, keptBytes } = await collect(store, {
    keepBytes,
    ...(keepDays !== undefined && { usedSince: now().getTime() - keepDays * DAY_MS }),
    dryRun,
    signal,
    onWait: () => {
      reporter.info('waiting for running builds to end');
    },
  });
  const kinds = usageByKind(removed).filter((kind) => kind.entries > 0);
  const lines = kinds.map((kind) => `  ${kind.kind}: ${kind.entries}, ${formatBytes(kind.bytes)}`);
  const verb = dryRun ? 'would remove' : 'removed';
  const summary = `${verb} ${formatCount(removed.length, 'entry', 'entries')}, ${formatBytes(freedBytes)}; ${formatBytes(keptBytes)} ${dryRun ? 'would stay' : 'stay'}`;
  return {
    json: { path: storePath, dryRun, removed: kinds, entries: removed.length, freedBytes, keptBytes },
    text: [summary, ...lines].join('\n'),
  };
}

async function verify(
  { storePath, signal, reporter }: CommandContext,
  { trees = false, repair = false }: { trees?: boolean; repair?: boolean },
): Promise<CommandResult> {
  const { Store } = await import('../../store/store.ts');
  const { verifyStore } = await import('../../store/verify.ts');
  const store = await Store.open(storePath);
  const { checked, unknownTrees, problems } = await reporter.stage('Verify store', (stage) =>
    verifyStore(store, {
      trees,
      repair,
      signal,
      onProgress: (bytes, total) => {
        stage.progress(bytes, total, 'bytes');
      },
      onWait: () => {
        reporter.info(repair ? 'waiting for running builds to end' : 'waiting for `ingot store gc`');
      },
    }),
  );
  const lines = checked.map(({ kind, entries, bytes }) => {
    const remark = kind === 'trees' ? `, ${treesRemark(trees, unknownTrees)}` : '';
    return `  ${kind}: ${entries}, ${formatBytes(bytes)}${remark}`;
  });
  const found = problems.map(({ kind, name, problem, removed }) => {
    return `${kind} ${name} ${problem}${removed ? ': removed' : ''}`;
  });
  const next =
    repair || problems.length === 0 ? [] : ['', 'hint: `ingot store verify --repair` removes what is wrong'];
  const summary = problems.length === 0 ? 'nothing wrong' : formatCount(problems.length, 'problem');
  return {
    json: { path: storePath, sound: problems.length === 0, checked, unknownTrees, problems },
    text: [`${summary}; checked`, ...lines, ...(found.length > 0 ? ['', ...found] : []), ...next].join('\n'),
    exitCode: problems.length === 0 ? 0 : 1,
  };
}

function treesRemark(read: boolean, unknown: number): string {
  if (!read) return 'records alone; --trees reads them';
  return unknown === 0 ? 'all read' : `${unknown} of them of unknown contents`;
}
