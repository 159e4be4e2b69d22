/** `ingot pull`: an image out of a registry, into a layout. */
import { Command } from 'commander';
import { join, resolve } from 'node:path';

import { parseImageReference } from '../../oci/reference.ts';
import { transferImage } from '../../publish/transfer.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { parseLayoutFolder } from '../layout-folder.ts';
import { addRegistryOptions, type RegistryOptions } from '../registry-options.ts';
import { renderTransfers } from '../render-transfer.ts';
import { useStoreAndRegistries } from '../use-store-and-registries.ts';

interface PullOptions extends RegistryOptions {
  readonly output?: string;
  readonly referrers: boolean;
}

export function pullCommand(bind: Bind): Command {
  const command = new Command('pull')
    .description('Get an image from a registry, as an OCI image layout. Goes on where an earlier pull ended.')
    .argument('<ref>', 'such as registry.example.com/ai/node:1.0; without a tag, latest')
    .option(
      '-o, --output <dir>',
      'the layout to write (default: build/NAME); other images in it stay',
      parseLayoutFolder,
    )
    .option('--no-referrers', 'leave behind what refers to the image, such as signatures');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot pull registry.example.com/ai/node:1.0
  ingot pull registry.example.com/ai/node:1.0 --output /srv/images/node
  ingot pull localhost:5000/node:1.0 --insecure localhost:5000

The image's name in the layout is its tag, or its digest when it was pulled by that. Mirrors of registries.conf are
asked first. Every byte is verified against the digest that the registry, or you, gave.
`,
    )
    .action(bind(pull));
}

async function pull(context: CommandContext, ref: string, options: PullOptions): Promise<CommandResult> {
  const { reporter, signal, cwd } = context;
  const reference = parseImageReference(ref);
  const { repository, tag, digest } = reference;
  const name = tag ?? digest ?? 'latest';
  const folder = options.output ?? join('build', repository.split('/').at(-1) ?? repository);
  const text = `oci:${folder}:${name}`;
  const location = { kind: 'layout' as const, path: resolve(cwd, folder), name };
  await using opened = await useStoreAndRegistries(context, options);
  const { store, registries } = opened;
  const transfers = await transferImage({
    from: { kind: 'registry', reference },
    to: [{ text, location }],
    withReferrers: options.referrers,
    store,
    registries,
    reporter,
    signal,
  });
  return renderTransfers(transfers);
}
