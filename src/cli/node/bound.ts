/** `ingot node bound`: the containers and models of the running image. */
import { Command } from 'commander';

import { IngotError } from '../../errors.ts';
import { type BoundItem, NOTHING_BOUND } from '../../node/bound/bound-store.ts';
import { BOUND_PATH, type BoundContent, parseBound } from '../../plan/bound.ts';
import { formatBytes, formatTable } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, openRegistries, type RegistryOptions } from '../registry-options.ts';
import { lockNode, openNode } from './open-node.ts';
import { readIfThere } from './read-if-there.ts';

interface BoundOptions extends RegistryOptions {
  readonly pull?: true;
}

export function boundCommand(bind: Bind): Command {
  const command = new Command('bound')
    .description('list the containers and models that belong to the running image, and pull what is missing')
    .option('--pull', 'pull what is missing');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
An update pulls them before the node restarts. What is missing all the same, as on a machine that was just installed,
ingot-bound.service pulls when the system starts, before the services that need it. Exit code 1 when something is
missing.

Examples:
  ingot node bound
  ingot node bound --pull
`,
    )
    .action(bind((context, options: BoundOptions) => showBound(context, options)));
}

async function showBound(context: CommandContext, options: BoundOptions): Promise<CommandResult> {
  const { bound } = await openNode(context);
  const content = await loadBound();
  if (options.pull === true) {
    await using _lock = await lockNode(context);
    await using registries = await openRegistries(context, options);
    await bound.fetch(content, (place) => registries.source(place));
  }
  const { items, bytes } = await bound.plan(content);
  const isWhole = items.every(({ isPresent }) => isPresent);
  return {
    json: {
      complete: isWhole,
      bytes,
      items: items.map(({ isPresent, ...item }) => ({ ...item, present: isPresent })),
    },
    text: [
      items.length === 0 ? 'no containers and models belong to this image' : renderItems(items),
      ...(isWhole ? [] : ['', `${formatBytes(bytes)} to pull: \`ingot node bound --pull\``]),
    ].join('\n'),
    exitCode: isWhole ? 0 : 1,
  };
}

async function loadBound(): Promise<BoundContent> {
  const text = await readIfThere(BOUND_PATH);
  if (text === undefined) return NOTHING_BOUND;
  const content = parseBound(text);
  if (content !== undefined) return content;
  throw new IngotError('NODE_FAILED', `${BOUND_PATH} of the running image cannot be read`);
}

function renderItems(items: readonly BoundItem[]): string {
  return formatTable(
    [
      { title: 'KIND' },
      { title: 'NAME' },
      { title: 'SIZE', align: 'right' },
      { title: '' },
      { title: 'FROM' },
    ],
    items.map(({ kind, name, reference, bytes, isPresent }) => [
      kind,
      name,
      formatBytes(bytes),
      isPresent ? 'here' : 'missing',
      printableName(reference),
    ]),
  );
}
