/** `ingot copy`: an image from anywhere to anywhere. */
import { Command } from 'commander';

import { parseLocation } from '../../publish/location.ts';
import { transferImage } from '../../publish/transfer.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, type RegistryOptions } from '../registry-options.ts';
import { renderTransfers } from '../render-transfer.ts';
import { useStoreAndRegistries } from '../use-store-and-registries.ts';

interface CopyOptions extends RegistryOptions {
  readonly referrers: boolean;
}

export function copyCommand(bind: Bind): Command {
  const command = new Command('copy')
    .description('Copy an image between registries, OCI layouts and archives. Its digest stays the same.')
    .argument('<source>', 'oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME], or HOST/PATH:TAG')
    .argument('<target>', 'the same, with the name that it is to have')
    .option('--no-referrers', 'leave behind what refers to the image, such as signatures');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot copy registry.example.com/ai/node:1.0 mirror.example.com/ai/node:1.0
  ingot copy oci:build/debian-minimal oci-archive:node.tar:1.0
  ingot copy oci-archive:node.tar registry.example.com/ai/node:1.0

Between repositories of one registry, blobs are taken over without being sent. An archive is replaced; a layout keeps
its other images.
`,
    )
    .action(bind(copy));
}

async function copy(
  context: CommandContext,
  source: string,
  target: string,
  options: CopyOptions,
): Promise<CommandResult> {
  const { reporter, signal, cwd } = context;
  const from = parseLocation(source, cwd);
  const location = parseLocation(target, cwd);
  await using opened = await useStoreAndRegistries(context, options);
  const { store, registries } = opened;
  const transfers = await transferImage({
    from,
    to: [{ text: target, location }],
    withReferrers: options.referrers,
    store,
    registries,
    reporter,
    signal,
  });
  return renderTransfers(transfers);
}
