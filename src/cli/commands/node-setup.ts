/** `ingot node install` and `provision`: how a machine becomes a node. */
import { Command, Option } from 'commander';

import type { Bind } from '../context.ts';
import type { InstallOptions } from '../node/install.ts';
import type { ProvisionOptions } from '../node/provision.ts';
import { parseTargetRule } from '../target-rule.ts';

export function provisionCommand(bind: Bind): Command {
  return new Command('provision')
    .description(
      'apply host name, keys, network and files that this machine was given; once for each instance',
    )
    .option('--from <path>', 'a file or a folder, instead of what the machine was given')
    .option('--check', 'only read it, and say what is in it')
    .addHelpText(
      'after',
      `
Looks at the disk (\`ingot disk --provision\`), the systemd credential ingot.provision, a volume labelled cidata, and
/var/lib/cloud/seed/nocloud; the first that is there counts. It is Ingot's own file or cloud-init's NoCloud.

Examples:
  ingot node provision --check
  ingot node provision --from rack7.yaml
`,
    )
    .action(
      bind(async (context, options: ProvisionOptions) =>
        (await import('../node/provision.ts')).provision(context, options),
      ),
    );
}

export function installCommand(bind: Bind): Command {
  return new Command('install')
    .description('install a machine from an installer medium; what the medium itself runs')
    .option('--medium <path>', 'the medium, or an ISO file (default: what is in the machine)')
    .addOption(
      new Option('--to <disk>', 'the disk, instead of what the medium says').argParser(parseTargetRule),
    )
    .option('--wipe', 'overwrite a disk that has data')
    .option('--booted', 'this machine was started from the medium: ask at its console, and end it')
    .addHelpText(
      'after',
      `
A disk is only, /dev/disk/by-id/NAME, serial=NUMBER, size=MIN or size=MIN..MAX; when it fits several, none is written.
The partition table comes last: a disk that is half written starts nothing.

Examples:
  ingot node install --medium node.iso --to /dev/disk/by-id/nvme-EXAMPLE_1TB_S123
  ingot node install --medium /dev/sdb --to serial=S123 --wipe
`,
    )
    .action(
      bind(async (context, options: InstallOptions) =>
        (await import('../node/install.ts')).install(context, options),
      ),
    );
}
