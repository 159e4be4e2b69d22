/** `ingot catalog`: what can be named in a declaration, and what is known of it. */
import { Command } from 'commander';
import { join } from 'node:path';

import { recallFacts } from '../../catalog/facts/recall.ts';
import { renderMatches } from '../catalog/render-search.ts';
import { searchCatalog } from '../catalog/search.ts';
import { listGpus } from '../catalog/show-gpus.ts';
import { showNamedGpus, showSubject, type ShowInput } from '../catalog/show.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { openCatalog } from '../load-image.ts';

export function catalogCommand(bind: Bind): Command {
  return new Command('catalog')
    .description('search layers, runtimes and hardware, and show what is known of them')
    .argument('[words...]', 'what must occur in names, summaries, versions or supported hardware')
    .addHelpText(
      'after',
      `
Needs neither root nor network. Ends with 1 when nothing matches.

Examples:
  ingot catalog                       every layer, by kind
  ingot catalog pytorch               what has to do with PyTorch
  ingot catalog rtx 4090              the GPU, and the layers that are for it
  ingot catalog show nvidia           driver branches, and how long each is supported
  ingot catalog gpus h100 --json
`,
    )
    .action(bind(searchWords))
    .addCommand(
      new Command('show')
        .description('show a driver with its versions, CUDA, a runtime, a layer or a GPU')
        .argument('<name>', 'nvidia, nvidia@580, cuda, vllm, ssh, addon/ssh, h100-sxm, …')
        .addHelpText(
          'after',
          `
Examples:
  ingot catalog show nvidia
  ingot catalog show nvidia@580
  ingot catalog show vllm --json | jq '.releases[0]'
`,
        )
        .action(
          bind(async (context: CommandContext, name: string) => showSubject(name, await readAll(context))),
        ),
    )
    .addCommand(
      new Command('gpus')
        .description('list GPUs, or show those of a name')
        .argument('[name...]', 'a name, product, series, architecture or PCI id, such as 10de:2330')
        .addHelpText(
          'after',
          `
Examples:
  ingot catalog gpus
  ingot catalog gpus h100
  ingot catalog gpus 10de:2330
`,
        )
        .action(
          bind(async (context: CommandContext, words: readonly string[]) => {
            const input = await readAll(context);
            return words.length === 0 ? listGpus(input.facts) : showNamedGpus(words.join(' '), input);
          }),
        ),
    );
}

async function searchWords(context: CommandContext, words: readonly string[]): Promise<CommandResult> {
  const { facts, layers } = await readAll(context);
  return renderMatches(searchCatalog(layers, facts, words), facts, words);
}

async function readAll(context: CommandContext): Promise<ShowInput> {
  const [{ layers }, facts] = await Promise.all([
    openCatalog(context),
    recallFacts(join(context.productRoot, 'drivers')),
  ]);
  return { facts, layers, today: context.now() };
}
