/** `ingot disk`: an image, installed to a disk, or an installer for it. */
import { Command, Option } from 'commander';
import { relative, resolve } from 'node:path';

import { createDisk, requireDiskPlace } from '../../disk/create-disk.ts';
import { type CreatedInstaller, createInstaller } from '../../disk/installer/create-installer.ts';
import { describeRule, type TargetRule } from '../../disk/installer/target.ts';
import { IngotError } from '../../errors.ts';
import { boundOfOffer } from '../../node/bound/bound-content.ts';
import type { OpenPlace } from '../../node/bound/bound-store.ts';
import { placeBound } from '../../node/bound/place-bound.ts';
import { type InstallableImage, installableImage } from '../../ostree/import-image.ts';
import type { BoundContent } from '../../plan/bound.ts';
import { findProgram, toolMissing } from '../../proc/find-program.ts';
import { formatBytes } from '../../report/format.ts';
import type { DiskFormat } from '../../tools/qemu-img.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { prepareImage } from '../prepare-image.ts';
import { addRegistryOptions, lazyRegistries, type RegistryOptions } from '../registry-options.ts';
import { readSeed } from '../provision/read-seed.ts';
import { parseSize } from '../size.ts';
import { parseTargetRule } from '../target-rule.ts';
import { useStore } from '../use-store.ts';

interface DiskOptions extends RegistryOptions {
  readonly output: string;
  readonly format: DiskFormat | 'iso';
  readonly size?: number;
  readonly provision?: string;
  readonly installTo?: TargetRule;
  readonly wipe?: true;
  readonly then: 'reboot' | 'power-off';
  readonly bound?: true;
  readonly variant?: string;
  readonly lock?: string;
}

