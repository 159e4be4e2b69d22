/** `ingot node`: the system of the machine that it runs on. What few of its commands need is loaded by those. */
import { Command, InvalidArgumentError, Option } from 'commander';

import { collectBound } from '../../node/bound/bound-content.ts';
import { updatesIn } from '../../node/journal.ts';
import { SOFT_REBOOT_CHOICES } from '../../node/restart/restart.ts';
import { rollBack, setPinned } from '../../node/rollback.ts';
import { requireBooted } from '../../node/engine.ts';
import { formatBytes, formatCount } from '../../report/format.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { blessNode } from '../node/bless.ts';
import { type CheckOptions, checkNode } from '../node/check.ts';
import { boundCommand } from '../node/bound.ts';
import { lockNode, openNode } from '../node/open-node.ts';
import { describeDeployments, renderUpdates } from '../node/render-node.ts';
import { PEER_OPTION } from '../node/peer.ts';
import { bindToHost } from '../node/bind-to-host.ts';
import { showStatus } from '../node/show-status.ts';
import { addRegistryOptions } from '../registry-options.ts';
import type { UpgradeOptions } from '../node/upgrade.ts';
import { installCommand, provisionCommand } from './node-setup.ts';

export function nodeCommand(bindHere: Bind): Command {
  const node = new Command('node');
  const bind = bindToHost(node, bindHere);
  return node
    .description('update this machine’s system, or another’s, go back, and see what is there')
    .option('--host <url>', 'run it on this node, through OpenSSH: ssh://[USER@]HOST[:PORT]')
    .option('--ssh-config <file>', 'with --host: in the place of ~/.ssh/config')
    .addOption(new Option(`${PEER_OPTION} <protocol>`, 'answer another Ingot').hideHelp())
    .addHelpText(
      'after',
      `
Examples:
  ingot node status
  ingot node upgrade --check
  ingot node rollback
  ingot node --host ssh://root@node-7 status
`,
    )
    .addCommand(statusCommand(bind))
    .addCommand(upgradeCommand(bind))
    .addCommand(switchCommand(bind))
    .addCommand(rollbackCommand(bind))
    .addCommand(pinCommand(bind, true))
    .addCommand(pinCommand(bind, false))
    .addCommand(checkCommand(bind))
    .addCommand(blessCommand(bind))
    .addCommand(historyCommand(bind))
    .addCommand(gcCommand(bind))
    .addCommand(usrOverlayCommand(bind))
    .addCommand(boundCommand(bind))
    .addCommand(installCommand(bind))
    .addCommand(provisionCommand(bind));
}

function statusCommand(bind: Bind): Command {
  return new Command('status')
    .description('show what runs, what is staged, what one can go back to, and the last updates')
    .addHelpText(
      'after',
      '\nExamples:\n  ingot node status\n  ingot node status --json | jq .booted.version\n',
    )
    .action(bind((context) => showStatus(context)));
}

function upgradeCommand(bind: Bind): Command {
  const command = new Command('upgrade')
    .description(
      'prepare the newest image of the name that this node follows; it runs after the next restart',
    )
    .addOption(
      new Option('--check', 'show what it would bring, and change nothing').conflicts([
        'downloadOnly',
        'apply',
      ]),
    )
    .addOption(
      new Option('--download-only', 'pull and import it, and leave what starts next as it is').conflicts(
        'apply',
      ),
    )
    .option('--apply', 'restart into it at once')
    .option('--exit-code', 'with --check: exit 1 when there is an update')
    .addOption(
      new Option('--from-downloaded', 'stage what was downloaded last, and ask no registry').conflicts([
        'check',
        'downloadOnly',
      ]),
    )
    .addOption(
      new Option('--channel <tag>', 'follow another tag of the same repository from now on').conflicts(
        'fromDownloaded',
      ),
    )
    .addOption(
      new Option(
        '--unattended',
        'as the image says for updates by themselves: in their window, when nothing is in the way',
      ).conflicts(['check', 'downloadOnly', 'apply', 'channel', 'fromDownloaded']),
    );
  return addUpdateOptions(command)
    .addHelpText(
      'after',
      `
Layers that are here are not pulled again, and a pull that was cut short goes on where it ended. What the running
image's policy does not take, what is older, for another architecture or not for this machine's GPUs is refused.

Examples:
  ingot node upgrade --check
  ingot node upgrade
  ingot node upgrade --download-only
  ingot node upgrade --apply
  ingot node upgrade --apply --soft-reboot required
`,
    )
    .action(
      bind(async (context, options: UpgradeOptions) =>
        (await import('../node/upgrade.ts')).upgrade(context, options),
      ),
    );
}

