/** `ingot index`: several images, of as many architectures, as one. */
import { Command } from 'commander';

import { IngotError } from '../../errors.ts';
import { parseLocation } from '../../publish/location.ts';
import { transferImage } from '../../publish/transfer.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { findOrigin } from '../image-origin.ts';
import { addRegistryOptions, openRegistries, type RegistryOptions } from '../registry-options.ts';
import { renderTransfers } from '../render-transfer.ts';
import { useStore } from '../use-store.ts';

interface IndexOptions extends RegistryOptions {
  readonly referrers: boolean;
}

export function imageIndexCommand(bind: Bind): Command {
  const command = new Command('index')
    .description('Join images of several architectures to one, from which each machine takes its own.')
    .argument('<target>', 'oci:DIRECTORY:NAME, oci-archive:FILE:NAME, or HOST/PATH:TAG')
    .argument('<image...>', 'what to join: images wherever they are, or declarations that were built')
    .option('--no-referrers', 'leave behind what refers to the images, such as signatures');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot index oci:build/node:1.0 oci:build/node-amd64 oci:build/node-arm64
  ingot index registry.example.com/ai/node:1.0 oci:build/node-amd64 registry.example.com/ai/node:1.0-arm64

The images come first and the index last, so that its name never leads to something that is not there. \`ingot push\`
does the same for a declaration with variants of other architectures.
`,
    )
    .action(bind(index));
}

async function index(
  context: CommandContext,
  target: string,
  images: readonly string[],
  options: IndexOptions,
): Promise<CommandResult> {
  const { cwd, reporter, signal } = context;
  const location = parseLocation(target, cwd);
  const joined = [];
  for (const text of images) {
    const { from } = await findOrigin(context, text);
    joined.push(...(from.kind === 'joined' ? from.images : [{ text, location: from }]));
  }
  if (joined.length < 2) {
    throw new IngotError('USAGE', 'an index of one image is not worth the name', {
      hint: 'name two images at least; `ingot copy` copies one',
    });
  }
  await using inUse = await useStore(context);
  await using registries = await openRegistries(context, options);
  const transfers = await transferImage({
    from: { kind: 'joined', images: joined },
    to: [{ text: target, location }],
    withReferrers: options.referrers,
    store: inUse.store,
    registries,
    reporter,
    signal,
  });
  return renderTransfers(transfers);
}