export function diskCommand(bind: Bind): Command {
  const command = new Command('disk')
    .description(
      'Install an image to a disk file that boots on UEFI machines, with Secure Boot too, or make an installer of it.',
    )
    .argument('<image>', 'oci:DIRECTORY[:NAME], or a declaration, which is built first')
    .requiredOption('-o, --output <file>', 'the disk to write; replaced when it is there')
    .addOption(
      new Option('--format <format>', 'raw (sparse), qcow2, or iso: an installer for CDs and sticks')
        .choices(['raw', 'qcow2', 'iso'])
        .default('raw'),
    )
    .addOption(
      new Option(
        '--size <size>',
        'size of the disk (default: room for this image, the next one, and data)',
      ).argParser(parseSize),
    )
    .option('--provision <file>', 'what the first start applies: host name, keys, network, files')
    .addOption(
      new Option(
        '--install-to <disk>',
        'iso: only, /dev/disk/by-id/NAME, serial=NUMBER, size=MIN or size=MIN..MAX (default: asks at the console)',
      ).argParser(parseTargetRule),
    )
    .option('--wipe', 'iso: overwrite a disk that has data')
    .addOption(
      new Option('--then <what>', 'iso: what the machine does when it is installed')
        .choices(['reboot', 'power-off'])
        .default('reboot'),
    )
    .option(
      '--bound',
      'put the containers and models of the image on the disk, for a first start without network',
    )
    .option('--variant <name>', 'a variant of the declaration')
    .option('--lock <file>', 'the lock of a declaration; for an image, the lock whose tools install it');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot disk oci:build/debian-minimal --output node.raw
  ingot disk images/debian-minimal.yaml --output node.qcow2 --format qcow2 --size 20GiB
  dd if=node.raw of=/dev/sdX bs=4M conv=fsync
  ingot disk oci:build/llm-node --output node.raw --bound
  ingot disk images/debian-metal.yaml --output node.iso --format iso --install-to only --provision rack7.yaml

Needs root. Uses no loop device and no mount. The file gets its name when it is whole.
`,
    )
    .action(bind(disk));
}

async function disk(context: CommandContext, argument: string, options: DiskOptions): Promise<CommandResult> {
  const { cwd, reporter, signal } = context;
  const output = resolve(cwd, options.output);
  await requireDiskPlace(output);
  requireFitting(options);
  // A long build comes before its first use.
  if (options.format === 'iso' && (await findProgram('xorriso')) === undefined) throw toolMissing('xorriso');
  const { provision } = options;
  const seed =
    provision === undefined ? undefined : await readSeed(resolve(cwd, provision), provision, reporter);
  await using inUse = await useStore(context);
  const { store } = inUse;
  const { image, toolsRoot } = await prepareImage(context, store, argument, options);
  const installable = installableImage(image);
  const content = boundOfImage(installable);
  if (content !== undefined && options.bound !== true) {
    reporter.info(
      'containers and models of the image are pulled when the node starts first; --bound puts them on the disk',
    );
  }
  if (content === undefined && options.bound === true) {
    reporter.info('no container and no model belongs to the image: --bound adds nothing');
  }
  await using registries = lazyRegistries(context, options);
  const fill = async (folder: string): Promise<void> => {
    if (content === undefined || options.bound !== true) return;
    const access = await registries.open();
    const open: OpenPlace = (place) => access.source(place);
    await placeBound(content, folder, { open, store, reporter, signal });
  };
  if (options.format === 'iso') {
    const { installTo: target, wipe = false, then } = options;
    const place = { image: installable, output, seed, productRoot: context.productRoot, store, toolsRoot };
    return renderInstaller(
      await createInstaller({ ...place, fill, target, wipe, then, reporter, signal }),
      installable,
      options,
      cwd,
    );
  }
  const made = await createDisk({
    image: installable,
    fill,
    output,
    format: options.format,
    size: options.size,
    seed,
    store,
    toolsRoot,
    reporter,
    signal,
  });
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
      `${shownPath(made.path, cwd)}: ${formatBytes(made.size)} ${made.format}, ${formatBytes(made.allocated)} on this disk`,
      `${installable.name} ${installable.version} ${installable.digest}`,
      '',
    ].join('\n'),
  };
}

/** What belongs to the image; undefined where nothing does. */
function boundOfImage({ manifest, name }: InstallableImage): BoundContent | undefined {
  const content = boundOfOffer({ manifest, reference: name });
  return content.containers.length + content.models.length === 0 ? undefined : content;
}

/** @throws IngotError USAGE for options of the other kind of output */
function requireFitting({ format, size, installTo, wipe, then }: DiskOptions): void {
  const alone = [
    installTo === undefined ? undefined : '--install-to',
    wipe === undefined ? undefined : '--wipe',
    then === 'reboot' ? undefined : '--then',
  ].filter((option) => option !== undefined);
  if (format !== 'iso' && alone.length > 0) {
    throw new IngotError('USAGE', `${alone.join(', ')}: for installers alone`, { hint: 'give --format iso' });
  }
  if (format === 'iso' && size !== undefined) {
    throw new IngotError('USAGE', '--size is for disks: an installer takes the disk as it is');
  }
}

function renderInstaller(
  made: CreatedInstaller,
  image: InstallableImage,
  { installTo, wipe, then }: DiskOptions,
  cwd: string,
): CommandResult {
  const { path, size, minimumSize, digest, usb } = made;
  const { name, version } = image;
  const target = installTo === undefined ? 'the disk that is chosen at the console' : describeRule(installTo);
  return {
    json: {
      path,
      format: 'iso',
      size,
      minimumSize,
      medium: digest,
      usb,
      ...(installTo !== undefined && { installTo }),
      wipe: wipe === true,
      then,
      image: { name, version, digest: image.digest },
    },
    text: [
      `${shownPath(path, cwd)}: ${formatBytes(size)} installer, to ${target} of ${formatBytes(minimumSize)} or more`,
      `${name} ${version} ${image.digest}`,
      '',
    ].join('\n'),
  };
}

function shownPath(path: string, cwd: string): string {
  const shown = relative(cwd, path);
  return shown.startsWith('..') ? path : shown;
}
