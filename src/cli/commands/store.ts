/** `ingot store`: the local cache. */
import { Command, Option } from 'commander';

import { formatBytes, formatCount, formatTable } from '../../report/format.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { parseSize } from '../size.ts';

const DEFAULT_KEEP = '20GiB';

export function storeCommand(bind: Bind): Command {
  return new Command('store')
    .description('look at the local cache, or make room in it')
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
        .option('--dry-run', 'say what would be removed, and remove nothing')
        .addHelpText(
          'after',
          `
The store is a cache: what is removed is made or fetched again when it is needed. What no finished build
mentions goes first. Running builds are waited for. Without --keep, up to ${DEFAULT_KEEP} stay.

Examples:
  ingot store gc --keep 10GiB
  ingot store gc --keep 0 --dry-run
`,
        )
        .action(
          bind((context, options: { readonly keep: number; readonly dryRun?: true }) =>
            collectGarbage(context, options.keep, options.dryRun === true),
          ),
        ),
    );
}

async function showUsage({ storePath, signal }: CommandContext): Promise<CommandResult> {
  const { Store } = await import('../../store/store.ts');
  const { listEntries, usageByKind } = await import('../../store/usage.ts');
  const usage = usageByKind(await listEntries(await Store.open(storePath), signal));
  const bytes = usage.reduce((sum, kind) => sum + kind.bytes, 0);
  const rows = [
    ...usage.map((kind) => [kind.kind, String(kind.entries), formatBytes(kind.bytes)]),
    ['all', String(usage.reduce((sum, kind) => sum + kind.entries, 0)), formatBytes(bytes)],
  ];
  const table = formatTable(
    [{ title: 'kind' }, { title: 'entries', align: 'right' }, { title: 'size', align: 'right' }],
    rows,
  );
  return { json: { path: storePath, kinds: usage, bytes }, text: `${storePath}\n\n${table}` };
}

async function collectGarbage(
  { storePath, signal, reporter }: CommandContext,
  keepBytes: number,
  dryRun: boolean,
): Promise<CommandResult> {
  const { Store } = await import('../../store/store.ts');
  const { collect } = await import('../../store/collect.ts');
  const { usageByKind } = await import('../../store/usage.ts');
  const store = await Store.open(storePath);
  const { removed, freedBytes, keptBytes } = await collect(store, {
    keepBytes,
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