function switchCommand(bind: Bind): Command {
  const command = new Command('switch')
    .description('follow another name from now on, and prepare its image')
    .argument('<image>', 'HOST/PATH:TAG, oci:DIRECTORY[:NAME] or oci-archive:FILE[:NAME]')
    .option('--apply', 'restart into it at once');
  return addUpdateOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot node switch registry.example.com/ai/node:stable
  ingot node switch oci:/var/tmp/image:20261122.1 --apply
`,
    )
    .action(
      bind(async (context, image: string, options: UpgradeOptions) =>
        (await import('../node/upgrade.ts')).switchImage(context, image, options),
      ),
    );
}

function addUpdateOptions(command: Command): Command {
  return addRegistryOptions(
    command
      .addOption(
        new Option(
          '--soft-reboot <when>',
          'with --apply: restart user space alone where kernel, driver, initramfs and arguments stay (default: auto)',
        ).choices(SOFT_REBOOT_CHOICES),
      )
      .option('--allow-downgrade', 'take an image whose version is older than the running one’s')
      .option(
        '--force',
        'take one that is not for this machine’s GPUs, has no agent, was not good here before, or while this is on trial',
      ),
  );
}

function rollbackCommand(bind: Bind): Command {
  return new Command('rollback')
    .description('start what ran before at the next restart; called again, what runs now')
    .addHelpText(
      'after',
      `
/etc is that of the older system, /var is shared. An update that is staged is given up.

Examples:
  ingot node rollback
  ingot node rollback && systemctl reboot
`,
    )
    .action(bind((context) => goBack(context)));
}

function pinCommand(bind: Bind, isPinned: boolean): Command {
  const verb = isPinned ? 'pin' : 'unpin';
  return new Command(verb)
    .description(
      isPinned ? 'keep a deployment when newer ones come' : 'let a deployment go when newer ones come',
    )
    .argument(
      '[deployment]',
      'its number in `ingot node status`, booted, rollback, or the start of its id',
      'booted',
    )
    .addHelpText(
      'after',
      `\nExamples:\n  ingot node ${verb}\n  ingot node ${verb} rollback\n  ingot node ${verb} 2\n`,
    )
    .action(bind((context, name: string) => pin(context, name, isPinned)));
}

function checkCommand(bind: Bind): Command {
  return new Command('check')
    .description('run the checks that a boot must pass to count as good, now')
    .addHelpText(
      'after',
      `
The image's own checks, scripts in /usr/lib/greenboot/check and /etc/greenboot/check (required.d, wanted.d), and, on a
machine with NVIDIA's GPUs and an image with their driver, those of the GPUs. Exit code 1 when a required one fails.
Nothing else follows from it: no restart, no rollback. As a node starts, ingot-gate.service runs it, and what follows
then is in docs/node.md.

Examples:
  ingot node check
  ingot node check --json | jq '.checks[] | select(.healthy | not)'
`,
    )
    .option(
      '--wait',
      'repeat a check of the image’s that fails until its time is up: services may be starting',
    )
    .action(bind((context, options: CheckOptions) => checkNode(context, options)));
}

function blessCommand(bind: Bind): Command {
  return new Command('bless')
    .description('tell GRUB that what runs is good, or settle that it went back; run by ingot-bless.service')
    .addHelpText(
      'after',
      `
As a node starts, ingot-bless.service runs it when the checks have passed. It can be run again at any time: by hand it
says that what runs is good, whatever its checks say.

Examples:
  ingot node bless
  ingot node bless --json | jq .verdict
`,
    )
    .action(bind((context) => blessNode(context)));
}

function historyCommand(bind: Bind): Command {
  return new Command('history')
    .description('list the updates of this node, newest first, and what each came to')
    .addOption(new Option('--limit <n>', 'how many').argParser(parseLimit).default(20))
    .addHelpText('after', '\nExamples:\n  ingot node history\n  ingot node history --limit 100 --json\n')
    .action(bind((context, options: { readonly limit: number }) => showHistory(context, options.limit)));
}

function gcCommand(bind: Bind): Command {
  return new Command('gc')
    .description('remove images and layers that no deployment needs')
    .addHelpText('after', '\nWhat was downloaded and is not staged goes too.\n\nExamples:\n  ingot node gc\n')
    .action(bind((context) => collect(context)));
}

function usrOverlayCommand(bind: Bind): Command {
  return new Command('usr-overlay')
    .description('make /usr writable until the next restart, for debugging')
    .addHelpText(
      'after',
      `
What is written to /usr from then on is gone after the next restart. What is written to /etc and /var stays, and
packages write there too. An update can be staged meanwhile, and has nothing of it.

Examples:
  ingot node usr-overlay && apt-get install strace
`,
    )
    .action(bind((context) => unlockUsr(context)));
}

async function goBack(context: CommandContext): Promise<CommandResult> {
  const { engine, journal } = await openNode(context);
  await using _lock = await lockNode(context);
  const { deployment, discarded } = await rollBack(engine, journal);
  const [next] = describeDeployments([deployment]);
  return {
    json: { next, ...(discarded !== undefined && { discarded: discarded.id }) },
    text: [
      `${deployment.version ?? deployment.id} starts next`,
      ...(discarded === undefined
        ? []
        : [`${discarded.version ?? discarded.id}, which was staged, is given up`]),
    ].join('\n'),
  };
}

async function pin(context: CommandContext, name: string, isPinned: boolean): Promise<CommandResult> {
  const { engine } = await openNode(context);
  await using _lock = await lockNode(context);
  const deployment = await setPinned(engine, name, isPinned);
  return {
    json: { id: deployment.id, index: deployment.index, pinned: isPinned },
    text: `${deployment.version ?? deployment.id} is ${isPinned ? 'kept' : 'no longer kept'}`,
  };
}

async function showHistory(context: CommandContext, limit: number): Promise<CommandResult> {
  const { journal } = await openNode(context);
  const { entries, damaged } = await journal.read();
  const updates = updatesIn(entries).slice(0, limit);
  return {
    json: { updates, damaged },
    text: [
      updates.length === 0 ? 'no update yet' : renderUpdates(updates),
      ...(damaged === 0 ? [] : ['', `${formatCount(damaged, 'line')} of the journal cannot be read`]),
    ].join('\n'),
  };
}

async function collect(context: CommandContext): Promise<CommandResult> {
  const { engine, bound } = await openNode(context);
  await using _lock = await lockNode(context);
  const collected = await context.reporter.stage('Remove what is not needed', async () => {
    const removed = await engine.collect(new Set());
    return { ...removed, ...(await collectBound(bound, await engine.deployments())) };
  });
  const { images, layers, containers, models, bytes } = collected;
  const counts = [
    ...[formatCount(images, 'image'), formatCount(layers, 'layer')],
    ...(containers === 0 ? [] : [formatCount(containers, 'container')]),
    ...(models === 0 ? [] : [formatCount(models, 'model')]),
  ];
  const last = counts.pop() ?? '';
  return {
    json: { ...collected },
    text: `${counts.join(', ')} and ${last} removed, ${formatBytes(bytes)}`,
  };
}

async function unlockUsr(context: CommandContext): Promise<CommandResult> {
  const { engine } = await openNode(context);
  await using _lock = await lockNode(context);
  const { id, isUnlocked } = requireBooted(await engine.deployments());
  if (!isUnlocked) await engine.unlockUsr();
  return {
    json: { id, unlocked: true, changed: !isUnlocked },
    text: `/usr can be written to until the next restart${isUnlocked ? ' already' : ''}`,
  };
}

function parseLimit(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It is a number from 1.');
  return Number(text);
}
