/** `ingot disk`: an image, installed to a disk. */
import { Command, Option } from 'commander';
import { relative, resolve } from 'node:path';

import { createDisk, requireDiskPlace } from '../../disk/create-disk.ts';
import { installableImage } from '../../ostree/import-image.ts';
import { formatBytes } from '../../report/format.ts';
import type { DiskFormat } from '../../tools/qemu-img.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { prepareImage } from '../prepare-image.ts';
import { parseSize } from '../size.ts';
import { useStore } from '../use-store.ts';

interface DiskOptions {
  readonly output: string;
  readonly format: DiskFormat;
  readonly size?: number;
  readonly variant?: string;
  readonly lock?: string;
}

export function diskCommand(bind: Bind): Command {
  return new Command('disk')
    .description('Install an image to a disk file that boots on UEFI machines, with Secure Boot too.')
    .argument('<image>', 'oci:DIRECTORY[:NAME], or a declaration, which is built first')
    .requiredOption('-o, --output <file>', 'the disk to write; replaced when it is there')
    .addOption(
      new Option('--format <format>', 'raw (sparse) or qcow2').choices(['raw', 'qcow2']).default('raw'),
    )
    .addOption(
      new Option(
        '--size <size>',
        'size of the disk (default: room for this image, the next one, and data)',
      ).argParser(parseSize),
    )
    .option('--variant <name>', 'a variant of the declaration')
    .option('--lock <file>', 'the lock of a declaration; for an image, the lock whose tools install it')
    .addHelpText(
      'after',
      `
Examples:
  ingot disk oci:build/debian-minimal --output node.raw
  ingot disk images/debian-minimal.yaml --output node.qcow2 --format qcow2 --size 20GiB
  dd if=node.raw of=/dev/sdX bs=4M conv=fsync

Needs root. Uses no loop device and no mount. The file gets its name when it is whole.
`,
    )
    .action(bind(disk));
}

async function disk(context: CommandContext, argument: string, options: DiskOptions): Promise<CommandResult> {
  const { cwd, reporter, signal } = context;
  const output = resolve(cwd, options.output);
  await requireDiskPlace(output);
  await using inUse = await useStore(context);
  const { store } = inUse;
  const { image, toolsRoot } = await prepareImage(context, store, argument, options);
  const installable = installableImage(image);
  const made = await createDisk({
    image: installable,
    output,
    format: options.format,
    size: options.size,
    store,
    toolsRoot,
    reporter,
    signal,
  });
  const shown = relative(cwd, made.path);
  return {
    json: {
      path: made.path,
      format: made.format,
      size: made.size,
      allocated: made.allocated,
      rootUuid: made.rootUuid,
      image: { name: installable.name, version: installable.version, digest: installable.digest },
    },
    text: [
      `${shown.startsWith('..') ? made.path : shown}: ${formatBytes(made.size)} ${made.format}, ${formatBytes(made.allocated)} on this disk`,
      `${installable.name} ${installable.version} ${installable.digest}`,
      '',
    ].join('\n'),
  };
}
